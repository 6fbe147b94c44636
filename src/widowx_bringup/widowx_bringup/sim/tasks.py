"""The family of simulated tasks, "put the COLOUR SHAPE in the COLOUR CONTAINER", and their scenes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.suggestions import did_you_mean


class TaskError(PtrError):
    """The task is not one of the family."""


@dataclass(frozen=True)
class Object:
    """Something that can be grasped. The name is colour and shape."""

    name: str
    rgba: tuple[float, float, float, float]
    half_size: tuple[
        float, float, float
    ]  # [m]; a cylinder's are radius, radius and half height

    @property
    def is_cylinder(self) -> bool:
        return self.name.endswith("cylinder")


@dataclass(frozen=True)
class Container:
    """Something an object is put into; it stands still on its side of the table."""

    name: str
    preposition: str
    rgba: tuple[float, float, float, float]
    half_size: float  # radius of a plate, half side of a tray's floor [m]
    floor: float  # height of the surface that carries an object [m]
    side: float  # y of its place, before jitter [m]

    @property
    def is_plate(self) -> bool:
        return self.name.endswith("plate")


_CUBE = (0.020, 0.020, 0.020)
_CYLINDER = (0.021, 0.021, 0.022)

OBJECTS = {
    item.name: item
    for item in (
        Object("red cube", (0.85, 0.08, 0.08, 1), _CUBE),
        Object("green cylinder", (0.10, 0.62, 0.16, 1), _CYLINDER),
        Object("blue cube", (0.10, 0.22, 0.85, 1), _CUBE),
        Object("purple cylinder", (0.60, 0.12, 0.68, 1), _CYLINDER),
        Object("orange cube", (0.96, 0.45, 0.04, 1), _CUBE),
        Object("pink cylinder", (0.96, 0.50, 0.70, 1), _CYLINDER),
        Object("yellow cube", (0.98, 0.85, 0.05, 1), _CUBE),
        Object("cyan cylinder", (0.05, 0.80, 0.85, 1), _CYLINDER),
    )
}
UNSEEN_OBJECTS = ("yellow cube", "cyan cylinder")
"""Never in a scene of a prior task, not even as a distractor."""

CONTAINERS = {
    item.name: item
    for item in (
        Container("white plate", "on", (0.95, 0.95, 0.93, 1), 0.062, 0.006, 0.175),
        Container("grey tray", "in", (0.30, 0.33, 0.38, 1), 0.060, 0.004, -0.175),
    )
}

CENTRE = (0.28, 0.0)
"""Middle of the objects' area, base frame [m]."""
OBJECT_AREA = (0.11, 0.06)
"""Half extent of the objects' area in x and y [m]."""
CLEARANCE = 0.075
"""Smallest distance between the centres of two objects: an open finger fits between them [m]."""
CONTAINER_JITTER = 0.015
OBJECT_TURN = 0.1
"""Largest turn of a cube [rad]; at 64 x 64 pixels a policy could not see more."""
START_TURN = 0.4
"""Largest turn of the gripper at the start [rad], which the policy has to take back."""
START_AREA = (0.09, 0.19)
"""Half extent of where the gripper starts in x and y [m]: over the containers too, where a failed try ends."""
START_HEIGHT = (0.09, 0.21)


@dataclass(frozen=True)
class Task:
    """One task: which object goes into which container."""

    object: str
    container: str

    @property
    def name(self) -> str:
        return f"put the {self.object} {CONTAINERS[self.container].preposition} the {self.container}"


TASKS = {
    task.name: task
    for task in (Task(thing, place) for thing in OBJECTS for place in CONTAINERS)
}

TARGET_TASK = "put the yellow cube on the white plate"


def prior_tasks() -> list[str]:
    """Return the names of the tasks whose objects may be seen before the target task."""
    return [name for name, task in TASKS.items() if task.object not in UNSEEN_OBJECTS]


def parse_task(name: str) -> Task:
    """Return the task of a name.

    Raises:
        TaskError: If no task has that name.
    """
    if name not in TASKS:
        raise TaskError(
            f"unknown task {name!r}; {did_you_mean(name, TASKS, quote=True)}"
        )
    return TASKS[name]


@dataclass(frozen=True)
class Layout:
    """One scene, complete: what lies where, and from where the arm starts."""

    task: str
    seed: int
    objects: dict[str, tuple[float, float, float]]  # name -> x, y [m], yaw [rad]
    containers: dict[str, tuple[float, float]]  # name -> x, y [m]
    start: tuple[
        float, float, float, float
    ]  # end effector, gripper down and open: x, y, z [m], yaw [rad]

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


def draw_layout(task: str, seed: int) -> Layout:
    """Draw the scene of a task: its object, one distractor, all containers and the start pose.

    Prior tasks draw their distractor among the prior objects only.

    Args:
        task: Name of the task.
        seed: Any non-negative integer; the same task and seed give the same layout on every
        machine.
    """
    goal = parse_task(task)
    rng = np.random.default_rng(np.random.SeedSequence([seed, *task.encode()]))
    others = [
        name for name in OBJECTS if name != goal.object and name not in UNSEEN_OBJECTS
    ]
    names = [goal.object, others[rng.integers(len(others))]]
    places = [_uniform(rng, OBJECT_AREA, CENTRE)]
    while len(places) < len(names):
        place = _uniform(rng, OBJECT_AREA, CENTRE)
        if all(np.hypot(place[0] - x, place[1] - y) >= CLEARANCE for x, y in places):
            places.append(place)
    objects = {
        name: (
            *place,
            0.0
            if OBJECTS[name].is_cylinder
            else float(rng.uniform(-OBJECT_TURN, OBJECT_TURN)),
        )
        for name, place in zip(names, places, strict=True)
    }
    jitter = (CONTAINER_JITTER, CONTAINER_JITTER)
    containers = {
        item.name: _uniform(rng, jitter, (CENTRE[0], item.side))
        for item in CONTAINERS.values()
    }
    place = _uniform(rng, START_AREA, CENTRE)
    start = (
        *place,
        float(rng.uniform(*START_HEIGHT)),
        float(rng.uniform(-START_TURN, START_TURN)),
    )
    return Layout(task, seed, objects, containers, start)


def _uniform(
    rng: np.random.Generator, half: tuple[float, float], centre: tuple[float, float]
) -> tuple[float, float]:
    x, y = np.asarray(centre) + rng.uniform(-1, 1, 2) * half
    return float(x), float(y)
