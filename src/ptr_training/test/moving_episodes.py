"""Episodes of an arm that follows its commands, in which faults can be planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.store import EpisodeStore

CARD = DatasetInfo(
    "toy",
    camera="front",
    camera_width=64,
    camera_height=48,
    image_height=24,
    image_width=32,
)
LENGTH = 24


def make_episode(
    name: str, seed: int, length: int = LENGTH, task: str = "put a in b"
) -> Episode:
    """An arm that follows smooth commands without lag, and images of its own noise."""
    rng = np.random.default_rng(seed)
    waves = np.sin(
        np.arange(length)[:, None] * rng.uniform(0.3, 0.6, 6) + rng.uniform(0, 6, 6)
    )
    commands = np.hstack(
        [waves * [0.02, 0.02, 0.02, 0.05, 0.05, 0.05], np.ones((length, 1))]
    )
    commands[length // 2 :, 6] = 0
    pose = np.zeros((length + 1, 7))
    pose[1:, :6] = np.cumsum(commands[:, :6], 0)
    pose[:, 6] = np.append(1.0, commands[:, 6])
    scene = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (32, 24))
    frames = np.stack([np.roll(scene, step, axis=1) for step in range(length + 1)])
    stamps = np.arange(length + 1) * 200_000_000
    return Episode(
        name, task, frames, stamps, pose, commands, commands, "success", "me", f"bag-{name}"
    )


def write(path: Path, *episodes: Episode) -> EpisodeStore:
    with EpisodeWriter(path, CARD) as writer:
        for episode in episodes:
            writer.add(episode)
    return EpisodeStore.open(path, reviewed=False)


def changed(episode: Episode, **arrays: Callable[[np.ndarray], None]) -> Episode:
    """Return an episode whose arrays were changed in place by the functions given."""
    copies = {name: np.array(getattr(episode, name)) for name in arrays}
    for name, change in arrays.items():
        change(copies[name])
    return replace(episode, **copies)  # type: ignore[arg-type]


def set_rows(rows: object, columns: object, value: float) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array[rows, columns] = value

    return change
