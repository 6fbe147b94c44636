"""The simulated tasks of every family, by name."""

from __future__ import annotations

from collections.abc import Sequence

from ptr_common.names import did_you_mean

from .families import door, kitchen, put, retarget, sort
from .families.family import Act, Family, Layout, Task, TaskError, TrueScene

_ALL: tuple[Family, ...] = (
    *(put.FAMILY, sort.FAMILY, retarget.FAMILY, kitchen.FAMILY),
    *door.FAMILIES,
)
FAMILIES = {family.name: family for family in _ALL}
"""Every family by its name; the first is that of a world before its first scene."""

TASKS = {name: task for family in FAMILIES.values() for name, task in family.tasks.items()}
"""Every task by its name."""

TARGET_TASK = put.TARGET_TASK

GROUPS: dict[str, tuple[str, ...]] = {
    "prior": put.PRIOR_TASKS,
    "sorting": sort.PRIOR_TASKS,
    "sorting-ten": sort.TEN_OBJECTS_TASKS,
    "retarget": tuple(retarget.TASKS),
    "kitchen": tuple(kitchen.TASKS),
    "doors": door.PRIOR_TASKS,
}
"""Names of tasks by the word that stands for all of them."""


def prior_tasks() -> list[str]:
    """Return the names of the tasks of the first family that use no unseen object."""
    return list(GROUPS["prior"])


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


def parse_tasks(words: Sequence[str]) -> list[str]:
    """Return the names of tasks and groups of tasks, each once.

    Args:
        words: Names of tasks and of groups.

    Raises:
        TaskError: If a word is neither.
    """
    names: dict[str, None] = {}
    for word in words:
        group = GROUPS.get(word)
        names.update(dict.fromkeys(group or [parse_task(word).name]))
    return list(names)


def family_of(task: Task) -> Family:
    """Return the family of a task."""
    return FAMILIES[task.family]


def sample_layout(task: str, seed: int) -> Layout:
    """Sample the scene of a task.

    Args:
        task: Name of the task.
        seed: Any non-negative integer. The same task and seed give the same layout on every
            machine.

    Raises:
        TaskError: If no task has that name.
    """
    found = parse_task(task)
    return family_of(found).sample_layout(found, seed)


def expert(scene: TrueScene, task: str) -> Act:
    """Return the scripted demonstrator of a task.

    Args:
        scene: The true scene, simulated here or taken over with `World.set_state`.
        task: Name of the task.

    Raises:
        TaskError: If no task has that name.
    """
    found = parse_task(task)
    return family_of(found).expert(scene, found)
