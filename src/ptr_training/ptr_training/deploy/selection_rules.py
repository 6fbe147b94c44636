"""The rules that choose a checkpoint from its values on held-out demonstrations.

Three rules are computed side by side; the agent's own one decides unless another is named.

q_trend: PTR (paper §4.2 and Appendix F): a valid Q function rises along a demonstration, so
    the checkpoint is taken whose Q over time comes closest to rising. The authors judged
    plots by eye and left a metric to others; ours is the mean over held-out demonstrations
    of Spearman's rank correlation between time t and min_j Q_j(s_t, a_t): 1 rises
    throughout, 0 no trend. It ignores the scale of Q, as the paper's relative criterion
    does. Checkpoints are compared on the same demonstrations: one whose mean difference
    from the best is within one standard error of that difference ties with it, and of those
    that tie the earliest is taken.
    A correlation alone can be had by a critic that knows nothing, so these are no
    candidates: checkpoints with less than half the steps of the last one, which have seen
    little of the demonstrations, or with less than half the updates of its critic, which has
    only just begun to learn; those whose Q has left the returns that can occur, since one that
    diverges can rise most regularly of all; those that do not rank the demonstrated action
    above those of other steps; and those whose Q hardly rises at all. Where no critic is
    left the error decides.
    The plot has one panel per checkpoint, as the paper's figure 16, so that an eye can
    overrule.
error: the smallest mean squared error of the policy's mode, the rule of every agent without
    a critic (paper, Appendix D).
td_error: the smallest mean squared TD error; a conservative term and shifting targets make
    it a weak guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptr_training.training.trends import Trend, share_above, share_inside, spearman

RULES = {
    "q_trend": "earliest of those that tie with the largest mean Spearman correlation of time "
    "and min Q",
    "error": "smallest held-out squared error",
    "td_error": "smallest held-out squared TD error",
}

LEAST_LEARNT = 0.5
"""Least share of the last checkpoint's steps, and of its critic's updates, for a candidate."""

LEAST_INSIDE = 0.95
"""Least share of the steps at which a candidate's Q is a return that can occur."""

LEAST_ABOVE = 0.5
"""Least share of the comparisons in which a candidate prefers the demonstrated action to that of
another step: chance. Steps at which the arm was to rest are left out, since a critic that knows
better prefers to go on."""

LEAST_RISE = 0.05
"""Least rise of a candidate's Q along a demonstration, as a share of the returns' range."""


@dataclass(frozen=True)
class Score:
    """One checkpoint on all held-out demonstrations."""

    step: int
    spearman: float  # mean rank correlation of time and Q; NaN without critic
    standard_error: float  # of that mean over the demonstrations; NaN for a single one
    rising: float  # fraction of neighbouring steps at which Q rises; NaN without critic
    error: float  # mean squared error of the mode, scale -1..1, learnt dimensions
    td_error: float = float("nan")  # mean squared TD error; NaN without critic
    critic_steps: int = 0  # updates that the critic has had, pre-training included
    inside: float = 1.0  # share of the steps at which Q is a return that can occur
    above: float = 1.0  # share of other steps' actions that rank below the demonstrated one
    rise: float = (
        1.0  # of min Q, last third less first third, as a share of the returns' range
    )
    correlations: tuple[float, ...] = ()  # rank correlation of each demonstration

    @property
    def problem(self) -> str:
        """Why the critic is no candidate, as a clause; empty if it is one."""
        if self.inside < LEAST_INSIDE:
            return (
                "Q leaves the returns that can occur, at this checkpoint in "
                f"{1 - self.inside:.0%} of the steps"
            )
        if self.above < LEAST_ABOVE:
            return (
                "Q does not rank the demonstrated action above those of other steps, at this "
                f"checkpoint in {self.above:.0%} of the comparisons"
            )
        if self.rise < LEAST_RISE:
            return (
                "Q is flat along a demonstration, at this checkpoint it rises by "
                f"{self.rise:.0%} of the range of returns"
            )
        return ""


