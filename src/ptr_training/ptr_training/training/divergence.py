"""Divergence of a critic: its Q is far outside of the returns that can occur, and goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ptr_training.agents.agent import AgentConfig
from ptr_training.agents.critic_config import CriticConfig

from .checkpoint import list_checkpoints
from .metrics_log import MetricsLog

Q = "q_data"
"""Name of the mean Q of demonstrated actions among the metrics."""

MARGIN = 1.0
"""How far outside counts as far, in ranges of the possible returns: an estimate errs, and a
conservative term lifts Q of the data by some constant."""

LOGS = 5
"""Logs in a row of a Q that is far outside."""


def distance_outside(q: float, returns: tuple[float, float]) -> float:
    """Return how far a value is outside of the returns that can occur, in ranges of them.

    Args:
        q: The value.
        returns: Lowest and highest return.

    Returns:
        0 inside.
    """
    low, high = returns
    return max(low - q, q - high, 0.0) / max(high - low, 1e-9)


def is_diverging(q: Sequence[float], returns: tuple[float, float]) -> bool:
    """Return whether Q has been far outside for `LOGS` logs and is now the farthest of them.

    A critic that has settled outside, or is on its way back, does not diverge.

    Args:
        q: Mean Q of demonstrated actions at each log so far, the newest last.
        returns: Lowest and highest return that can occur.
    """
    distances = [distance_outside(value, returns) for value in q[-LOGS:]]
    if len(distances) < LOGS or min(distances) <= MARGIN:
        return False
    return distances[-1] > max(distances[:-1])


def good_until(
    history: Sequence[tuple[int, float]],
    logged: Sequence[int],
    returns: tuple[float, float],
) -> int:
    """Return the newest logged step before Q was far outside for the last time.

    Args:
        history: Steps and mean Q of demonstrated actions, the newest last; none of the steps
            before the critic learns.
        logged: Every logged step, ascending.
        returns: Lowest and highest return that can occur.

    Returns:
        0 if Q has been far outside from the first log on.
    """
    bad = float("inf")
    for step, q in reversed(history):
        if distance_outside(q, returns) <= MARGIN:
            break
        bad = step
    return max([step for step in logged if step < bad], default=0)


class DivergenceGuard:
    """Says whether a run diverges, by its log, and what to do about it.

    Args:
        config: Of the agent; one without possible returns never diverges.
        log: Of the run.
    """

    def __init__(self, config: AgentConfig, log: MetricsLog) -> None:
        self.config = config
        self.log = log

    @property
    def has_diverged(self) -> bool:
        """Whether Q is far outside and keeps growing."""
        if not isinstance(self.config, CriticConfig):
            return False
        q = [value for _, value in self.log.history(Q)]
        return is_diverging(q, self.config.possible_returns)

    @property
    def is_far_outside(self) -> bool:
        """Whether Q is far outside at the newest log."""
        history = self.log.history(Q)
        if not isinstance(self.config, CriticConfig) or not history:
            return False
        return distance_outside(history[-1][1], self.config.possible_returns) > MARGIN

    def newest_good(self, checkpoints: Iterable[int]) -> int | None:
        """Return which of some checkpoints, by their steps, is the newest one from before."""
        assert isinstance(self.config, CriticConfig)
        logged = [step for step, _ in self.log.history("loss")]
        limit = good_until(self.log.history(Q), logged, self.config.possible_returns)
        return max([step for step in checkpoints if step <= limit], default=None)

    def describe(self, run: Path) -> str:
        """Return what has happened and what to change, in sentences.

        Args:
            run: The run folder.
        """
        assert isinstance(self.config, CriticConfig)
        step, q = self.log.history(Q)[-1]
        low, high = self.config.possible_returns
        checkpoints = list_checkpoints(run)
        good = self.newest_good(checkpoints)
        kept = "No checkpoint from before is left"
        if good is not None:
            kept = f"The newest checkpoint from before is {checkpoints[good]}"
        return (
            f"training has diverged at step {step}: {Q}, the mean Q of demonstrated actions, is "
            f"{q:.4g}, where returns that can occur are {low:.4g} to {high:.4g}; it has been "
            f"outside by more than their range for {LOGS} logs and still grows. {kept}. "
            f"Change in a new run: {self.config.advice(above=q > high)}; "
            "on_divergence=warn goes on regardless"
        )
