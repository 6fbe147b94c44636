"""The data set in `importers/lerobot_0.6.1`: what is in it, and how LeRobot itself wrote it.

It has a camera of images and one of videos, a state of BridgeData's eight dimensions, and
three episodes. To write it again, in an environment with LeRobot: `python
lerobot_reference.py FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "importers" / "lerobot_0.6.1"
STATE_NAMES = ["x", "y", "z", "roll", "pitch", "yaw", "pad", "gripper"]
ACTION_NAMES = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
TASKS = ["put a in b", "open c", "put a in b"]
LENGTHS = [5, 6, 7]  # frames of the episodes
SUCCESS = [True, False, True]
SIZE = (48, 64)


def images(episode: int) -> np.ndarray:
    """Return slopes of colour that move with time, shape (L, 48, 64, 3), uint8.

    A video hardly alters them.
    """
    row, column, time = np.mgrid[: SIZE[0], : SIZE[1], : LENGTHS[episode]]
    return (
        np.stack([3 * column + 8 * time, 4 * row, 60 * episode + 20 * time], axis=-1)
        .transpose(2, 0, 1, 3)
        .astype("u1")
    )


def states(episode: int) -> np.ndarray:
    """Return the states, shape (L, 8)."""
    frame, dimension = np.mgrid[: LENGTHS[episode], :8]
    return (0.1 * dimension + 0.01 * frame + 0.001 * episode).astype(np.float32)


def actions(episode: int) -> np.ndarray:
    """Return the actions, shape (L, 7); the gripper closes at the second frame."""
    frame, dimension = np.mgrid[: LENGTHS[episode], :7]
    steps = (0.002 * dimension + 0.001 * frame - 0.01 * episode).astype(np.float32)
    steps[:, 6] = np.arange(LENGTHS[episode]) < 2
    return steps


def frames(episode: int) -> list[dict[str, Any]]:
    """Return what LeRobot is given, frame by frame."""
    last = LENGTHS[episode] - 1
    columns = zip(images(episode), states(episode), actions(episode), strict=True)
    return [
        {
            "observation.images.image_0": image,
            "observation.images.side": image,
            "observation.state": state,
            "action": action,
            "next.reward": np.array([SUCCESS[episode] and number == last], np.float32),
            "next.done": np.array([number == last]),
            "task": TASKS[episode],
        }
        for number, (image, state, action) in enumerate(columns)
    ]


def write(root: Path) -> None:
    """Write the data set with LeRobot."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    image = {"shape": (*SIZE, 3), "names": ["height", "width", "rgb"]}
    features = {
        "observation.images.image_0": {"dtype": "image", **image},
        "observation.images.side": {"dtype": "video", **image},
        "observation.state": {
            "dtype": "float32",
            "shape": (8,),
            "names": {"motors": STATE_NAMES},
        },
        "action": {"dtype": "float32", "shape": (7,), "names": {"motors": ACTION_NAMES}},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    }
    dataset = LeRobotDataset.create(
        "test/reference", fps=5, features=features, root=root, robot_type="widowx"
    )
    for episode in range(len(TASKS)):
        for frame in frames(episode):
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
