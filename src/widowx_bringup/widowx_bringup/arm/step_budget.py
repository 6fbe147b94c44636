"""Keeps commands that come faster than the control rate to the same speed of motion."""

from __future__ import annotations

import numpy as np

from ptr_common.action_space import ACTION_HIGH, CONTROL_RATE

from .limits import UNCHANGED
from .refusal import Kind, LimitResult

CAPACITY = 1.1
"""Longest steps that may be saved up.

The tenth above one lets a step that comes 0.02 s early pass whole.
"""

_LONGEST = ACTION_HIGH[:6]  # of a step, symmetric about zero: [m], [rad]


class StepBudget:
    """The steps that time has earned: one longest step in each control period.

    At the control rate every step within the action bounds passes. Faster commands are
    shortened, so that the commanded target moves no faster, whatever their rate.
    """

    def __init__(self) -> None:
        self._steps = CAPACITY
        self._stamp_ns: int | None = None  # of the last `limit`

    def limit(self, step: np.ndarray, stamp_ns: int) -> LimitResult:
        """Return a step as far as the budget reaches; its gripper is not changed.

        Args:
            step: Step within the action bounds, (7,): [m], [rad], gripper opening.
            stamp_ns: The time now, on the clock of the arm's readings [ns].
        """
        if self._stamp_ns is not None:
            earned = max(stamp_ns - self._stamp_ns, 0) * 1e-9 * CONTROL_RATE
            self._steps = min(CAPACITY, self._steps + earned)
        self._stamp_ns = stamp_ns
        size = _size(step)
        if size <= self._steps + UNCHANGED:
            return LimitResult(step)
        shorter = step.copy()
        shorter[:6] *= self._steps / size
        return LimitResult(shorter, (Kind.COMMAND_RATE,))

    def spend(self, step: np.ndarray) -> None:
        """Pay for a step that was sent, (7,)."""
        self._steps = max(self._steps - _size(step), 0.0)


def _size(step: np.ndarray) -> float:
    """Return the part of the longest step that a step, (7,), is."""
    return float(np.max(np.abs(step[:6]) / _LONGEST))
