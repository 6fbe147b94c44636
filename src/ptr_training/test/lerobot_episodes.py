"""A card and episodes for data sets of LeRobot."""

from __future__ import annotations

import numpy as np

from ptr_training.data.episode import DatasetInfo, Episode

CAMERA = "observation.images.front"
CARD = DatasetInfo(
    "toy", "front", 640, 480, image_height=32, image_width=48, licence="CC BY 4.0", last_n=2
)


def make_episode(number: int, length: int, outcome: str = "success") -> Episode:
    """Return an episode of smooth images, so that a video of them is close to them."""
    rng = np.random.default_rng(number)
    row, column, time = np.mgrid[:32, :48, : length + 1]
    images = np.stack(
        [5 * column + time, 7 * row, 30 * number + 10 * time], axis=-1
    ).transpose(2, 0, 1, 3)
    return Episode(
        id=f"e/{number}",
        task=["put ä in b", "open c"][number % 2],
        frames=images.astype(np.uint8),
        stamps_ns=1_700_000_000_123_456_789 + np.arange(length + 1) * 200_000_001,
        proprio=rng.normal(size=(length + 1, 7)),
        requested=rng.normal(size=(length, 7)),
        executed=rng.normal(size=(length, 7)),
        outcome=outcome,
        operator=["", "a person"][number % 2],
        source=f"bag{number}",
        seed=[None, number][number % 2],
    )
