"""One MuJoCo world: the arm with its servos, the table scene, off-screen cameras, and the judge of success."""

from __future__ import annotations

import mujoco
import numpy as np

from ptr_common.action_space import JOINT_NAMES
from ptr_common.errors import PtrError
from widowx_bringup.arm.gripper import FINGER_OPEN, finger_of, opening_of
from widowx_bringup.arm.kinematics import DESCRIPTION, Kinematics, pose_from_proprio
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import MAX_AGE, ArmFeatures, JointReading, JointTarget
from widowx_bringup.arm.refusal import Refusal
from widowx_bringup.arm.trapezoidal_profile import TrapezoidalProfile
from widowx_bringup.camera.protocol import CameraFeatures, Frame

from .rendering import Renderer
from .tasks import CONTAINERS, OBJECTS, Container, Layout, Object, parse_task

_START_SEED = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])  # joints near the start poses [rad]
_SETTLED_SPEED = 0.02  # [m/s]
_SETTLED_TIME_NS = 200_000_000
_OPENED = 0.5  # gripper opening from which an object counts as released


class SimulatorError(PtrError):
    """The simulated world cannot be built, drawn or continued."""


def _add_object(spec: mujoco.MjSpec, item: Object) -> None:
    body = spec.worldbody.add_body(name=item.name)
    body.add_freejoint(name=item.name)
    shape = (
        mujoco.mjtGeom.mjGEOM_CYLINDER if item.is_cylinder else mujoco.mjtGeom.mjGEOM_BOX
    )
    size = (
        [item.half_size[0], item.half_size[2], 0]
        if item.is_cylinder
        else list(item.half_size)
    )
    body.add_geom(
        name=item.name, type=shape, size=size, rgba=item.rgba, mass=0.04, contype=2, conaffinity=3, condim=4,
        friction=[1.0, 0.01, 0.0001], solref=[0.006, 1], solimp=[0.97, 0.99, 0.001, 0.5, 2],
    )  # fmt: skip


def _add_container(spec: mujoco.MjSpec, item: Container) -> None:
    body = spec.worldbody.add_body(name=item.name, mocap=True)
    solid = {
        "rgba": item.rgba,
        "contype": 0,
        "conaffinity": 3,
        "condim": 4,
        "friction": [1.0, 0.01, 0.0001],
    }
    half, height = item.half_size, item.floor / 2
    if item.is_plate:
        shape = mujoco.mjtGeom.mjGEOM_CYLINDER
        body.add_geom(type=shape, size=[half, height, 0], pos=[0, 0, height], **solid)
        return
    box = mujoco.mjtGeom.mjGEOM_BOX
    body.add_geom(type=box, size=[half, half, height], pos=[0, 0, height], **solid)
    rim, thickness = 0.0045, 0.003
    for sign in (-1, 1):
        at = sign * (half + thickness)
        body.add_geom(
            type=box, size=[thickness, half + 2 * thickness, rim], pos=[at, 0, rim], **solid
        )
        body.add_geom(type=box, size=[half, thickness, rim], pos=[0, at, rim], **solid)


def build_model() -> mujoco.MjModel:
    """Return the one model of every scene: the arm, the table, all objects and all containers."""
    spec = mujoco.MjSpec.from_file(str(DESCRIPTION / "scene.xml"))
    for thing in OBJECTS.values():
        _add_object(spec, thing)
    for place in CONTAINERS.values():
        _add_container(spec, place)
    return spec.compile()


