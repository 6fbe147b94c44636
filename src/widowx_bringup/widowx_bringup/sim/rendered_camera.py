"""A camera that renders the states of a simulated world which runs in another process."""

from __future__ import annotations

from collections import deque

import numpy as np
from sensor_msgs.msg import JointState

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.managed_node import parameter, subscribe, to_ns
from widowx_bringup.camera.node import CameraNode, DeviceKind
from widowx_bringup.camera.protocol import TOPIC_WORLD, CameraError, CameraFeatures, Frame
from widowx_bringup.camera.view import CameraView

from .camera_shift import RISE, TURN, CameraShift

LONGEST_DELAY = 30
"""Largest delay of the simulated images [frames]."""


class RenderedCamera:
    """Renders the states of a simulated world, as the `Camera` protocol.

    Args:
        features: Name, size and rate of the camera.
        delay: Number of states by which an image lags behind its stamp. A positive delay
            simulates a camera whose stamps are late.
        shift: Where it stands, relative to where it usually does.
    """

    def __init__(
        self, features: CameraFeatures, delay: int = 0, shift: CameraShift | None = None
    ) -> None:
        self.features = features
        self.view = CameraView()  # that of the world once it is connected
        self._shift = shift
        self._stamp_ns = 0
        # (state, family) each
        self._states: deque[tuple[np.ndarray, str]] = deque(maxlen=delay + 1)

    def connect(self) -> None:
        """Load the model of the world and check that it has this camera.

        Raises:
            CameraError: If the world has no camera of this name.
        """
        from .rendering import camera_view
        from .world import World  # loads MuJoCo, which a real camera does not need

        self._world = World(shift=self._shift)
        if self.features.name not in self._world.cameras:
            self._world.close()
            raise CameraError(
                f"the simulated world has no camera {self.features.name!r}; "
                f"there are: {', '.join(self._world.cameras)}"
            )
        features = self.features
        self.view = camera_view(
            self._world.model,
            self._world.data,
            features.name,
            features.height,
            features.width,
        )

    def disconnect(self) -> None:
        """Free the renderer."""
        self._world.close()

    def show(self, message: JointState) -> None:
        """Take over a world state.

        Args:
            message: Stamp, family as its frame, and state as its positions.
        """
        self._stamp_ns = to_ns(message.header.stamp)
        self._states.append((np.asarray(message.position), message.header.frame_id))

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Render the newest state, or the state `delay` before it.

        Raises:
            CameraError: If no state has arrived, or it is of another world.
        """
        features = self.features
        if not self._states:
            raise CameraError(
                f"camera {features.name}: no world state on {TOPIC_WORLD}; "
                "is `simulation` running?"
            )

        try:
            self._world.set_state(*self._states[0])
        except PtrError as error:
            raise CameraError(f"camera {features.name}: {error}") from error
        image = self._world.render(features.name, features.height, features.width)
        return Frame(self._stamp_ns, image)


def _declare(node: CameraNode) -> None:
    description = "simulator: delay of the images [frames]"
    parameter(node, "delay", 0, description, (0, LONGEST_DELAY), settable=True)
    parameter(node, "rise", 0.0, "simulator: rise of the camera's mount [m]", RISE)
    about = "simulator: turn of the camera about the middle of the table [degrees]"
    parameter(node, "turn", 0.0, about, TURN)


def _connect(node: CameraNode, features: CameraFeatures) -> RenderedCamera:
    shift = CameraShift(node.value("rise"), node.value("turn"))
    camera = RenderedCamera(features, node.value("delay"), shift)
    camera.connect()

    def on_state(message: JointState) -> None:
        """Publish one image per state: the states arrive at the rate of the camera."""
        camera.show(message)
        node.publish_newest()

    subscribe(node, JointState, TOPIC_WORLD, on_state, qos.NEWEST_STATE)
    return camera


SIMULATOR = DeviceKind(_declare, _connect)
"""The device `simulator` of the camera node."""