@dataclass(frozen=True)
class Selection:
    """The scores of all checkpoints and the choice of each rule."""

    scores: list[Score]
    choices: dict[str, Score]  # of every rule that applies
    rule: str  # the rule that decides

    @property
    def best(self) -> Score:
        """The checkpoint to deploy."""
        return self.choices[self.rule]

    @property
    def evidence(self) -> str:
        """A sentence if the trend of Q is no evidence for the choice, else empty."""
        best = self.best
        if self.rule == "error":
            return ""
        if best.problem:
            return (
                f"no evidence: {best.problem}; the smallest held-out error of those with at least "
                "half of the steps is taken"
            )
        if np.isnan(best.standard_error):
            return "no evidence: of one held-out demonstration the error is not known"
        if best.spearman < 2.0 * best.standard_error:
            return (
                f"no evidence: the trend of Q, {best.spearman:.2f} ± {best.standard_error:.2f}, "
                "is not two standard errors above zero"
            )
        return ""

    @property
    def reason(self) -> str:
        """What decided, as a phrase."""
        by_error = self.rule != "error" and self.best.problem
        return RULES["error" if by_error else self.rule]

    @property
    def note(self) -> str:
        """A sentence if the rules disagree, else empty."""
        others = []
        for rule, choice in self.choices.items():
            if rule != self.rule:
                others.append(f"{rule}: step {choice.step}")
        if all(choice.step == self.best.step for choice in self.choices.values()):
            return ""
        return (
            f"the rules disagree: {self.rule} takes step {self.best.step} "
            f"({', '.join(others)}); look at q_trend.png"
        )


def score(step: int, trends: Sequence[Trend], critic_steps: int = 0) -> Score:
    """Return the score of a checkpoint.

    Args:
        step: Of the checkpoint.
        trends: One for each held-out demonstration.
        critic_steps: Updates that its critic has had.
    """
    lower_q = [trend.q.min(axis=1) for trend in trends]
    correlations = np.array([spearman(values) for values in lower_q])
    errors = np.concatenate([trend.error for trend in trends])
    td_errors = np.concatenate([trend.td_error for trend in trends])
    return Score(
        step=step,
        spearman=float(correlations.mean()),
        standard_error=_standard_error(correlations),
        rising=_rising_fraction(lower_q),
        error=float(errors.mean()),
        td_error=float(td_errors.mean()),
        critic_steps=critic_steps,
        inside=share_inside(trends),
        above=share_above(trends),
        rise=float(np.mean([_rise(trend) for trend in trends])),
        correlations=tuple(correlations.tolist()),
    )


def _standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean of values (N,).

    It is NaN for a single value, and if one value is NaN.
    """
    if len(values) == 1:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _rise(trend: Trend) -> float:
    """Return min Q of the last third less that of the first, as a share of the returns' range.

    It is 1 without critic, and where the returns are not known.
    """
    q = trend.q.min(axis=1)
    span = trend.returns[1] - trend.returns[0]
    if np.isnan(q).any() or not np.isfinite(span):
        return 1.0
    third = max(1, len(q) // 3)
    return float((q[-third:].mean() - q[:third].mean()) / span)


def _rising_fraction(sequences: Sequence[np.ndarray]) -> float:
    """Return the fraction of steps at which a sequence rises.

    Args:
        sequences: Values over time, each (T,).

    Returns:
        The fraction over the steps of all sequences; NaN if one holds NaN.
    """
    steps = np.concatenate([np.diff(values) for values in sequences])
    if np.isnan(steps).any():
        return float("nan")
    return float(np.mean(steps > 0))


def applies(rule: str, scores: Sequence[Score]) -> bool:
    """Return whether a rule can choose among these scores; two rules need a critic."""
    if rule == "q_trend":
        return not np.isnan(scores[0].spearman)
    if rule == "td_error":
        return not np.isnan(scores[0].td_error)
    return True


def choose(scores: Sequence[Score], rule: str) -> Score:
    """Return the score of the checkpoint that a rule deploys.

    Args:
        scores: Of all checkpoints of a run, by step. Step 0 has not learnt from the
            demonstrations yet: it is chosen only if there is no other.
        rule: One of `RULES` that applies to them.
    """
    candidates = [score for score in scores if score.step > 0] or list(scores)
    if rule == "error":
        return min(candidates, key=lambda score: score.error)
    learnt = [score for score in candidates if _has_learnt(score, candidates[-1])]
    candidates = [score for score in learnt if not score.problem]
    if not candidates:
        return min(learnt, key=lambda score: score.error)
    if rule == "td_error":
        return min(candidates, key=lambda score: score.td_error)
    best = max(candidates, key=lambda score: score.spearman)
    return next(score for score in candidates if _ties(score, best))


def _has_learnt(score: Score, last: Score) -> bool:
    """Return whether a checkpoint has learnt long enough, beside the last one."""
    enough = score.step >= LEAST_LEARNT * last.step
    return enough and score.critic_steps >= LEAST_LEARNT * last.critic_steps


def _ties(score: Score, best: Score) -> bool:
    """Return whether a checkpoint is as good as the best one, on the same demonstrations.

    The mean of the paired differences is compared with their standard error; of one
    demonstration there is none, and only an equal trend ties.
    """
    differences = np.subtract(best.correlations, score.correlations)
    return bool(differences.mean() <= np.nan_to_num(_standard_error(differences)))