class World:
    """One simulated table with the arm on it. To be used from one thread at a time.

    Every object and container is always in the model; those that a layout leaves out are
    parked inside the table top. A scene is therefore complete in `state()`, and another
    process draws it after `set_state()`.

    Args:
        epoch_ns: Simulated time at the start [ns]; it only grows, also over resets.
    """

    def __init__(self, epoch_ns: int = 0) -> None:
        self.model = build_model()
        self.data = mujoco.MjData(self.model)
        self.layout: Layout | None = None
        self._epoch_ns = epoch_ns
        self._timestep_ns = round(self.model.opt.timestep * 1e9)
        self._steps = 0
        self._owed_ns = 0
        self._kinematics = Kinematics()
        self._objects = {name: _ObjectIndex(self.model, name) for name in OBJECTS}
        self._mocap = {name: int(self.model.body(name).mocapid[0]) for name in CONTAINERS}
        self._pads = {self.model.geom(name).id for name in ("left_pad", "right_pad")}
        self._renderers: dict[tuple[int, int], Renderer] = {}
        self._placed_since: int | None = None
        limits = Limits()
        self._profile = TrapezoidalProfile(
            _START_SEED, limits.profile_time, limits.profile_acceleration_time
        )
        self._finger_target = FINGER_OPEN
        self._park(set(OBJECTS), set(CONTAINERS))
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
    def gripper(self) -> float:
        """Measured gripper opening; 0.2 when closed on nothing, because the fingers' travel ends before 0."""
        return float(opening_of(self.data.qpos[6]))

    def reset(self, layout: Layout) -> None:
        """Set up a scene; the arm stands at its start pose, gripper down and open. Time goes on.

        Raises:
            SimulatorError: If the layout names an unknown thing or an unreachable start
            pose.
        """
        unknown = (set(layout.objects) - set(OBJECTS)) | (
            set(layout.containers) - set(CONTAINERS)
        )
        if unknown:
            raise SimulatorError(
                f"the layout holds {sorted(unknown)}; the world has {[*OBJECTS, *CONTAINERS]}"
            )
        x, y, z, yaw = layout.start
        start = self._kinematics.inverse(
            pose_from_proprio(np.array([x, y, z, 0, 0, yaw])), _START_SEED
        )
        if isinstance(start, Refusal):
            raise SimulatorError(
                f"the arm cannot start at x {x:.3f} y {y:.3f} z {z:.3f} m, yaw {yaw:.3f} rad"
            )
        self.layout = layout
        self._placed_since = None
        mujoco.mj_resetData(self.model, self.data)
        self._park(
            set(OBJECTS) - set(layout.objects), set(CONTAINERS) - set(layout.containers)
        )
        for name, (x, y, yaw) in layout.objects.items():
            place = self._objects[name].qpos
            half_height = OBJECTS[name].half_size[2]
            self.data.qpos[place] = [
                x,
                y,
                half_height,
                np.cos(yaw / 2),
                0,
                0,
                np.sin(yaw / 2),
            ]
        for name, (x, y) in layout.containers.items():
            self.data.mocap_pos[self._mocap[name]] = [x, y, 0]
        self.place_arm(start)

    def place_arm(self, joints: np.ndarray) -> None:
        """Put the arm somewhere, at rest and open: joints (6,) [rad]."""
        self.data.qpos[:8] = [*joints, FINGER_OPEN, -FINGER_OPEN]
        self.data.qvel[:] = 0
        self._profile.rest(joints)
        self._finger_target = FINGER_OPEN
        self.data.ctrl[:] = [*joints, FINGER_OPEN]
        mujoco.mj_forward(self.model, self.data)

    def command(self, joints: np.ndarray, gripper: float) -> None:
        """Give the servos a new target: joints (6,) [rad] and gripper opening 0..1."""
        self.command_joints(joints)
        self.move_finger(finger_of(float(gripper)))

    def command_joints(self, joints: np.ndarray) -> None:
        """Give the servos of the joints a new target, (6,) [rad]."""
        self._profile.plan(joints)

    def move_finger(self, finger: float) -> None:
        """Give the gripper's servo a new target [m]."""
        self._finger_target = finger

    def set_profile(self, time: np.ndarray, acceleration_time: np.ndarray) -> None:
        """Give the servos other profile times, one each (6,) [s]; they stop where they are told to be now."""
        self._profile = TrapezoidalProfile(self.data.ctrl[:6], time, acceleration_time)

    def hold(self) -> None:
        """Stop the arm at its measured joints; the gripper keeps its target."""
        self._profile.rest(self.joints)

    def advance(self, seconds: float) -> None:
        """Let simulated time pass; what is less than a time step is made up for in the next call.

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
        self._judge()

    def state(self) -> np.ndarray:
        """Return what describes the scene to a renderer, shape (N,) float64: joint and object poses, containers."""
        return np.concatenate([self.data.qpos, self.data.mocap_pos.ravel()])

    def set_state(self, state: np.ndarray) -> None:
        """Show a scene that `state()` of another world described.

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
        """Return the true pose T_base_eef, (4, 4)."""
        return self._kinematics.forward(self.data.qpos[:6])

    def object_pose(self, name: str) -> tuple[np.ndarray, float]:
        """Return where an object's centre is, (3,) [m], and its yaw [rad]."""
        position, (w, x, y, z) = np.split(self.data.qpos[self._objects[name].qpos], [3])
        return position.copy(), float(
            np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        )

    def container_position(self, name: str) -> np.ndarray:
        """Return the middle of a container's underside, (3,) [m]."""
        return self.data.mocap_pos[self._mocap[name]].copy()

    def success(self) -> bool:
        """Tell whether the task is solved: placed, released and stable for a fifth of a second."""
        return (
            self._placed_since is not None
            and self.time_ns - self._placed_since >= _SETTLED_TIME_NS
        )

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras there are."""
        return [self.model.camera(index).name for index in range(self.model.ncam)]

    def render(self, camera: str, height: int, width: int) -> np.ndarray:
        """Return what a camera of the model sees, shape (height, width, 3) uint8 RGB.

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
        return self._renderers[height, width].draw(self.data, number)

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _park(self, objects: set[str], containers: set[str]) -> None:
        """Hide things below the table top, where nothing touches them, and take their weight away."""
        for slot, name in enumerate(OBJECTS):
            parked = name in objects
            self.model.body_gravcomp[self._objects[name].body] = float(parked)
            if parked:
                self.data.qpos[self._objects[name].qpos] = [0.1 * slot, 0, -0.5, 1, 0, 0, 0]
        for slot, name in enumerate(CONTAINERS):
            if name in containers:
                self.data.mocap_pos[self._mocap[name]] = [0.2 * slot, 0.3, -0.5]

    def _judge(self) -> None:
        """Note since when the object lies released and still in its container."""
        if self.layout is None or not self._placed():
            self._placed_since = None
        elif self._placed_since is None:
            self._placed_since = self.time_ns

    def _placed(self) -> bool:
        assert self.layout is not None
        task = parse_task(self.layout.task)
        thing, place = OBJECTS[task.object], CONTAINERS[task.container]
        index = self._objects[task.object]
        offset = self.data.qpos[index.qpos][:3] - self.container_position(task.container)
        across = np.hypot(*offset[:2]) if place.is_plate else np.abs(offset[:2]).max()
        rests = abs(offset[2] - place.floor - thing.half_size[2]) < 0.008
        still = np.linalg.norm(self.data.qvel[index.qvel][:3]) < _SETTLED_SPEED
        inside = bool(across < place.half_size and rests and still)
        return inside and self.gripper > _OPENED and not self._touched(index.geom)

    def _touched(self, geom: int) -> bool:
        """Tell whether a finger touches an object."""
        pairs = self.data.contact.geom
        return any(
            geom in pair and not self._pads.isdisjoint(pair) for pair in pairs.tolist()
        )


