"""One simulated table with the arm on it: servos, scene, off-screen cameras, success."""

from __future__ import annotations

import mujoco
import numpy as np

from widowx_bringup.arm.gripper import FINGER_OPEN, finger_of
from widowx_bringup.arm.kinematics import Kinematics, pose_from_proprio
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.arm.trapezoidal_profile import SetPoints, TrapezoidalProfile

from .camera_shift import CameraShift
from .families.family import Layout, Task
from .scene import Scene, SimulatorError
from .tasks import FAMILIES, parse_task

_START_SEED = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])  # joints near the start poses [rad]
_SETTLED_TIME_NS = 200_000_000


class World:
    """One simulated table with the arm on it. To be used from one thread at a time.

    The model is that of the present scene's family and is fixed. `state()` therefore describes
    the whole scene, and another process renders it after `set_state()`.

    Args:
        epoch_ns: Simulated time at the start [ns]. Time never goes back, also not in `reset`.
        shift: Where the cameras stand, relative to where they usually do.

    Attributes:
        layout: The scene that the world was reset to; None before the first reset.
    """

    def __init__(self, epoch_ns: int = 0, shift: CameraShift | None = None) -> None:
        self._shift = shift
        self.layout: Layout | None = None
        self._task: Task | None = None  # of the layout
        self._scenes: dict[str, Scene] = {}  # by family
        self._scene = self._enter(next(iter(FAMILIES)))
        self._epoch_ns = epoch_ns
        self._timestep_ns = round(self.model.opt.timestep * 1e9)
        self._steps = 0
        self._owed_ns = 0  # time asked for and not simulated yet, less than one time step
        self._kinematics = Kinematics()
        self._placed_since: int | None = None  # time of the placement [ns]

        limits = Limits()
        self._profile = TrapezoidalProfile(
            _START_SEED, limits.profile_time, limits.profile_acceleration_time
        )
        self._finger_target = FINGER_OPEN  # [m]
        self.place_arm(_START_SEED)

    @property
    def model(self) -> mujoco.MjModel:
        """The MuJoCo model of the present scene."""
        return self._scene.model

    @property
    def data(self) -> mujoco.MjData:
        """The state of that model."""
        return self._scene.data

    @property
    def family(self) -> str:
        """Name of the family of the present scene."""
        return self._scene.family.name

    @property
    def time_ns(self) -> int:
        """Simulated time [ns]; never goes back."""
        return self._epoch_ns + self._steps * self._timestep_ns

    @property
    def joints(self) -> np.ndarray:
        """Measured joints, shape (6,) [rad]."""
        return self.data.qpos[:6].copy()

    @property
    def joint_velocities(self) -> np.ndarray:
        """Measured joint velocities, shape (6,) [rad/s]."""
        return self.data.qvel[:6].copy()

    @property
    def set_points(self) -> SetPoints:
        """Where the servos' time profile has the joints."""
        return self._profile.set_points

    @property
    def gripper(self) -> float:
        """Measured gripper opening; 0.2 when closed on nothing, where the fingers meet."""
        return self._scene.gripper

    def reset(self, layout: Layout) -> None:
        """Set up a scene, with the arm at rest at its start pose, gripper down and open.

        Simulated time goes on.

        Args:
            layout: The scene.

        Raises:
            SimulatorError: If the layout names an unknown thing or an unreachable start
                pose.
        """
        task = parse_task(layout.task)
        scene = self._enter(task.family)
        scene.check(layout)
        start_joints = self._start_joints(layout)

        self._scene, self._task, self.layout = scene, task, layout
        self._placed_since = None
        scene.place(layout)
        self.place_arm(start_joints)

    def _enter(self, family: str) -> Scene:
        """Return the scene of a family, which is built when it is first needed."""
        if family not in FAMILIES:
            raise SimulatorError(
                f"the simulator has no family of tasks {family!r}; it has {', '.join(FAMILIES)}"
            )
        if family not in self._scenes:
            self._scenes[family] = Scene(FAMILIES[family], self._shift)
        return self._scenes[family]

    def _start_joints(self, layout: Layout) -> np.ndarray:
        """Return the joints of the start pose, shape (6,) [rad]."""
        x, y, z, yaw = layout.start
        pose = pose_from_proprio(np.array([x, y, z, 0, 0, yaw]))
        joints = self._kinematics.inverse(pose, _START_SEED)
        if isinstance(joints, Refusal):
            raise SimulatorError(
                f"the arm cannot start at x {x:.3f} y {y:.3f} z {z:.3f} m, yaw {yaw:.3f} rad"
            )
        return joints

    def place_arm(self, joints: np.ndarray) -> None:
        """Put the arm at some joints, at rest and with the gripper open.

        Args:
            joints: Shape (6,) [rad].
        """
        self.data.qpos[:8] = [*joints, FINGER_OPEN, -FINGER_OPEN]
        self.data.qvel[:] = 0
        self._profile.rest(joints)
        self._finger_target = FINGER_OPEN
        self.data.ctrl[:] = [*joints, FINGER_OPEN]
        mujoco.mj_forward(self.model, self.data)

    def command(self, joints: np.ndarray, gripper: float) -> None:
        """Give all servos a new target.

        Args:
            joints: Joint target, shape (6,) [rad].
            gripper: Gripper opening, 0 to 1.
        """
        self.command_joints(joints)
        self.move_finger(finger_of(float(gripper)))

    def command_joints(self, joints: np.ndarray) -> None:
        """Give the servos of the joints a new target.

        Args:
            joints: Shape (6,) [rad].
        """
        self._profile.plan(joints)

    def move_finger(self, finger: float) -> None:
        """Give the gripper's servo a new target.

        Args:
            finger: Position of the left finger [m].
        """
        self._finger_target = finger

    def set_profile(self, time: np.ndarray, acceleration_time: np.ndarray) -> None:
        """Give the servos of the joints other profile times.

        The present set points become their targets.

        Args:
            time: Duration of a motion, shape (6,) [s].
            acceleration_time: Part of it in which a joint accelerates, shape (6,) [s].
        """
        self._profile = TrapezoidalProfile(self.data.ctrl[:6], time, acceleration_time)

    def hold(self) -> None:
        """Stop the arm at its measured joints; the gripper keeps its target."""
        self._profile.rest(self.joints)

    def advance(self, seconds: float) -> None:
        """Simulate some time.

        Args:
            seconds: Duration [s]; the rest below one time step is added to the next call.

        Raises:
            SimulatorError: If the physics diverged.
        """
        self._owed_ns += round(seconds * 1e9)
        count, self._owed_ns = divmod(self._owed_ns, self._timestep_ns)
        if count == 0:
            return

        model, data = self.model, self.data
        control = data.ctrl
        control[6] = self._finger_target
        for set_point in self._profile.advance(count, model.opt.timestep):
            control[:6] = set_point
            mujoco.mj_step(model, data)
        self._steps += count

        if not np.isfinite(self.data.qacc).all():
            raise SimulatorError("the simulated physics diverged; reset the scene")
        self._note_placement()

    def state(self) -> np.ndarray:
        """Return the state of the scene for a renderer, shape (N,) float64.

        It holds the joint positions, the object poses and the container positions.
        """
        return self._scene.state()

    def set_state(self, state: np.ndarray, family: str = "") -> None:
        """Take over the scene of another world.

        Args:
            state: What its `state()` returned, shape (N,).
            family: Its `family`; empty: the first of all.

        Raises:
            SimulatorError: If there is no such family, or the state is not of its model.
        """
        scene = self._enter(family or next(iter(FAMILIES)))
        scene.set_state(state)
        self._scene = scene

    def eef_pose(self) -> np.ndarray:
        """Return the true pose of the end effector in the base frame, T_base_eef (4, 4)."""
        return self._kinematics.forward(self.data.qpos[:6])

    def object_pose(self, name: str) -> tuple[np.ndarray, float]:
        """Return position (3,) [m] and yaw [rad] of an object's centre, base frame."""
        return self._scene.object_pose(name)

    def object_speed(self, name: str) -> float:
        """Return the speed of an object [m/s]."""
        return self._scene.object_speed(name)

    def container_position(self, name: str) -> np.ndarray:
        """Return the middle of a container's underside, shape (3,) [m], base frame."""
        return self._scene.container_position(name)

    def hinge_angle(self, name: str) -> float:
        """Return the angle of a door; 0 when it is shut [rad]."""
        return self._scene.hinge_angle(name)

    def is_touched(self, name: str) -> bool:
        """Return whether a finger touches an object."""
        return self._scene.is_touched(name)

    def score(self) -> float:
        """Return the share of the task that is done now, 0 to 1; 0 without a task."""
        if self._task is None:
            return 0.0
        return self._scene.family.score(self._scene, self._task)

    def success(self) -> bool:
        """Return whether the task has been solved for 0.2 s: placed, released and stable."""
        if self._placed_since is None:
            return False
        return self.time_ns - self._placed_since >= _SETTLED_TIME_NS

    @property
    def cameras(self) -> list[str]:
        """Names of the model's cameras."""
        return self._scene.cameras

    def render(self, camera: str, height: int, width: int) -> np.ndarray:
        """Return the image of a camera of the model.

        Args:
            camera: Name of the camera.
            height: Image height [pixels].
            width: Image width [pixels].

        Returns:
            Shape (height, width, 3), uint8 RGB.

        Raises:
            SimulatorError: If the model has no such camera.
            RenderingError: If off-screen rendering does not work.
        """
        return self._scene.render(camera, height, width)

    def close(self) -> None:
        """Free the renderers."""
        for scene in self._scenes.values():
            scene.close()

    def _note_placement(self) -> None:
        """Note the time since which the scene has been as the task asks."""
        scene = self._scene
        if self._task is None or not scene.family.is_solved(scene, self._task):
            self._placed_since = None
        elif self._placed_since is None:
            self._placed_since = self.time_ns
