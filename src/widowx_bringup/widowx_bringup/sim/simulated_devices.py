"""Arm and camera of a simulated world behind the protocols of the real devices."""

from __future__ import annotations

import numpy as np

from ptr_common.action_space import JOINT_NAMES
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import MAX_AGE, ArmFeatures, JointReading, JointTarget
from widowx_bringup.camera.protocol import CameraFeatures, Frame
from widowx_bringup.camera.view import CameraView

from .rendering import camera_view
from .world import World


class SimulatedArm:
    """The arm of a world, behind the `Arm` protocol.

    Args:
        world: The world whose arm it is.
    """

    def __init__(self, world: World) -> None:
        limits = Limits()
        self._world = world
        self.notes: dict[str, object] = {}
        self.features = ArmFeatures(
            "simulated wx250s",
            JOINT_NAMES,
            limits.joint_low,
            limits.joint_high,
            np.full(6, limits.joint_speed),
        )

    def connect(self) -> None:
        """Nothing to do: the servos of the simulation are always on."""

    def prepare(self) -> None:
        """Nothing to do: the servos are always well."""

    def watch(self) -> None:
        """Nothing to do."""

    def disconnect(self) -> None:
        """Nothing to do."""

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the present joints; a simulated reading has no age.

        Args:
            max_age: Not needed here.
        """
        world = self._world
        return JointReading(
            world.time_ns,
            world.joints,
            world.joint_velocities,
            world.gripper,
            world.set_points,
        )

    def send(self, target: JointTarget) -> JointTarget:
        """Give the servos a target.

        Args:
            target: Joints and gripper, within the limits.

        Returns:
            The target that was sent.
        """
        self._world.command(target.positions, target.gripper)
        return target

    def hold(self) -> None:
        """Stop at the measured position."""
        self._world.hold()


class SimulatedCamera:
    """A camera of a world, behind the `Camera` protocol.

    Args:
        world: The world that it looks at.
        name: Name of a camera of the model.
        width: Image width [pixels].
        height: Image height [pixels].
        rate: Images per second [Hz], for `features` only.
    """

    def __init__(
        self, world: World, name: str, width: int, height: int, rate: float
    ) -> None:
        self._world = world
        self.features = CameraFeatures(name, width, height, rate)

    @property
    def view(self) -> CameraView:
        """Its intrinsics and pose."""
        features = self.features
        world = self._world
        return camera_view(
            world.model, world.data, features.name, features.height, features.width
        )

    def connect(self) -> None:
        """Nothing to do: the first image makes the renderer."""

    def disconnect(self) -> None:
        """Nothing to do: the world frees its renderers."""

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Render the present scene; a simulated image has no age.

        Args:
            max_age: Not needed here.
        """
        features = self.features
        image = self._world.render(features.name, features.height, features.width)
        return Frame(self._world.time_ns, image)
