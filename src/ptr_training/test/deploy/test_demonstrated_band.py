"""The band of Q that `ptr bundle` writes."""

from __future__ import annotations

import numpy as np

from ptr_training.deploy.demonstrated_band import band_of


def test_a_band_has_the_extremes_of_each_step_and_a_short_demonstration_goes_on() -> None:
    band = band_of([np.array([0.1, 0.5, 0.2]), np.array([0.3, 0.4])])
    assert band.episodes == 2
    assert band.low == (0.1, 0.4, 0.2)
    assert band.high == (0.3, 0.5, 0.4)
