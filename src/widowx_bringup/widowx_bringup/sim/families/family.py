"""What a family of tasks provides, and the tasks, layouts and scenes it speaks of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ptr_common.errors import PtrError

from .things import Container, Door, Object

if TYPE_CHECKING:
    # A wrong MUJOCO_GL ends the import; `rendering.choose_backend` names it before.
    import mujoco

Act = Callable[[np.ndarray], np.ndarray]
"""Proprioception (7,) -> requested action (7,), from the true scene."""

Reach = Callable[[np.ndarray], "np.ndarray | None"]
"""Proprioception (7,) -> action (7,) towards a thing; None once the arm is above it."""


class TaskError(PtrError):
    """No family has the task."""


@dataclass(frozen=True)
class Task:
    """One task of a family.

    Attributes:
        name: The task as a sentence, which is also its language instruction.
        family: Name of its family.
        moves: Object and container of each placement that it asks for, in the expert's order.
        demonstration_steps: Longest demonstration [control steps].
        rollout_steps: Longest rollout of a policy, unless asked otherwise [control steps].
        label: Name of the task in the episodes of `ptr collect`; empty: its own.
    """

    name: str
    family: str
    moves: tuple[tuple[str, str], ...]
    demonstration_steps: int = 60
    rollout_steps: int = 50
    label: str = ""

    @property
    def object(self) -> str:
        """The object that is moved first."""
        return self.moves[0][0]

    @property
    def container(self) -> str:
        """The container that receives the first object."""
        return self.moves[0][1]


@dataclass(frozen=True)
class Layout:
    """One complete scene, in the base frame.

    Attributes:
        task: Name of its task.
        seed: Seed it was sampled with.
        objects: x, y [m] and yaw [rad] by name.
        containers: x, y [m] by name.
        start: x, y, z [m] and yaw [rad] of the end effector, gripper down and open.
    """

    task: str
    seed: int
    objects: dict[str, tuple[float, float, float]]
    containers: dict[str, tuple[float, float]]
    start: tuple[float, float, float, float]

    def to_json(self) -> dict:
        """Return the layout as a mapping of plain lists and numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> Layout:
        """Return the layout that `to_json` wrote."""
        return cls(
            task=data["task"],
            seed=data["seed"],
            objects={name: tuple(pose) for name, pose in data["objects"].items()},
            containers={name: tuple(place) for name, place in data["containers"].items()},
            start=tuple(data["start"]),
        )


class TrueScene(Protocol):
    """What an expert and a judge of success may know of the present scene."""

    @property
    def gripper(self) -> float:
        """Measured gripper opening."""

    def object_pose(self, name: str) -> tuple[np.ndarray, float]:
        """Return position of the centre (3,) [m] and yaw [rad] of an object, base frame."""

    def object_speed(self, name: str) -> float:
        """Return the speed of an object [m/s]."""

    def container_position(self, name: str) -> np.ndarray:
        """Return the middle of a container's underside, (3,) [m], base frame."""

    def hinge_angle(self, name: str) -> float:
        """Return the angle of a door; 0 when it is shut [rad]."""

    def is_touched(self, name: str) -> bool:
        """Return whether a finger touches an object."""


class Family(Protocol):
    """One family of tasks. Its model is fixed; a scene is a state of the model."""

    @property
    def name(self) -> str:
        """Name of the family."""

    @property
    def objects(self) -> Mapping[str, Object | Door]:
        """All things that can be moved, by name."""

    @property
    def containers(self) -> Mapping[str, Container | Door]:
        """All things that receive them, and doors, by name: a layout places them."""

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Its tasks by name."""

    def build_model(self) -> mujoco.MjModel:
        """Return the model of all its scenes."""

    def sample_layout(self, task: Task, seed: int) -> Layout:
        """Return a scene; the same task and seed give the same one on every machine."""

    def expert(self, scene: TrueScene, task: Task) -> Act:
        """Return the scripted demonstrator of a task."""

    def reach_other(
        self, scene: TrueScene, task: Task, present: Sequence[str]
    ) -> Reach | None:
        """Return how to reach for a wrong object of those present; None without one."""

    def score(self, scene: TrueScene, task: Task) -> float:
        """Return the share of the task that is done now, 0 to 1."""

    def is_solved(self, scene: TrueScene, task: Task) -> bool:
        """Return whether the scene is as the task asks, at this moment."""
