"""Ranges of hyper-parameters, at both ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from ptr_training.errors import TrainingError
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FINITE,
    INSIDE_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    UP_TO_ONE,
    Range,
    check_ranges,
)

TINY = 1e-12


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (FINITE, [-1e9, 0, 1e9], [], "a finite number"),
        (POSITIVE, [TINY, 5], [0.0, -TINY], "above 0"),
        (NOT_NEGATIVE, [0, TINY], [-TINY], "at least 0"),
        (AT_LEAST_ONE, [1, 2], [0, 1 - TINY], "at least 1"),
        (BELOW_ONE, [0.0, 1 - TINY], [-TINY, 1.0], "in [0, 1)"),
        (UP_TO_ONE, [TINY, 1.0], [0.0, 1 + TINY], "in (0, 1]"),
        (INSIDE_ONE, [TINY, 1 - TINY], [0.0, 1.0], "in (0, 1)"),
        (Range(-2.0, 3.0), [-2.0, 3.0], [-2.1, 3.1], "in [-2, 3]"),
    ],
)
def test_a_range_contains_what_its_text_says(
    allowed: Range, inside: list[float], outside: list[float], text: str
) -> None:
    assert str(allowed) == text
    for value in inside:
        assert allowed.contains(value), value
    for value in [*outside, math.nan, math.inf, -math.inf]:
        assert not allowed.contains(value), value


@dataclass
class Section:
    """A section of a configuration."""

    rate: float
    count: int


def test_the_message_names_key_value_and_range() -> None:
    ranges = {"rate": POSITIVE, "count": AT_LEAST_ONE}
    check_ranges("agent", Section(0.1, 1), ranges)
    with pytest.raises(TrainingError, match=r"^agent.rate is -1; it must be above 0$"):
        check_ranges("agent", Section(-1, 1), ranges)
    with pytest.raises(TrainingError, match=r"^stage.count is 0; it must be at least 1$"):
        check_ranges("stage", Section(0.1, 0), ranges)
