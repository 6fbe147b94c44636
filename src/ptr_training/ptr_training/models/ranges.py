"""Ranges of hyper-parameters: a value outside of its range is refused before training starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ptr_training.errors import TrainingError


@dataclass(frozen=True)
class Range:
    """An interval of finite numbers.

    Args:
        low: Lower end.
        high: Upper end.
        low_included: Whether `low` itself is allowed.
        high_included: Whether `high` itself is allowed.
    """

    low: float = -math.inf
    high: float = math.inf
    low_included: bool = True
    high_included: bool = True

    def contains(self, value: float) -> bool:
        """Return whether the value is allowed; NaN and infinities never are."""
        if not math.isfinite(value):
            return False
        above = value > self.low or (self.low_included and value == self.low)
        below = value < self.high or (self.high_included and value == self.high)
        return above and below

    def __str__(self) -> str:
        """Return the range as the end of the sentence "it must be …"."""
        if math.isfinite(self.high):
            left = "[" if self.low_included else "("
            right = "]" if self.high_included else ")"
            return f"in {left}{self.low:g}, {self.high:g}{right}"
        if math.isfinite(self.low):
            return f"at least {self.low:g}" if self.low_included else f"above {self.low:g}"
        return "a finite number"


FINITE = Range()
POSITIVE = Range(0.0, low_included=False)
NOT_NEGATIVE = Range(0.0)
AT_LEAST_ONE = Range(1.0)
BELOW_ONE = Range(0.0, 1.0, high_included=False)
"""[0, 1): a discount, a probability of dropout."""
UP_TO_ONE = Range(0.0, 1.0, low_included=False)
"""(0, 1]: a share that is taken at every step."""
SHARE = Range(0.0, 1.0)
"""[0, 1]: a share."""
INSIDE_ONE = Range(0.0, 1.0, low_included=False, high_included=False)
"""(0, 1): a part that leaves something on both sides."""


def check_ranges(section: str, config: object, ranges: Mapping[str, Range]) -> None:
    """Check the numbers of one section of a configuration.

    Args:
        section: Its key, for example `agent`.
        config: The dataclass that holds the values.
        ranges: Allowed range of each field to check.

    Raises:
        TrainingError: For the first value outside of its range; the message names the key,
            the value and the range.
    """
    for name, allowed in ranges.items():
        value = getattr(config, name)
        if not allowed.contains(value):
            raise TrainingError(f"{section}.{name} is {value}; it must be {allowed}")
