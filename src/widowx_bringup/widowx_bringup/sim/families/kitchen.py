"""Scenario 3 of the paper: new tasks in a new scene, of which there is no prior data.

Table, light, camera place, objects, containers and the things around are in no scene of another
family.
"""

from __future__ import annotations

import math
from itertools import starmap

import numpy as np

from widowx_bringup.sim.camera_shift import CameraShift

from .family import Layout, Task
from .look import Furniture, Look
from .placing import PlacingFamily
from .sampling import OBJECT_TURN, sample_apart, sample_containers, sample_start
from .things import Container, Object, Part

NAME = "kitchen"

LOOK = Look(
    table=(0.36, 0.45, 0.42),
    squares=(0.44, 0.53, 0.49),
    light=(-0.5, 0.3, -1.0),
    brightness=0.75,
    furniture=(
        Furniture((0.56, 0.0, 0.09), (0.02, 0.60, 0.09), (0.85, 0.80, 0.66)),
        Furniture((0.47, 0.27, 0.03), (0.045, 0.06, 0.03), (0.55, 0.24, 0.16)),
        Furniture((0.10, -0.30, 0.02), (0.05, 0.05, 0.02), (0.20, 0.20, 0.22)),
    ),
    camera=CameraShift(rise=0.05, turn=8.0),
)

OBJECT_AREA = (0.10, 0.055)
"""Half extent of the objects' area in x and y [m]."""

_ALONG_X = (0.0, math.pi / 2, 0.0)

OBJECTS = {
    item.name: item
    for item in (
        Object(
            "carrot",
            (0.93, 0.42, 0.08, 1),
            (0.037, 0.017, 0.017),
            (Part("capsule", (0.017, 0.020), turn=_ALONG_X),),
            rolls=True,
        ),
        Object(
            "potato",
            (0.72, 0.55, 0.25, 1),
            (0.030, 0.022, 0.022),
            (Part("capsule", (0.022, 0.008), turn=_ALONG_X),),
            rolls=True,
        ),
        Object(
            "loaf",
            (0.55, 0.30, 0.10, 1),
            (0.030, 0.020, 0.020),
            (
                Part("box", (0.030, 0.020, 0.012), (0, 0, -0.008)),
                Part("box", (0.024, 0.016, 0.008), (0, 0, 0.012)),
            ),
        ),
        Object(
            "pepper",
            (0.80, 0.06, 0.12, 1),
            (0.021, 0.021, 0.024),
            (
                Part("cylinder", (0.021, 0.018), (0, 0, -0.006)),
                Part("cylinder", (0.007, 0.006), (0, 0, 0.018)),
            ),
            rolls=True,
        ),
    )
}

CONTAINERS = {
    item.name: item
    for item in (
        Container("blue plate", "on", (0.16, 0.30, 0.72, 1), 0.064, 0.006, 0.175),
        Container(
            *("pot", "in", (0.62, 0.64, 0.68, 1), 0.060, 0.004, -0.185),
            wall=0.013,
            tolerance=0.02,
            set_down=(-0.02, 0.010),
            middle=0.85,
        ),
    )
}

_MOVES = (
    ("potato", "blue plate"),
    ("loaf", "blue plate"),
    ("carrot", "pot"),
    ("pepper", "pot"),
)


def _task(item: str, container: str) -> Task:
    name = f"put the {item} {CONTAINERS[container].preposition} the {container}"
    return Task(name, NAME, ((item, container),), demonstration_steps=80)


TASKS = {task.name: task for task in starmap(_task, _MOVES)}
"""The four target tasks by name."""


def _sample(task: Task, seed: int, rng: np.random.Generator) -> Layout:
    """Sample the task's object, two others, both containers and the start pose."""
    others = [name for name in OBJECTS if name != task.object]
    names = [task.object, *rng.permutation(others)[:2].tolist()]
    objects = {}
    for name, (x, y) in zip(names, sample_apart(rng, 3, OBJECT_AREA), strict=True):
        objects[name] = (x, y, float(rng.uniform(-OBJECT_TURN, OBJECT_TURN)))
    sides = [(item.name, item.side) for item in CONTAINERS.values()]
    containers = sample_containers(rng, sides)
    return Layout(task.name, seed, objects, containers, sample_start(rng))


FAMILY = PlacingFamily(NAME, OBJECTS, CONTAINERS, TASKS, _sample, look=LOOK)
