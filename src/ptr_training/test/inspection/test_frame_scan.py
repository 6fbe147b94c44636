"""The pass over the pictures of a store, and the search for those that are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from moving_episodes import make_episode, write

from ptr_training.data.store import EpisodeStore
from ptr_training.inspection.frame_scan import FrameScan, another_owner, nearest


def test_altered_pixels_are_noticed(tmp_path: Path) -> None:
    store = write(tmp_path / "s", make_episode("e", 0))
    with (store.path / "frames.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(bytes([int(store.frames[-1, -1, -1, -1]) ^ 1]))
    assert not FrameScan.read(EpisodeStore.open(store.path, reviewed=False)).intact


def test_another_owner_is_the_first_that_has_the_same() -> None:
    contents, owners = np.array([7, 8, 7, 9, 7, 8]), np.array([0, 0, 1, 1, 2, 0])
    assert another_owner(contents, owners).tolist() == [2, 0, 0, 1, 0, 0]


def test_nearest_is_found_across_blocks() -> None:
    points = np.random.default_rng(0).normal(100, 30, (1500, 5)).astype(np.float32)
    distance, partner = nearest(points)
    differences = np.sqrt(((points[:, None] - points[None]) ** 2).mean(-1))
    np.fill_diagonal(differences, np.inf)
    np.testing.assert_array_equal(partner, differences.argmin(1))
    np.testing.assert_allclose(distance, differences.min(1), rtol=1e-4)
