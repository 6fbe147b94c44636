"""What success counts say: intervals, tests on paired scenes, and power.

Methods are compared on the same start scenes. What counts is therefore the scenes that only one
of two methods solved: McNemar's exact test for the question whether they differ, Tango's score
interval for how much. Two intervals of single rates that overlap say nothing about a difference.

`AnytimeComparison` may be looked at after every trial, and trials may stop for what it says:
its interval holds at all times at once (Ville's inequality), where those above hold for a number
of trials that was fixed before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Confidence of all intervals."""

BETS = 24
"""Stakes of an anytime interval that are played beside each other, on either side."""

MEANS = np.linspace(-1.0, 1.0, 801)
"""Differences of two rates that an anytime interval tests."""

Values = NDArray[np.float64]


def wilson_interval(
    successes: float, trials: float, z: float = 1.959964
) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Args:
        successes: Number of successes, 0 .. `trials`.
        trials: Number of trials; a fraction where trials depend on each other.
        z: Normal quantile; the default gives 95 %.

    Returns:
        Lower and upper bound in [0, 1]; (0, 1) without trials.

    Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    denominator = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / denominator
    spread = math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    half = z / denominator * spread
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on the same scenes."""

    won: int  # scenes that the first method alone solved
    lost: int  # scenes that the second one alone solved
    scenes: int  # all of them
    p: float  # of McNemar's exact test, two-sided
    low: float  # Tango's 95 % interval of `difference`
    high: float

    @property
    def difference(self) -> float:
        """Success rate of the first method less that of the second, -1 .. 1."""
        return (self.won - self.lost) / self.scenes

    def verdict(self, p: float | None = None) -> str:
        """Return in words what these scenes say, "better", "worse" or "not resolved".

        Args:
            p: Probability that takes the place of its own, such as one of `holm`.
        """
        if (self.p if p is None else p) >= 1.0 - LEVEL:
            return "not resolved"
        return "better" if self.won > self.lost else "worse"


def compare_pairs(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    """Compare two methods on the same start scenes.

    Args:
        first: Whether the first method solved each scene; at least one.
        second: The same of the second one, in the same order.

    Raises:
        ValueError: If there is no scene, or they have not as many.
    """
    won = sum(a and not b for a, b in zip(first, second, strict=True))
    lost = sum(b and not a for a, b in zip(first, second, strict=True))
    low, high = tango_interval(won, lost, len(first))
    return PairedComparison(won, lost, len(first), mcnemar_p(won, lost), low, high)


def mcnemar_p(won: int, lost: int) -> float:
    """Return the two-sided probability of McNemar's exact test; 1 without any difference.

    Args:
        won: Scenes that the first method alone solved.
        lost: Scenes that the second one alone solved.
    """
    from scipy.stats import binomtest  # deferred: it takes a second

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def tango_interval(won: float, lost: float, scenes: float) -> tuple[float, float]:
    """Return the 95 % score interval of a difference of two paired rates.

    Args:
        won: Scenes that the first method alone solved.
        lost: Scenes that the second one alone solved.
        scenes: All scenes; like the others a fraction where trials depend on each other.

    Raises:
        ValueError: If there is no scene.

    Source: T. Tango, Statistics in Medicine 17, 1998.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if scenes <= 0:
        raise ValueError("an interval of a difference needs a scene")
    z = float(norm.ppf(0.5 + LEVEL / 2))
    estimate = (won - lost) / scenes

    def excess(difference: float, sign: float) -> float:
        return sign * tango_score(won, lost, scenes, difference) - z

    ends = []
    for sign, limit in ((1.0, -1.0), (-1.0, 1.0)):
        inner = limit + (estimate - limit) * 1e-9
        if estimate == limit or excess(inner, sign) <= 0.0:
            ends.append(limit)
        else:
            ends.append(float(brentq(excess, inner, estimate, args=(sign,))))
    return ends[0], ends[1]


