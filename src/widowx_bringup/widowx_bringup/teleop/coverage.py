"""Coverage of a set of demonstrations: what a person still has to record. No ROS, no device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_NAMES, CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from ptr_training.inspection.episode_metrics import IDLE_STEPS
from ptr_training.inspection.motion import IDLE_COMMAND, IDLE_GRIPPER

SAME_START = 0.01
"""Spread below which start positions count as the same [m]."""

SAME_PATH = 0.003
"""Largest distance between the paths of two demonstrations that count as copies [m]."""

SAME_LENGTH = 2
"""Largest difference in length of two demonstrations that count as copies [steps]."""

ENOUGH = 10
"""Demonstrations of a set, as in the paper."""

IMAGE_SIZE = 8
"""Size of the images that are decoded and not used [pixels]; the smallest is the fastest."""


@dataclass(frozen=True)
class Demonstration:
    """Motion of one demonstration.

    Attributes:
        proprio: Proprioception before each step, (T, 7), base frame.
        actions: Requested action of each step, (T, 7).
    """

    proprio: np.ndarray
    actions: np.ndarray

    @property
    def idle_head(self) -> int:
        """Number of steps before the first motion; a policy learns to stand still from many."""
        moving = (np.abs(self.actions[:, :6]) > IDLE_COMMAND * ACTION_HIGH[:6]).any(1)
        moving |= np.abs(self.actions[:, 6] - self.actions[0, 6]) > IDLE_GRIPPER
        return int(moving.argmax()) if moving.any() else len(moving)

    @property
    def gripper_events(self) -> int:
        """Number of commands that open or close the gripper."""
        opening = self.actions[:, ACTION_NAMES.index("gripper")]
        return int((np.abs(np.diff(opening)) > 0.5).sum())


def read_demonstrations(folder: Path, task: str) -> list[Demonstration]:
    """Return the successful demonstrations of a task, oldest first.

    Bags that cannot be read are skipped; `ptr export` reports what is wrong with them.

    Args:
        folder: Folder of the bags; it need not exist.
        task: Name of the task.

    Returns:
        The demonstrations, in the order in which their bags were completed.
    """
    options = ReadOptions(
        image_size=IMAGE_SIZE, command="requested", task=task, check_crc=False
    )
    files = sorted(folder.glob("[!.]*/metadata.yaml"), key=_modification_time)
    demonstrations = []
    for file in files:
        try:
            episodes = read_episodes(file.parent, options).episodes
        except (PtrError, OSError):
            continue
        for episode in episodes:
            if episode.success and episode.task == task:
                proprio = episode.proprio[:-1]  # the last one follows the last step
                demonstrations.append(Demonstration(proprio, episode.requested))

    return demonstrations


def _modification_time(file: Path) -> float:
    return file.stat().st_mtime


def missing_coverage(demonstrations: Sequence[Demonstration]) -> list[str]:
    """Return what a person has to know about a set of demonstrations.

    Args:
        demonstrations: The set, in the order of recording.

    Returns:
        A sentence for each weakness; empty if there is none.
    """
    sentences = []
    if len(demonstrations) < ENOUGH:
        sentences.append(f"{len(demonstrations)} of {ENOUGH} demonstrations are recorded")

    for number in range(1, len(demonstrations) + 1):
        sentences += _weaknesses(demonstrations[:number])

    starts = np.array([demonstration.proprio[0, :3] for demonstration in demonstrations])
    if len(starts) > 2 and np.linalg.norm(starts.std(0)) < SAME_START:
        sentences.append(
            "all demonstrations start at the same position: move the arm before some of them"
        )

    return sentences


def _weaknesses(demonstrations: Sequence[Demonstration]) -> list[str]:
    """Return the weaknesses of the last demonstration, beside the earlier ones."""
    *earlier, last = demonstrations
    name = f"demonstration {len(demonstrations)}"
    sentences = []
    if last.idle_head >= IDLE_STEPS:
        seconds = last.idle_head / CONTROL_RATE
        sentences.append(f"{name} begins with {seconds:.1f} s without motion")

    if not last.gripper_events:
        sentences.append(f"in {name} the gripper neither opens nor closes")

    for number, other in enumerate(earlier, start=1):
        if _same_path(last, other):
            sentences.append(f"{name} repeats demonstration {number}")

    return sentences


def _same_path(a: Demonstration, b: Demonstration) -> bool:
    """Return whether two demonstrations have the same length and path."""
    if abs(len(a.proprio) - len(b.proprio)) > SAME_LENGTH:
        return False
    size = min(len(a.proprio), len(b.proprio))
    distances = np.abs(a.proprio[:size, :3] - b.proprio[:size, :3])
    return bool(distances.max() < SAME_PATH)
