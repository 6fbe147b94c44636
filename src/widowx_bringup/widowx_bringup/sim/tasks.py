"""The simulated tasks, "put the COLOUR SHAPE in the COLOUR CONTAINER", and their scenes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.names import did_you_mean


class TaskError(PtrError):
    """The task is not one of the family."""


@dataclass(frozen=True)
class Object:
    """A thing that can be grasped.

    Attributes:
        name: Colour and shape.
        rgba: Colour, each value 0 to 1.
        half_size: Half extents [m]; of a cylinder: radius, radius and half height.
    """

    name: str
    rgba: tuple[float, float, float, float]
    half_size: tuple[float, float, float]

    @property
    def is_cylinder(self) -> bool:
        """Whether the shape is a cylinder; it is a cube otherwise."""
        return self.name.endswith("cylinder")


@dataclass(frozen=True)
class Container:
    """A plate or tray, which stands still on its side of the table.

    Attributes:
        name: Colour and kind.
        preposition: `on` a plate, `in` a tray.
        rgba: Colour, each value 0 to 1.
        half_size: Radius of a plate or half side of a tray's floor [m].
        floor: Height of the surface that carries an object [m].
        side: Mean y of its position in the base frame [m].
    """

    name: str
    preposition: str
    rgba: tuple[float, float, float, float]
    half_size: float
    floor: float
    side: float

    @property
    def is_plate(self) -> bool:
        """Whether it is a plate; it is a tray otherwise."""
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
"""Half extent of a container's position in x and y [m]."""
OBJECT_TURN = 0.1
"""Largest yaw of a cube [rad]; larger ones are not visible at 64 x 64 pixels."""
START_TURN = 0.4
"""Largest yaw of the gripper at the start [rad], which the policy has to undo."""
START_AREA = (0.09, 0.19)
"""Half extent of the start positions in x and y [m]. It includes the containers, over which a
failed attempt ends."""
START_HEIGHT = (0.09, 0.21)
"""Lowest and highest start position [m]."""


@dataclass(frozen=True)
class Task:
    """One task: an object to move and the container that receives it."""

    object: str
    container: str

    @property
    def name(self) -> str:
        """The task as a sentence, which is also its language instruction."""
        preposition = CONTAINERS[self.container].preposition
        return f"put the {self.object} {preposition} the {self.container}"


def _all_tasks() -> dict[str, Task]:
    tasks = {}
    for item in OBJECTS:
        for container in CONTAINERS:
            task = Task(item, container)
            tasks[task.name] = task
    return tasks


TASKS = _all_tasks()
"""Every task by its name."""

TARGET_TASK = "put the yellow cube on the white plate"


def prior_tasks() -> list[str]:
    """Return the names of the tasks that use no unseen object."""
    return [name for name, task in TASKS.items() if task.object not in UNSEEN_OBJECTS]


def parse_task(name: str) -> Task:
    """Return the task of a name.

    Args:
        name: Name of a task, for instance "put the red cube on the white plate".

    Raises:
        TaskError: If no task has that name.
    """
    if name not in TASKS:
        raise TaskError(f"unknown task {name!r}; {did_you_mean(name, TASKS, quote=True)}")
    return TASKS[name]


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


def sample_layout(task: str, seed: int) -> Layout:
    """Sample the scene of a task: its object, one distractor, all containers, the start pose.

    Prior tasks have no unseen object as distractor.

    Args:
        task: Name of the task.
        seed: Any non-negative integer. The same task and seed give the same layout on every
            machine.
    """
    target = parse_task(task).object
    rng = np.random.default_rng(np.random.SeedSequence([seed, *task.encode()]))
    distractors = [
        name for name in OBJECTS if name != target and name not in UNSEEN_OBJECTS
    ]
    names = [target, distractors[rng.integers(len(distractors))]]
    objects = _sample_objects(rng, names)
    containers = {}
    for container in CONTAINERS.values():
        jitter = (CONTAINER_JITTER, CONTAINER_JITTER)
        containers[container.name] = _uniform(rng, jitter, (CENTRE[0], container.side))
    x, y = _uniform(rng, START_AREA, CENTRE)
    height = float(rng.uniform(*START_HEIGHT))
    yaw = float(rng.uniform(-START_TURN, START_TURN))
    return Layout(task, seed, objects, containers, (x, y, height, yaw))


def _sample_objects(
    rng: np.random.Generator, names: list[str]
) -> dict[str, tuple[float, float, float]]:
    """Return x, y [m] and yaw [rad] of objects that stand apart, by name."""
    positions: list[tuple[float, float]] = []
    while len(positions) < len(names):
        position = _uniform(rng, OBJECT_AREA, CENTRE)
        if _is_clear(position, positions):
            positions.append(position)
    objects = {}
    for name, (x, y) in zip(names, positions, strict=True):
        yaw = 0.0
        if not OBJECTS[name].is_cylinder:
            yaw = float(rng.uniform(-OBJECT_TURN, OBJECT_TURN))
        objects[name] = (x, y, yaw)
    return objects


def _is_clear(position: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    """Return whether a position [m] keeps the clearance from all others."""
    distances = [np.hypot(position[0] - x, position[1] - y) for x, y in others]
    return min(distances, default=np.inf) >= CLEARANCE


def _uniform(
    rng: np.random.Generator, half: tuple[float, float], centre: tuple[float, float]
) -> tuple[float, float]:
    """Return a point of the rectangle with this half extent around a centre [m]."""
    x, y = np.asarray(centre) + rng.uniform(-1, 1, 2) * half
    return float(x), float(y)
