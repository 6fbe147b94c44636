"""Bin sorting: two objects of twelve shapes, two bins (paper, appendix A.2 and C.2).

The prior tasks put one object into either bin, not always the right one. The target tasks sort
two objects that never meet before, each into its own bin: what no prior episode shows.
In the narrower set of prior tasks ten objects are moved, and no target object is in any scene.
"""

from __future__ import annotations

import math

import numpy as np

from widowx_bringup.sim.expert import Manner

from .family import Layout, Task
from .placing import PlacingFamily
from .sampling import OBJECT_TURN, sample_apart, sample_containers, sample_start
from .things import Container, Object, Part

NAME = "sort"

OBJECT_AREA = (0.11, 0.045)
"""Half extent of the objects' area in x and y: an open finger beside it clears the bins [m]."""

_RING_PIECES = 10


def _ring() -> tuple[Part, ...]:
    """Return a ring of boxes, 48 mm wide and 20 mm high."""
    parts = []
    for number in range(_RING_PIECES):
        angle = 2 * math.pi * number / _RING_PIECES
        place = (0.0175 * math.cos(angle), 0.0175 * math.sin(angle), 0.0)
        parts.append(Part("box", (0.0065, 0.0080, 0.010), place, (0, 0, angle)))
    return tuple(parts)


_QUARTER = math.pi / 2

_SHAPES = (
    Object(
        "ball",
        (0.85, 0.08, 0.08, 1),
        (0.021, 0.021, 0.021),
        (Part("sphere", (0.021,)),),
        rolls=True,
    ),
    Object("brick", (0.96, 0.45, 0.04, 1), (0.036, 0.018, 0.016)),
    Object("tower", (0.10, 0.62, 0.16, 1), (0.018, 0.018, 0.026)),
    Object("ring", (0.60, 0.12, 0.68, 1), (0.024, 0.024, 0.010), _ring()),
    Object(
        "corner",
        (0.10, 0.22, 0.85, 1),
        (0.032, 0.018, 0.022),
        (
            Part("box", (0.032, 0.018, 0.012), (0, 0, -0.010)),
            Part("box", (0.010, 0.018, 0.010), (-0.022, 0, 0.012)),
        ),
        grasp=0.003,
    ),
    Object(
        "cross",
        (0.96, 0.50, 0.70, 1),
        (0.034, 0.026, 0.012),
        (Part("box", (0.034, 0.011, 0.012)), Part("box", (0.012, 0.026, 0.012))),
    ),
    Object(
        "sausage",
        (0.36, 0.15, 0.05, 1),
        (0.038, 0.018, 0.018),
        (Part("capsule", (0.018, 0.020), turn=(0, _QUARTER, 0)),),
        rolls=True,
    ),
    Object(
        "arch",
        (0.68, 0.92, 0.15, 1),
        (0.034, 0.018, 0.020),
        (
            Part("box", (0.009, 0.018, 0.011), (-0.025, 0, -0.009)),
            Part("box", (0.009, 0.018, 0.011), (0.025, 0, -0.009)),
            Part("box", (0.034, 0.018, 0.009), (0, 0, 0.011)),
        ),
    ),
    Object(
        "pyramid",
        (0.02, 0.45, 0.45, 1),
        (0.027, 0.027, 0.021),
        (
            Part("box", (0.027, 0.027, 0.007), (0, 0, -0.014)),
            Part("box", (0.022, 0.022, 0.007)),
            Part("box", (0.016, 0.016, 0.007), (0, 0, 0.014)),
        ),
    ),
    Object(
        "house",
        (0.90, 0.05, 0.50, 1),
        (0.022, 0.018, 0.024),
        (
            Part("box", (0.022, 0.018, 0.013), (0, 0, -0.011)),
            Part("box", (0.0155, 0.018, 0.0155), (0, 0, 0.002), (0, _QUARTER / 2, 0)),
        ),
    ),
    Object(
        "cylinder",
        (0.98, 0.85, 0.05, 1),
        (0.020, 0.020, 0.025),
        rolls=True,
    ),
    Object(
        "teapot",
        (0.05, 0.80, 0.85, 1),
        (0.036, 0.020, 0.025),
        (
            Part("sphere", (0.020,), (0, 0, -0.002)),
            Part("cylinder", (0.013, 0.005), (0, 0, -0.020)),
            Part("cylinder", (0.007, 0.004), (0, 0, 0.021)),
            Part("capsule", (0.0055, 0.011), (0.023, 0, 0.002), (0, 0.8, 0)),
            Part("box", (0.009, 0.004, 0.003), (-0.025, 0, 0.010)),
            Part("box", (0.003, 0.004, 0.012), (-0.033, 0, 0.001)),
            Part("box", (0.009, 0.004, 0.003), (-0.025, 0, -0.008)),
        ),
        rolls=True,
    ),
)

