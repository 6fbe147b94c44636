"""The scene of one family of tasks: its MuJoCo model, its present state and its images."""

from __future__ import annotations

from collections.abc import Set

import mujoco
import numpy as np

from ptr_common.errors import PtrError
from widowx_bringup.arm.gripper import opening_of

from .camera_shift import CameraShift
from .families.family import Family, Layout
from .families.things import Object
from .rendering import Renderer

_PARKED = -0.5  # height of what a layout leaves out, below the table top [m]
_HIDDEN = 5  # a group of geoms that is not drawn
_ROW = 8  # objects parked in one row


class SimulatorError(PtrError):
    """The simulated world cannot be built, rendered or continued."""


class Scene:
    """All things of one family on the table, as the `TrueScene` protocol.

    Every object and container is always in the model; those that a layout leaves out are
    parked below the table top.

    Args:
        family: The family.
        shift: Where the cameras stand, relative to where they usually do.

    Attributes:
        family: The family.
        model: The MuJoCo model.
        data: Its present state.
    """

    def __init__(self, family: Family, shift: CameraShift | None = None) -> None:
        self.family = family
        self.model = family.build_model()
        (shift or CameraShift()).apply(self.model)
        self.data = mujoco.MjData(self.model)
        self._objects = {name: _ObjectIndex(self.model, name) for name in family.objects}
        self._mocap = {
            name: int(self.model.body(name).mocapid[0]) for name in family.containers
        }
        self._pads = {self.model.geom("left_pad").id, self.model.geom("right_pad").id}
        self._renderers: dict[tuple[int, int], Renderer] = {}  # by height and width
        self._geoms, self._heights = self._height_of_geoms()
        self._park(family.objects.keys(), family.containers.keys())

    def _height_of_geoms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the geoms of all objects and where in qpos the heights of their bodies are."""
        geoms, heights = [], []
        for index in self._objects.values():
            geoms += sorted(index.geoms)
            heights += [index.qpos.start + 2] * len(index.geoms)
        return np.array(geoms, dtype=int), np.array(heights, dtype=int)

    def check(self, layout: Layout) -> None:
        """Raise SimulatorError if a layout names a thing that the family lacks."""
        objects, containers = self.family.objects, self.family.containers
        unknown_objects = layout.objects.keys() - objects.keys()
        unknown = unknown_objects | (layout.containers.keys() - containers.keys())
        if unknown:
            raise SimulatorError(
                f"the layout holds {sorted(unknown)}; the world has {[*objects, *containers]}"
            )

    def place(self, layout: Layout) -> None:
        """Put every thing where a layout says, at rest.

        Args:
            layout: The scene.
        """
        objects = self.family.objects
        mujoco.mj_resetData(self.model, self.data)
        self._park(
            objects.keys() - layout.objects.keys(),
            self.family.containers.keys() - layout.containers.keys(),
        )

        for name, (x, y, yaw) in layout.objects.items():
            item = objects[name]
            assert isinstance(item, Object)
            z = item.half_size[2]
            quaternion = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
            self.data.qpos[self._objects[name].qpos] = [x, y, z, *quaternion]
        for name, (x, y) in layout.containers.items():
            self.data.mocap_pos[self._mocap[name]] = [x, y, 0]

    @property
    def gripper(self) -> float:
        """Measured gripper opening; 0.2 when closed on nothing, where the fingers meet."""
        return float(opening_of(self.data.qpos[6]))

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

    def object_speed(self, name: str) -> float:
        """Return the speed of an object [m/s].

        Args:
            name: Name of the object.
        """
        return float(np.linalg.norm(self.data.qvel[self._objects[name].qvel][:3]))

    def container_position(self, name: str) -> np.ndarray:
        """Return the position of a container in the base frame.

        Args:
            name: Name of the container.

        Returns:
            Middle of its underside, shape (3,) [m].
        """
        return self.data.mocap_pos[self._mocap[name]].copy()

    def hinge_angle(self, name: str) -> float:
        """Return the angle of a door; 0 when it is shut [rad].

        Args:
            name: Name of the door.
        """
        return float(self.data.joint(name).qpos[0])

    def is_touched(self, name: str) -> bool:
        """Return whether a finger touches an object.

        Args:
            name: Name of the object.
        """
        geoms = self._objects[name].geoms
        for pair in self.data.contact.geom.tolist():
            if not (geoms.isdisjoint(pair) or self._pads.isdisjoint(pair)):
                return True
        return False

    def state(self) -> np.ndarray:
        """Return joint positions, object poses and container positions, shape (N,) float64."""
        return np.concatenate([self.data.qpos, self.data.mocap_pos.ravel()])

    def set_state(self, state: np.ndarray) -> None:
        """Take over the state of another scene of the same family.

        Args:
            state: What its `state()` returned, shape (N,).

        Raises:
            SimulatorError: If the state is not of this model.
        """
        state = np.asarray(state, dtype=float)
        expected = self.model.nq + self.data.mocap_pos.size
        if state.shape != (expected,) or not np.isfinite(state).all():
            raise SimulatorError(
                f"a world state of the family {self.family.name!r} has {expected} finite "
                f"numbers; found shape {state.shape}"
            )

        self.data.qpos[:] = state[: self.model.nq]
        self.data.mocap_pos[:] = state[self.model.nq :].reshape(-1, 3)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    @property
    def cameras(self) -> list[str]:
        """Names of the model's cameras."""
        return [self.model.camera(index).name for index in range(self.model.ncam)]

    def render(self, camera: str, height: int, width: int) -> np.ndarray:
        """Return the image of a camera; see `World.render`."""
        number = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if number < 0:
            raise SimulatorError(
                f"the simulator has no camera {camera!r}; it has {', '.join(self.cameras)}"
            )
        if (height, width) not in self._renderers:
            self._renderers[height, width] = Renderer(self.model, height, width)
        parked = self.data.qpos[self._heights] == _PARKED
        self.model.geom_group[self._geoms] = np.where(parked, _HIDDEN, 0)
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
        for slot, (name, index) in enumerate(self._objects.items()):
            parked = name in objects
            self.model.body_gravcomp[index.body] = float(parked)
            if parked:
                self.data.qpos[index.qpos] = [*_parking(slot), _PARKED, 1, 0, 0, 0]

        for slot, (name, number) in enumerate(self._mocap.items()):
            if name in containers:
                self.data.mocap_pos[number] = [0.2 * slot, 0.3, _PARKED]


def _parking(slot: int) -> tuple[float, float]:
    """Return x, y [m] of a parked object, below the table top."""
    return 0.1 * (slot % _ROW), 0.1 * (slot // _ROW)


class _ObjectIndex:
    """Indices of an object in the arrays of the model.

    Attributes:
        qpos: Its position and quaternion.
        qvel: Its linear and angular velocity.
        body: Its body.
        geoms: Its geoms.
    """

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        joint = model.joint(name)
        position = int(joint.qposadr[0])
        velocity = int(joint.dofadr[0])
        body = model.body(name)

        self.qpos = slice(position, position + 7)
        self.qvel = slice(velocity, velocity + 6)
        self.body = body.id
        first = int(body.geomadr[0])
        self.geoms = set(range(first, first + int(body.geomnum[0])))
