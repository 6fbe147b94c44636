"""One simulated table with the arm on it: servos, scene, off-screen cameras, success."""

from __future__ import annotations

from collections.abc import Set

import mujoco
import numpy as np

from ptr_common.action_space import FINGER_OPEN, finger_of, opening_of, pose_from_proprio
from ptr_common.errors import PtrError
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.arm.trapezoidal_profile import SetPoints, TrapezoidalProfile

from .rendering import Renderer
from .scene_model import build_model
from .tasks import CONTAINERS, OBJECTS, Layout, parse_task

_START_SEED = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])  # joints near the start poses [rad]
_SETTLED_SPEED = 0.02  # [m/s]
_SETTLED_TIME_NS = 200_000_000
_HEIGHT_TOLERANCE = 0.008  # of an object at rest in its container [m]
_OPENED = 0.5  # gripper opening from which an object counts as released


class SimulatorError(PtrError):
    """The simulated world cannot be built, rendered or continued."""


class World:
    """One simulated table with the arm on it. To be used from one thread at a time.

    Every object and container is always in the model; those that a layout leaves out are
    parked below the table top. `state()` therefore describes the whole scene, and another
    process renders it after `set_state()`.

    Args:
        epoch_ns: Simulated time at the start [ns]. Time never goes back, also not in `reset`.

    Attributes:
        model: The MuJoCo model.
        data: Its present state.
        layout: The scene that the world was reset to; None before the first reset.
    """

    def __init__(self, epoch_ns: int = 0) -> None:
        self.model = build_model()
        self.data = mujoco.MjData(self.model)
        self.layout: Layout | None = None
        self._epoch_ns = epoch_ns
        self._timestep_ns = round(self.model.opt.timestep * 1e9)
        self._steps = 0
        self._owed_ns = 0  # time asked for and not simulated yet, less than one time step
        self._kinematics = Kinematics()
        self._objects = {name: _ObjectIndex(self.model, name) for name in OBJECTS}
        self._mocap = {name: int(self.model.body(name).mocapid[0]) for name in CONTAINERS}
        self._pads = {self.model.geom("left_pad").id, self.model.geom("right_pad").id}
        self._renderers: dict[tuple[int, int], Renderer] = {}  # by height and width
        self._placed_since: int | None = None  # time of the placement [ns]

        limits = Limits()
        self._profile = TrapezoidalProfile(
            _START_SEED, limits.profile_time, limits.profile_acceleration_time
        )
        self._finger_target = FINGER_OPEN  # [m]

        self._park(OBJECTS.keys(), CONTAINERS.keys())
        self.place_arm(_START_SEED)

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
        return float(opening_of(self.data.qpos[6]))

    def reset(self, layout: Layout) -> None:
        """Set up a scene, with the arm at rest at its start pose, gripper down and open.

        Simulated time goes on.

        Args:
            layout: The scene.

        Raises:
            SimulatorError: If the layout names an unknown thing or an unreachable start
                pose.
        """
        unknown_objects = layout.objects.keys() - OBJECTS.keys()
        unknown = unknown_objects | (layout.containers.keys() - CONTAINERS.keys())
        if unknown:
            raise SimulatorError(
                f"the layout holds {sorted(unknown)}; the world has {[*OBJECTS, *CONTAINERS]}"
            )
        start_joints = self._start_joints(layout)

        self.layout = layout
        self._placed_since = None
        mujoco.mj_resetData(self.model, self.data)
        self._park(
            OBJECTS.keys() - layout.objects.keys(),
            CONTAINERS.keys() - layout.containers.keys(),
        )

        for name, (x, y, yaw) in layout.objects.items():
            z = OBJECTS[name].half_size[2]
            quaternion = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
            self.data.qpos[self._objects[name].qpos] = [x, y, z, *quaternion]
        for name, (x, y) in layout.containers.items():
            self.data.mocap_pos[self._mocap[name]] = [x, y, 0]

        self.place_arm(start_joints)

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

        self.data.ctrl[6] = self._finger_target
        for set_point in self._profile.advance(count, self.model.opt.timestep):
            self.data.ctrl[:6] = set_point
            mujoco.mj_step(self.model, self.data)
        self._steps += count

        if not np.isfinite(self.data.qacc).all():
            raise SimulatorError("the simulated physics diverged; reset the scene")
        self._note_placement()

    def state(self) -> np.ndarray:
        """Return the state of the scene for a renderer, shape (N,) float64.

        It holds the joint positions, the object poses and the container positions.
        """
        return np.concatenate([self.data.qpos, self.data.mocap_pos.ravel()])

    def set_state(self, state: np.ndarray) -> None:
        """Take over the scene of another world.

        Args:
            state: What its `state()` returned, shape (N,).

        Raises:
            SimulatorError: If the state is not of this model.
        """
        state = np.asarray(state, dtype=float)
        expected = self.model.nq + self.data.mocap_pos.size
        if state.shape != (expected,) or not np.isfinite(state).all():
            raise SimulatorError(
                f"a world state has {expected} finite numbers; found shape {state.shape}"
            )

        self.data.qpos[:] = state[: self.model.nq]
        self.data.mocap_pos[:] = state[self.model.nq :].reshape(-1, 3)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def eef_pose(self) -> np.ndarray:
        """Return the true pose of the end effector in the base frame, T_base_eef (4, 4)."""
        return self._kinematics.forward(self.data.qpos[:6])

    def object_pose(self, name: str) -> tuple[np.ndarray, float]:
        """Return the pose of an object in the base frame.

        Args:
            name: Name of the object.

        Returns:
            Position of its centre, shape (3,) [m], and yaw [rad].
        """
        position, (w, x, y, z) = np.split(self.data.qpos[self._objects[name].qpos], [3])
        yaw = float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
        return position.copy(), yaw

    def container_position(self, name: str) -> np.ndarray:
        """Return the position of a container in the base frame.

        Args:
            name: Name of the container.

        Returns:
            Middle of its underside, shape (3,) [m].
        """
        return self.data.mocap_pos[self._mocap[name]].copy()

    def success(self) -> bool:
        """Return whether the task is solved: placed, released and stable for 0.2 s."""
        if self._placed_since is None:
            return False
        return self.time_ns - self._placed_since >= _SETTLED_TIME_NS

    @property
    def cameras(self) -> list[str]:
        """Names of the model's cameras."""
        return [self.model.camera(index).name for index in range(self.model.ncam)]

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
        number = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if number < 0:
            raise SimulatorError(
                f"the simulator has no camera {camera!r}; it has {', '.join(self.cameras)}"
            )
        if (height, width) not in self._renderers:
            self._renderers[height, width] = Renderer(self.model, height, width)
        return self._renderers[height, width].render(self.data, number)

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _park(self, objects: Set[str], containers: Set[str]) -> None:
        """Move things below the table top, out of all contact, and compensate their weight.

        Args:
            objects: Names of the objects to park; all others get their weight back.
            containers: Names of the containers to park.
        """
        for slot, name in enumerate(OBJECTS):
            parked = name in objects
            self.model.body_gravcomp[self._objects[name].body] = float(parked)
            if parked:
                self.data.qpos[self._objects[name].qpos] = [0.1 * slot, 0, -0.5, 1, 0, 0, 0]

        for slot, name in enumerate(CONTAINERS):
            if name in containers:
                self.data.mocap_pos[self._mocap[name]] = [0.2 * slot, 0.3, -0.5]

    def _note_placement(self) -> None:
        """Note the time since which the object has been at rest in its container, released."""
        if self.layout is None or not self._is_placed(self.layout):
            self._placed_since = None
        elif self._placed_since is None:
            self._placed_since = self.time_ns

    def _is_placed(self, layout: Layout) -> bool:
        """Return whether the task's object rests in its container and the gripper is open."""
        task = parse_task(layout.task)
        item = OBJECTS[task.object]
        container = CONTAINERS[task.container]
        index = self._objects[task.object]

        offset = self.data.qpos[index.qpos][:3] - self.container_position(task.container)
        x, y = offset[:2]
        distance = np.hypot(x, y) if container.is_plate else max(abs(x), abs(y))
        height = offset[2] - container.floor - item.half_size[2]
        speed = np.linalg.norm(self.data.qvel[index.qvel][:3])

        return bool(
            distance < container.half_size
            and abs(height) < _HEIGHT_TOLERANCE
            and speed < _SETTLED_SPEED
            and self.gripper > _OPENED
            and not self._is_touched(index.geom)
        )

    def _is_touched(self, geom: int) -> bool:
        """Return whether a finger touches an object."""
        pairs = self.data.contact.geom.tolist()
        return any(geom in pair and not self._pads.isdisjoint(pair) for pair in pairs)


class _ObjectIndex:
    """Indices of an object in the arrays of the model.

    Attributes:
        qpos: Its position and quaternion.
        qvel: Its linear and angular velocity.
        body: Its body.
        geom: Its geom.
    """

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        joint = model.joint(name)
        position = int(joint.qposadr[0])
        velocity = int(joint.dofadr[0])

        self.qpos = slice(position, position + 7)
        self.qvel = slice(velocity, velocity + 6)
        self.body = model.body(name).id
        self.geom = model.geom(name).id