class _ObjectIndex:
    """Where an object is found in the model's arrays."""

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        joint = model.joint(name)
        self.qpos = slice(int(joint.qposadr[0]), int(joint.qposadr[0]) + 7)
        self.qvel = slice(int(joint.dofadr[0]), int(joint.dofadr[0]) + 6)
        self.body = model.body(name).id
        self.geom = model.geom(name).id


class SimulatedArm:
    """The arm of a world, behind the `Arm` protocol."""

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
        """Nothing to do: they are always well."""

    def watch(self) -> None:
        """Nothing to do."""

    def disconnect(self) -> None:
        """Nothing to do."""

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the joints as they are now; a simulated reading has no age."""
        world = self._world
        return JointReading(
            world.time_ns, world.joints, world.joint_velocities, world.gripper
        )

    def send(self, target: JointTarget) -> JointTarget:
        """Give the servos a target that has passed the gate."""
        self._world.command(target.positions, target.gripper)
        return target

    def hold(self) -> None:
        """Stop at the measured position."""
        self._world.hold()


class SimulatedCamera:
    """A camera of a world, behind the `Camera` protocol."""

    def __init__(
        self, world: World, name: str, width: int, height: int, rate: float
    ) -> None:
        self._world = world
        self.features = CameraFeatures(name, width, height, rate)

    def connect(self) -> None:
        """Nothing to do: the first picture makes the renderer."""

    def disconnect(self) -> None:
        """Nothing to do: the world frees its renderers."""

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Return the scene as it is now; a simulated picture has no age."""
        features = self.features
        image = self._world.render(features.name, features.height, features.width)
        return Frame(self._world.time_ns, image)
