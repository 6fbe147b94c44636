"""The ghost of a scene."""

from __future__ import annotations

import numpy as np

from widowx_bringup.evaluation.session.ghost import ghost


def test_a_ghost_is_both_images_at_the_size_of_the_live_one() -> None:
    reference = np.full((40, 60, 3), 200, np.uint8)
    live = np.zeros((20, 30, 3), np.uint8)
    live[:, 15:] = 100
    seen = ghost(reference, live)
    assert seen.shape == live.shape
    assert (seen[:, :15] == 100).all()
    assert (seen[:, 15:] == 150).all()


def test_a_scene_that_stands_as_in_the_photo_looks_like_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_allclose(ghost(image, image), image, atol=1)