OBJECTS = {item.name: item for item in _SHAPES}

TARGET_OBJECTS = ("cylinder", "teapot")
"""In no scene of a prior task, and together only in those of the target tasks."""

PRIOR_OBJECTS = tuple(name for name in OBJECTS if name not in TARGET_OBJECTS)


def _bin(name: str, rgba: tuple[float, float, float, float], side: float) -> Container:
    """Return a bin, in which an object may lie as it fell."""
    return Container(
        *(name, "in", rgba, 0.062, 0.004, side),
        wall=0.012,
        tolerance=0.025,
        set_down=(-0.025, 0.010),
        middle=0.85,
    )


CONTAINERS = {
    item.name: item
    for item in (
        _bin("left bin", (0.42, 0.55, 0.75, 1), 0.19),
        _bin("right bin", (0.93, 0.91, 0.84, 1), -0.19),
    )
}

MANNER = Manner(longest_step=0.024, holds_askew=True)
"""Slow enough for 30 to 40 control steps an object, as in the paper."""

SINGLE_STEPS = (80, 70)
"""Longest demonstration and longest rollout with one object [control steps]."""

SORT_STEPS = (180, 130)
"""Longest demonstration and longest rollout with two objects [control steps]."""


def _single(item: str, container: str) -> Task:
    name = f"put the {item} in the {container}"
    return Task(name, NAME, ((item, container),), *SINGLE_STEPS)


def _sorting(first: str, second: str) -> Task:
    name = f"sort the {first} into the left bin and the {second} into the right bin"
    moves = ((first, "left bin"), (second, "right bin"))
    return Task(name, NAME, moves, *SORT_STEPS)


TARGET = _sorting(*TARGET_OBJECTS)
"""The task of the paper's target demonstrations."""

_ALL = (
    *(_single(item, container) for item in OBJECTS for container in CONTAINERS),
    TARGET,
    _sorting(*reversed(TARGET_OBJECTS)),
)
TASKS = {task.name: task for task in _ALL}
"""Every task by its name."""

PRIOR_TASKS = tuple(task.name for task in _ALL if len(task.moves) == 1)
"""Names of the tasks that move one object, each into either bin."""

TEN_OBJECTS_TASKS = tuple(task.name for task in _ALL if task.object not in TARGET_OBJECTS)
"""Those of them in whose scenes no target object stands."""


def _sample(task: Task, seed: int, rng: np.random.Generator) -> Layout:
    """Sample two objects, both bins and the start pose.

    Beside one object that is to be moved stands a prior object, so that the target objects
    never meet but in the target tasks.
    """
    names = [item for item, _ in task.moves]
    if len(names) == 1:
        others = [name for name in PRIOR_OBJECTS if name != names[0]]
        names.append(others[rng.integers(len(others))])
    objects = {}
    for name, (x, y) in zip(names, sample_apart(rng, 2, OBJECT_AREA), strict=True):
        objects[name] = (x, y, float(rng.uniform(-OBJECT_TURN, OBJECT_TURN)))
    sides = [(item.name, item.side) for item in CONTAINERS.values()]
    containers = sample_containers(rng, sides)
    return Layout(task.name, seed, objects, containers, sample_start(rng))


FAMILY = PlacingFamily(NAME, OBJECTS, CONTAINERS, TASKS, _sample, MANNER)
