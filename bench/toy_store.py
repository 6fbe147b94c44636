"""Write a store that can be learnt from, without a simulator: a dot that moves to the middle.

.venv/bin/python bench/toy_store.py FOLDER [--episodes 200] [--size 128]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter

TASK = "put the dot in the middle"
LENGTH = 16


def make_episode(number: int, size: int) -> Episode:
    """Return an episode: the action shrinks the dot's distance, the gripper closes at the end."""
    rng = np.random.default_rng(number)
    place, dot = rng.uniform(-1.0, 1.0, 2), size // 8
    frames = np.zeros((LENGTH + 1, size, size, 3), np.uint8)
    frames[:] = rng.integers(0, 120, 3)  # a background for every episode
    actions = np.zeros((LENGTH, 7), np.float32)
    for step in range(LENGTH + 1):
        row, column = ((place + 1.0) / 2.0 * (size - dot)).astype(int)
        frames[step, row : row + dot, column : column + dot] = 255
        if step < LENGTH:
            actions[step, :2] = -0.04 * place
            actions[step, 6] = float(step < LENGTH - 3)
            place = 0.8 * place
    proprio = 0.1 * rng.normal(size=(LENGTH + 1, 7)).astype(np.float32)
    stamps = np.arange(LENGTH + 1) * 200_000_000
    return Episode(
        str(number), TASK, frames, stamps, proprio, actions, actions, "success", seed=number
    )


def main() -> None:
    """Write the store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--size", type=int, default=128, help="side of the images [pixels]")
    arguments = parser.parse_args()
    size = arguments.size
    card = DatasetInfo("dots", "camera", size, size, size, size, command="requested")
    with EpisodeWriter(arguments.folder, card) as writer:
        for number in range(arguments.episodes):
            writer.add(make_episode(number, size))


if __name__ == "__main__":
    main()
