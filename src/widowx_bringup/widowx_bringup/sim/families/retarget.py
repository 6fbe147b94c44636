"""Scenario 1 of the paper: a known skill, re-targeted to a container of another look.

The tasks of the family `put` that use the grey tray are re-targeted: here the object belongs into a
pan that no prior scene holds, while the grey tray stands in its usual place.
"""

from __future__ import annotations

import numpy as np

from . import put
from .family import Layout, Task
from .placing import PlacingFamily
from .things import Container

NAME = "retarget"

_PAN = Container("teal pan", "in", (0.05, 0.42, 0.45, 1), 0.058, 0.004, 0.175, wall=0.009)

CONTAINERS = {_PAN.name: _PAN, "grey tray": put.CONTAINERS["grey tray"]}

EXISTING = {
    f"put the {item} in the teal pan": f"put the {item} in the grey tray"
    for item in put.OBJECTS
    if item not in put.UNSEEN_OBJECTS
}
"""By the name of each task here, the prior task whose id it can use (`ptr finetune --retarget`)."""

TASKS = {
    name: Task(name, NAME, ((put.TASKS[prior].object, _PAN.name),))
    for name, prior in EXISTING.items()
}
"""Every task by its name."""

TARGET_TASK = "put the red cube in the teal pan"


def _sample(task: Task, seed: int, rng: np.random.Generator) -> Layout:
    """Sample the scene as the prior task has it, with the pan in place of the plate."""
    return put.sample_among(task, seed, rng, CONTAINERS)


FAMILY = PlacingFamily(NAME, put.OBJECTS, CONTAINERS, TASKS, _sample)
