"""The family "put the COLOUR SHAPE in the COLOUR CONTAINER": one object, one distractor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .family import Layout, Task
from .placing import PlacingFamily
from .sampling import OBJECT_TURN, sample_apart, sample_containers, sample_start
from .things import Container, Object

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

OBJECT_AREA = (0.11, 0.06)
"""Half extent of the objects' area in x and y [m]."""

NAME = "put"


def _all_tasks() -> dict[str, Task]:
    tasks = {}
    for item in OBJECTS:
        for container in CONTAINERS.values():
            name = f"put the {item} {container.preposition} the {container.name}"
            tasks[name] = Task(name, NAME, ((item, container.name),))
    return tasks


TASKS = _all_tasks()
"""Every task by its name."""

TARGET_TASK = "put the yellow cube on the white plate"

PRIOR_TASKS = tuple(
    name for name, task in TASKS.items() if task.object not in UNSEEN_OBJECTS
)
"""Names of the tasks that use no unseen object."""


def sample_among(
    task: Task, seed: int, rng: np.random.Generator, among: Mapping[str, Container]
) -> Layout:
    """Sample the task's object, one distractor, all containers and the start pose.

    Prior tasks have no unseen object as distractor.

    Args:
        task: The task.
        seed: Seed of the scene.
        rng: Source of randomness, made from the seed.
        among: The containers by name.
    """
    distractors = [
        name for name in OBJECTS if name != task.object and name not in UNSEEN_OBJECTS
    ]
    names = [task.object, distractors[rng.integers(len(distractors))]]
    objects = {}
    for name, (x, y) in zip(names, sample_apart(rng, 2, OBJECT_AREA), strict=True):
        yaw = 0.0
        if not OBJECTS[name].is_cylinder:
            yaw = float(rng.uniform(-OBJECT_TURN, OBJECT_TURN))
        objects[name] = (x, y, yaw)
    sides = [(item.name, item.side) for item in among.values()]
    containers = sample_containers(rng, sides)
    return Layout(task.name, seed, objects, containers, sample_start(rng))


def _sample(task: Task, seed: int, rng: np.random.Generator) -> Layout:
    """Sample the scene of a task of this family."""
    return sample_among(task, seed, rng, CONTAINERS)


FAMILY = PlacingFamily(NAME, OBJECTS, CONTAINERS, TASKS, _sample)
