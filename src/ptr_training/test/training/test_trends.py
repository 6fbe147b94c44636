"""The trend of an agent along an episode: rank correlation, and actions that rank lower."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptr_training.training.trends import _above_others, spearman

NAN = float("nan")


def test_correlation_is_one_for_any_rising_sequence() -> None:
    assert spearman(np.array([0.0, 0.1, 5.0, 900.0])) == pytest.approx(1.0)
    assert spearman(-np.arange(5.0)) == pytest.approx(-1.0)


@pytest.mark.parametrize("values", [[1.0] * 5, [3.0, 3.0], [7.0]])
def test_correlation_of_a_constant_sequence_is_zero(values: list[float]) -> None:
    assert spearman(np.array(values)) == 0.0


def test_correlation_with_a_missing_value_is_nan() -> None:
    assert math.isnan(spearman(np.array([1.0, NAN, 3.0])))


def test_correlation_is_that_of_the_textbook() -> None:
    # no ties: 1 - 6 sum d^2 / (n (n^2 - 1)), ranks 2 1 4 3 against 1 2 3 4
    expected = 1 - 6 * 4 / (4 * 15)
    assert spearman(np.array([20.0, 10.0, 40.0, 30.0])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ([1.0, 1.0, 2.0], [1.5, 1.5, 3.0]),
        ([5.0, 2.0, 2.0, 2.0, 9.0], [4.0, 2.0, 2.0, 2.0, 5.0]),
        ([3.0, 1.0, 3.0, 1.0, 0.0], [4.5, 2.5, 4.5, 2.5, 1.0]),
    ],
)
def test_equal_values_share_their_mean_rank(
    values: list[float], ranks: list[float]
) -> None:
    expected = np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]
    assert spearman(np.array(values)) == pytest.approx(expected)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30))
def test_correlation_keeps_to_its_bounds_and_turns_with_time(values: list[int]) -> None:
    sequence = np.array(values, float)
    forwards, backwards = spearman(sequence), spearman(sequence[::-1])
    assert -1.0 - 1e-12 <= forwards <= 1.0 + 1e-12
    assert backwards == pytest.approx(-forwards, abs=1e-12)


def test_the_demonstrated_action_is_compared_with_those_of_other_steps() -> None:
    """Q is the first number of an action: the largest one is above all others."""

    class Module:
        def q_values(
            self, images: Any, proprio: Any, task: Any, actions: torch.Tensor
        ) -> torch.Tensor:
            return actions.permute(2, 0, 1)

    actions = np.zeros((5, 7), np.float32)
    actions[:, 0] = actions[:, 1] = [3.0, 0.0, 4.0, 1.0, 2.0]
    inputs = (torch.zeros(5), torch.zeros(5), torch.zeros(5))
    share = _above_others(Module(), inputs, actions, actions[:, 0])  # type: ignore[arg-type]
    np.testing.assert_allclose(
        share, [0.75, np.nan, 1.0, 0.25, 0.5]
    )  # the second one rests
    missing = _above_others(Module(), inputs, actions, np.full(5, np.nan))  # type: ignore[arg-type]
    assert np.isnan(missing).all()
