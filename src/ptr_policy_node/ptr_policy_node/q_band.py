"""The band of Q in good demonstrations, and whether a policy has left it. No ROS, no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptr_common.documents import Fields

MAX_STEPS = 10_000
"""Most steps of a band."""


@dataclass(frozen=True)
class QBand:
    """Lowest and highest min Q of the policy's action in held-out demonstrations, by step.

    Attributes:
        episodes: Number of demonstrations.
        low: Lowest value at each control step, (T,); T is the longest demonstration.
        high: Highest value, (T,).
    """

    episodes: int
    low: tuple[float, ...]
    high: tuple[float, ...]

    def limits(self, step: int) -> tuple[float, float]:
        """Return lowest and highest value at a step, counted from 0; the last ones hold on."""
        index = min(step, len(self.low) - 1)
        return self.low[index], self.high[index]

    def to_json(self) -> dict[str, Any]:
        """Return the table `q_band` of `bundle.json`."""
        steps = {"episodes": self.episodes, "steps": len(self.low)}
        return {**steps, "low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_json(cls, fields: Fields) -> QBand | None:
        """Return what `to_json` wrote; None of an empty table.

        Raises:
            PtrError: The document's error, if a value is missing or not of its kind.
        """
        if not fields.values:
            return None
        count = fields.integer("steps", 1, MAX_STEPS)
        episodes = fields.integer("episodes", 1, MAX_STEPS)
        return cls(episodes, fields.numbers("low", count), fields.numbers("high", count))


class QWatch:
    """Notices that min Q lies below the band of the demonstrations for many steps in a row.

    Args:
        band: Of the bundle; None: it has none.
        patience: Steps below the band after which the policy must stop; 0: it never must.
    """

    def __init__(self, band: QBand | None, patience: int) -> None:
        self._band, self._patience = band, patience
        self._below = 0

    def start(self) -> None:
        """Begin an episode."""
        self._below = 0

    def problem(self, step: int, q: np.ndarray) -> str:
        """Return why the policy must stop; empty if it need not.

        Args:
            step: Of the episode, counted from 0.
            q: Values of both critic heads, (2,); NaN counts neither way.
        """
        if self._band is None or not self._patience or np.isnan(q).any():
            return ""
        low, high = self._band.limits(step)
        self._below = self._below + 1 if float(q.min()) < low else 0
        if self._below < self._patience:
            return ""
        return (
            f"Q is {q.min():.3g} at step {step}, below the demonstrations ({low:.3g} to "
            f"{high:.3g}) for {self._below} steps; {self._patience} are allowed (q_hold_steps)"
        )
