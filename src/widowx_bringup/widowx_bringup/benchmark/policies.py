"""What acts in the benchmark: a bundle, or the scripted demonstrator.

Another kind of policy, such as one behind a network connection, needs a class with the protocol
`BenchmarkPolicy` and a `Contestant` that opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.names import did_you_mean, find_task
from ptr_policy_node.bundle import BundleInfo, read_bundle

from .contract import to_camera
from .demonstrator import SimplerDemonstrator
from .tasks import BenchmarkError, BenchmarkTask
from .world import SimplerWorld


class BenchmarkPolicy(Protocol):
    """Acts in one world."""

    def reset(self, task: BenchmarkTask) -> None:
        """Begin an episode of a task."""

    def act(self, image: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """Return the requested action, (7,), see action_space.ACTION_NAMES.

        Args:
            image: Of the benchmark's camera, (480, 640, 3) uint8 RGB.
            proprio: Measured state, (7,), see action_space.PROPRIO_NAMES.
        """


@dataclass(frozen=True)
class Contestant:
    """A row of the table.

    Attributes:
        name: Its name.
        identity: What it is, such as the full name of its bundle; results are continued only
            with the same one.
        open: Returns what acts in a world.
    """

    name: str
    identity: str
    open: Callable[[SimplerWorld], BenchmarkPolicy]


class BundlePolicy:
    """A bundle in the benchmark.

    Args:
        bundle: Its folder.
        names: What the bundle calls the benchmark's tasks, by the name of the task.
    """

    def __init__(self, bundle: Path, names: Mapping[str, str]) -> None:
        from ptr_policy_node.policy import load_bundle

        self._policy = load_bundle(bundle, rate=CONTROL_RATE)
        self._names = names
        self._task = ""

    def reset(self, task: BenchmarkTask) -> None:
        """Begin an episode of a task."""
        self._policy.reset()
        self._task = self._names[task.name]

    def act(self, image: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """Return the requested action, (7,); see `BenchmarkPolicy`."""
        camera = self._policy.info.camera
        seen = to_camera(image, camera.height, camera.width)
        return self._policy.act(seen, proprio, self._task).action


class ScriptedPolicy:
    """The scripted demonstrator, which sees no image: what the scenes allow.

    Args:
        world: Tells it where the objects are.
    """

    def __init__(self, world: SimplerWorld) -> None:
        self._world = world

    def reset(self, task: BenchmarkTask) -> None:
        """Begin an episode of a task."""
        self._demonstrator = SimplerDemonstrator(self._world)

    def act(self, image: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """Return the next action, (7,)."""
        action = self._demonstrator.act()
        self._demonstrator.executed(action)
        return action


SCRIPTED = Contestant("scripted", "scripted demonstrator", ScriptedPolicy)
"""The demonstrator as a row."""


def bundle_contestant(
    name: str, bundle: Path, tasks: list[BenchmarkTask], chosen: Mapping[str, str]
) -> Contestant:
    """Return a bundle as a row, after checking rate and tasks; it is loaded when it is opened.

    Args:
        name: Name of the row.
        bundle: Its folder.
        tasks: Tasks that it will be given.
        chosen: What it calls some of them, by the name of the task (`--task-name`).

    Raises:
        BenchmarkError: If it has another control rate, or lacks a task.
    """
    read = read_bundle(bundle)
    if read.info.rate != CONTROL_RATE:
        raise BenchmarkError(
            f"{bundle} acts at {read.info.rate:g} Hz; the benchmark, like the arm, at "
            f"{CONTROL_RATE:g} Hz: train it on images and actions of that rate"
        )
    names = {task.name: _name_in(bundle, read.info, task, chosen) for task in tasks}
    loaded: list[BundlePolicy] = []

    def opened(_: SimplerWorld) -> BenchmarkPolicy:
        if not loaded:
            loaded.append(BundlePolicy(bundle, names))
        return loaded[0]

    return Contestant(name, read.sha256, opened)


def _name_in(
    bundle: Path, info: BundleInfo, task: BenchmarkTask, chosen: Mapping[str, str]
) -> str:
    """Return what a bundle calls a task."""
    known = [*info.tasks, *info.aliases]
    wanted = chosen.get(task.name, task.instruction)
    found = find_task(wanted, known)
    if found is None:
        raise BenchmarkError(
            f"{bundle} has no task {wanted!r}; {did_you_mean(wanted, known, quote=True)}. Choose "
            f"one with --task-name {task.name}='…', or other tasks with --tasks"
        )
    return found
