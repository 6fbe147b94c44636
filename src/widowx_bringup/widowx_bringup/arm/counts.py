"""Counts of what the limits and the guard did to commands: the only place that counts them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .refusal import Kind, StepResult


@dataclass
class CommandCounts:
    """Numbers of clipped and rejected commands and of holds, in all and by kind.

    One thread writes; other threads may read.

    Attributes:
        clipped: Commands that a limit changed.
        held: Times that the arm began to hold.
        rejected: Commands that were not executed.
        kinds: The same by kind; keys such as "rejected: late" or "clipped: workspace box".
    """

    clipped: int = 0
    held: int = 0
    rejected: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def count_refusal(self, kind: Kind) -> None:
        """Count a command that the guard refused.

        Args:
            kind: Why it was refused.
        """
        self.rejected += 1
        self.kinds[f"rejected: {kind.value}"] += 1

    def count_step(self, result: StepResult) -> None:
        """Count what the limits did to a command that the guard let pass.

        All refusals of the controller share the key "rejected: gate"; their text is in the
        log.
        """
        if result.rejected:
            self.rejected += 1
            self.kinds["rejected: gate"] += 1
            return
        if result.clipped:
            self.clipped += 1
        for kind in result.clipped:
            self.kinds[f"clipped: {kind.value}"] += 1

    def count_hold(self, kind: Kind) -> None:
        """Count that the arm began to hold.

        Args:
            kind: Why it holds.
        """
        self.held += 1
        self.kinds[f"held: {kind.value}"] += 1

    def values(self) -> dict[str, int]:
        """Return all counts by their keys on /diagnostics."""
        totals = {"clipped": self.clipped, "held": self.held, "rejected": self.rejected}
        return {**totals, **self.kinds}
