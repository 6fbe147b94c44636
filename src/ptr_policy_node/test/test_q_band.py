"""The band of Q: what it says at a step, and when a policy has left it."""

from __future__ import annotations

import numpy as np
import pytest

from ptr_common.documents import Fields
from ptr_policy_node.bundle import BundleError
from ptr_policy_node.q_band import QBand, QWatch

BAND = QBand(2, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


def read(values: object) -> QBand | None:
    return QBand.from_json(Fields(values, "bundle.json", BundleError))


def test_after_the_longest_demonstration_its_last_values_hold_on() -> None:
    assert BAND.limits(1) == (0.2, 0.6)
    assert BAND.limits(50) == (0.3, 0.7)


def test_a_band_comes_back_from_its_table_and_an_empty_table_is_none() -> None:
    assert read(BAND.to_json()) == BAND
    assert read({}) is None
    with pytest.raises(
        BundleError, match=r"low is .*; expected a list of 3 finite numbers"
    ):
        read({**BAND.to_json(), "low": [0.1, float("nan"), 0.3]})


def test_a_policy_must_stop_after_so_many_steps_below_in_a_row() -> None:
    watch = QWatch(BAND, 2)
    below, inside = np.array([0.9, 0.0]), np.array([0.4, 0.5])
    assert watch.problem(0, below) == ""
    assert watch.problem(1, inside) == ""
    assert watch.problem(2, below) == ""
    assert watch.problem(3, np.full(2, np.nan)) == ""  # a step whose critic was busy
    assert "Q is 0 at step 4, below the demonstrations (0.3 to 0.7) for 2 steps" in (
        watch.problem(4, below)
    )
    watch.start()
    assert watch.problem(0, below) == ""


@pytest.mark.parametrize("watch", [QWatch(None, 2), QWatch(BAND, 0)])
def test_without_band_or_patience_it_goes_on(watch: QWatch) -> None:
    assert [watch.problem(step, np.zeros(2)) for step in range(9)] == [""] * 9