def tango_score(won: float, lost: float, scenes: float, difference: float) -> float:
    """Return how many standard errors the counts lie from a supposed difference.

    The rate of scenes that the second method alone solves is its likeliest value for that
    difference, the positive root of a quadratic equation.
    """
    linear = -won - lost + (2 * scenes - won + lost) * difference
    constant = -lost * difference * (1.0 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8 * scenes * constant))
    alone = (root - linear) / (4 * scenes)
    variance = scenes * (2 * alone + difference * (1.0 - difference))
    distance = won - lost - scenes * difference
    if variance <= 0.0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def cochran_q(solved: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return Cochran's Q and its probability: whether several methods differ at all.

    Args:
        solved: Whether each method solved each scene; two or more methods, the same scenes.

    Returns:
        Q, and the probability of one as large if all methods were equally good; (0, 1) if no
        scene tells them apart.

    Source: W. G. Cochran, Biometrika 37, 1950.
    """
    from scipy.stats import chi2

    cells = np.asarray(solved, dtype=np.float64)
    methods = len(cells)
    of_method, of_scene = cells.sum(axis=1), cells.sum(axis=0)
    total = cells.sum()
    denominator = methods * total - (of_scene**2).sum()
    if denominator == 0.0:
        return 0.0, 1.0
    numerator = (methods - 1) * (methods * (of_method**2).sum() - total**2)
    q = float(numerator / denominator)
    return q, float(chi2.sf(q, methods - 1))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return the probabilities of several tests, adjusted for their number, in their order.

    Source: S. Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(probabilities)
    largest = 0.0
    order = sorted(range(len(probabilities)), key=lambda index: probabilities[index])
    for rank, index in enumerate(order):
        largest = max(largest, (len(probabilities) - rank) * probabilities[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


@dataclass(frozen=True)
class Agreement:
    """How far two raters agree on the same trials."""

    alike: int  # trials of which both said the same
    trials: int  # all that both judged
    kappa: float  # Cohen's, 1: always alike, 0: as by chance; NaN: both said one thing only
    low: float  # 95 % interval of kappa; NaN as kappa is
    high: float


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> Agreement:
    """Return how far two raters agree, less what chance alone would make alike.

    The interval is that of large samples. It has no width where the raters always agree, so
    look at the number of trials as well.

    Args:
        first: What the first rater said of each trial; at least one.
        second: What the second one said, in the same order.

    Raises:
        ValueError: If there is no trial, or they have not as many.

    Source: J. Cohen, Educational and Psychological Measurement 20, 1960; the variance of
    J. L. Fleiss, J. Cohen and B. S. Everitt, Psychological Bulletin 72, 1969.
    """
    from scipy.stats import norm

    if not first or len(first) != len(second):
        raise ValueError(
            f"raters of {len(first)} and {len(second)} trials; the same are needed"
        )
    labels = sorted({*first, *second}, key=repr)
    shares = np.zeros((len(labels), len(labels)))
    for a, b in zip(first, second, strict=True):
        shares[labels.index(a), labels.index(b)] += 1.0 / len(first)
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    diagonal = np.diag(shares)
    observed, chance = float(diagonal.sum()), float(rows @ columns)
    alike = sum(a == b for a, b in zip(first, second, strict=True))
    if chance > 1.0 - 1e-12:
        return Agreement(alike, len(first), math.nan, math.nan, math.nan)
    kappa = (observed - chance) / (1.0 - chance)
    margins = rows[None, :] + columns[:, None]  # of each cell (i, j): row j, column i
    own = float(diagonal @ (1.0 - np.diag(margins) * (1.0 - kappa)) ** 2)
    outside = shares * margins**2
    other = (1.0 - kappa) ** 2 * float(outside.sum() - np.diag(outside).sum())
    excess = (kappa - chance * (1.0 - kappa)) ** 2
    variance = max(0.0, own + other - excess) / ((1.0 - chance) ** 2 * len(first))
    half = float(norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(variance)
    low, high = max(-1.0, kappa - half), min(1.0, kappa + half)
    return Agreement(alike, len(first), kappa, low, high)


def mcnemar_power(won: float, lost: float, scenes: int) -> float:
    """Return how likely McNemar's exact test finds a difference at 5 %.

    Args:
        won: Supposed share of scenes that the first method alone solves.
        lost: Supposed share of those that the second one alone solves; together at most 1.
        scenes: Scenes of each method.

    Raises:
        ValueError: If the shares are no shares.
    """
    from scipy.stats import binom

    different = won + lost
    if not (0.0 <= won <= 1.0 and 0.0 <= lost <= 1.0 and different <= 1.0 + 1e-12):
        raise ValueError(f"shares {won} and {lost}: each 0 to 1, and together at most 1")
    if different == 0.0:
        return 0.0
    power = 0.0
    for count in range(1, scenes + 1):
        likely = float(binom.pmf(count, scenes, min(1.0, different)))
        wins = np.arange(count + 1)
        tails = np.minimum(1.0, 2.0 * binom.cdf(np.minimum(wins, count - wins), count, 0.5))
        chances = binom.pmf(wins, count, won / different)
        power += likely * float(chances[tails < 1.0 - LEVEL].sum())
    return power


class AnytimeComparison:
    """The difference of two paired rates, which may be looked at after every scene.

    For each supposed difference m, gamblers stake a share of their capital on or against the
    next scene's difference exceeding m; their mean capital is a martingale if m is true, and
    exceeds 1 / (1 - LEVEL) at any time in at most 1 - LEVEL of all sessions. The differences at
    which it never did are the interval.

    Source: I. Waudby-Smith and A. Ramdas, Journal of the Royal Statistical Society B 86, 2024
    (betting on a grid of stakes).
    """

    def __init__(self, means: Values | None = None) -> None:
        """Begin without a scene.

        Args:
            means: The differences to test, -1 .. 1, ascending; zero among them.
        """
        self.means = MEANS if means is None else means
        shares = (np.arange(BETS) + 0.5) / BETS
        # A stake of 1 is one that a lost scene ruins.
        up = shares[:, None] / np.maximum(1.0 + self.means, 1e-9)
        down = -shares[:, None] / np.maximum(1.0 - self.means, 1e-9)
        self._stakes = np.concatenate([up, down])
        self._log_capital = np.zeros(self._stakes.shape)
        self._most = np.zeros(self.means.shape)
        self.scenes = 0

    def add(self, first: bool, second: bool) -> None:
        """Take the next scene: whether the first and the second method solved it."""
        value = float(first) - float(second)
        # An impossible difference, as of -1 after a scene that was not lost, ruins or enriches
        # without end; both are what it deserves.
        growth = np.maximum(1.0 + self._stakes * (value - self.means), 1e-300)
        self._log_capital += np.log(growth)
        top = self._log_capital.max(axis=0)
        mean = np.exp(self._log_capital - top).mean(axis=0)
        self._most = np.maximum(self._most, top + np.log(mean))
        self.scenes += 1

    def ever_left(self, index: int) -> bool:
        """Return whether a difference, by its index in `means`, was ever outside the interval."""
        return bool(self._most[index] >= -math.log(1.0 - LEVEL))

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the first method's rate less the second's, rounded outwards."""
        inside = np.flatnonzero(self._most < -math.log(1.0 - LEVEL))
        if not len(inside):  # which happens in fewer than 1 - LEVEL of all sessions
            best = int(np.argmin(self._most))
            inside = np.array([best])
        low, high = max(0, inside[0] - 1), min(len(self.means) - 1, inside[-1] + 1)
        return float(self.means[low]), float(self.means[high])

    @property
    def p(self) -> float:
        """The anytime-valid probability of no difference."""
        zero = int(np.argmin(np.abs(self.means)))
        return float(min(1.0, math.exp(-self._most[zero])))

    @property
    def resolved(self) -> bool:
        """Whether one method is better, at any time that one may stop."""
        return self.p < 1.0 - LEVEL


def probability_text(p: float) -> str:
    """Return a probability as people write it: `p = 0.03`, `p < 1e-9`."""
    return "p < 1e-9" if p < 1e-9 else f"p = {p:.1g}"


def difference_text(comparison: PairedComparison) -> str:
    """Return a difference in points with its interval: `+13 (5 … 21)`."""
    points: list[Any] = [comparison.difference, comparison.low, comparison.high]
    middle, low, high = (round(100 * value) for value in points)
    return f"{middle:+d} ({low} … {high})"
