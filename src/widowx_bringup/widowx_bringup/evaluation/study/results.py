"""Results of a study: a table for the terminal, JSON, CSV and a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ptr_common.files import atomic_file
from ptr_common.text_table import cell, text_table
from widowx_bringup.evaluation.results import Summary, has_partial_score
from widowx_bringup.evaluation.statistics import (
    PairedComparison,
    cochran_q,
    compare_pairs,
    difference_text,
    holm,
    probability_text,
)

HEADER = (
    "method",
    "success",
    "rate",
    "95 % (Wilson)",
    "score",
    "first : this",
    "difference",
    "p (Holm)",
    "step",
    "minutes",
    "paper",
)
"""After the score: scenes that only the first row solved, and that only this one did; the first
row's rate less this one's in points, with Tango's 95 % interval; and the probability of McNemar's
exact test, adjusted by Holm for the number of rows."""

COLUMNS = ("name", "title", "source", "minutes", "step", "problem")
"""Columns of study.csv that an outcome has by itself."""

COUNTS = ("successes", "rollouts", "rate", "low", "high")
"""Columns of study.csv that are empty without an evaluation."""


class Interval(Protocol):
    """A success rate with its counts and its interval."""

    @property
    def successes(self) -> int:
        """Rollouts that succeeded."""

    @property
    def rollouts(self) -> int:
        """All of them."""

    @property
    def rate(self) -> float:
        """Their share."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""

    @property
    def high(self) -> float:
        """Its upper end."""


@dataclass(frozen=True)
class Outcome:
    """The result of a row."""

    name: str
    title: str
    source: str  # place in the paper
    minutes: float  # training, selection and evaluation, beside other rows
    problem: str  # why it failed; empty if it did not
    step: int | None  # of the checkpoint deployed
    summary: Summary | None  # None for a row that is not evaluated
    solved: tuple[bool, ...] = ()  # whether each scene was, by its number


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the results as a table for a terminal; failures follow below it."""
    rows = []
    failures = []
    found = comparisons(outcomes)
    for outcome in outcomes:
        summary = outcome.summary
        success, rate, interval = "–", "", ""
        if summary:
            success = f"{summary.successes}/{summary.rollouts}"
            rate = f"{summary.rate:.0%}"
            interval = f"{summary.low:.0%} … {summary.high:4.0%}"
        step = "–" if outcome.step is None else outcome.step
        minutes = f"{outcome.minutes:.1f}"
        score = score_text([summary] if summary else [])
        paired = paired_cells(found.get(outcome.name))
        evaluated = (success, rate, interval, score, *paired)
        rows.append((outcome.title, *evaluated, step, minutes, outcome.source))
        if outcome.problem:
            failures.append(f"{outcome.title} failed: {outcome.problem}")
    judged = all_rows_text([outcome.solved for outcome in outcomes])
    lines = [text_table(HEADER, rows, align="lrrrrlrlrrl"), *judged, *failures]
    return "\n".join(lines)


def comparisons(outcomes: Sequence[Outcome]) -> dict[str, tuple[PairedComparison, float]]:
    """Return how each row compares with the first that was evaluated, by its name.

    Returns:
        The comparison on the same scenes, and its probability adjusted by Holm; without the
        first row, and rows of other scenes.
    """
    evaluated = [outcome for outcome in outcomes if outcome.solved]
    pairs = {}
    for outcome in evaluated[1:]:
        if len(outcome.solved) == len(evaluated[0].solved):
            pairs[outcome.name] = compare_pairs(evaluated[0].solved, outcome.solved)
    return adjusted(pairs)


def adjusted(
    pairs: Mapping[str, PairedComparison],
) -> dict[str, tuple[PairedComparison, float]]:
    """Return comparisons with their probabilities, adjusted for the number of them."""
    probabilities = holm([comparison.p for comparison in pairs.values()])
    return {name: (pairs[name], p) for name, p in zip(pairs, probabilities, strict=True)}


def paired_cells(found: tuple[PairedComparison, float] | None) -> tuple[str, str, str]:
    """Return the three cells of a comparison with the first row; empty without one."""
    if found is None:
        return "", "", ""
    comparison, p = found
    counts = f"{comparison.won} : {comparison.lost}"
    return counts, difference_text(comparison), probability_text(p)


def all_rows_text(solved: Sequence[Sequence[bool]]) -> list[str]:
    """Return Cochran's test of all rows as a line; none for fewer than three of the same scenes.

    Args:
        solved: Whether each row solved each scene; empty for a row without an evaluation.
    """
    rows = [row for row in solved if len(row)]
    if len(rows) < 3 or len({len(row) for row in rows}) > 1:
        return []
    q, p = cochran_q(rows)
    return [
        f"all {len(rows)} rows: Cochran's Q = {q:.1f}, {probability_text(p)} that none differs"
    ]


def score_text(summaries: Sequence[Summary]) -> str:
    """Return the mean score of evaluations, if it says more than the successes do."""
    if not any(map(has_partial_score, summaries)):
        return ""
    return f"{np.mean([summary.mean_score or 0.0 for summary in summaries]):.0%}"


def write(out: Path, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> None:
    """Write `study.json`, `study.csv` and `study.png`."""
    rows = [asdict(outcome) for outcome in outcomes]
    with atomic_file(out / "study.json") as path:
        path.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    _write_csv(out / "study.csv", outcomes)
    drawn: list[tuple[Outcome, Interval, Sequence[float]]] = []
    for outcome in outcomes:
        if outcome.summary:
            drawn.append((outcome, outcome.summary, ()))
    draw_rows(out / "study.png", drawn, "success rate, 95 % Wilson interval")


def _write_csv(file: Path, outcomes: Sequence[Outcome]) -> None:
    with atomic_file(file) as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*COLUMNS, *COUNTS])
        for outcome in outcomes:
            cells = [getattr(outcome, name) for name in COLUMNS]
            for name in COUNTS:
                cells.append(getattr(outcome.summary, name) if outcome.summary else "")
            writer.writerow(map(cell, cells))


def draw_rows(
    path: Path,
    rows: Sequence[tuple[Outcome, Interval, Sequence[float]]],
    label: str,
) -> None:
    """Draw a bar with its interval for each row that was evaluated.

    Args:
        path: Of the plot.
        rows: Name and title, rate with its interval, and rates to be drawn as points.
        label: Of the axis.
    """
    from matplotlib.figure import Figure

    height = 0.6 + 0.28 * max(1, len(rows))
    figure = Figure(figsize=(7.0, height), layout="constrained")
    axes = figure.subplots()
    for place, (outcome, interval, points) in enumerate(rows):
        colour = "tab:blue" if outcome.name == "ptr" else "0.7"
        axes.barh(place, interval.rate, color=colour, height=0.7)
        axes.plot([interval.low, interval.high], [place, place], color="black", lw=1.2)
        axes.plot(points, [place] * len(points), "o", color="tab:orange", ms=4, alpha=0.8)
        counts = f"{interval.successes}/{interval.rollouts}"
        axes.text(1.02, place, counts, va="center", fontsize=8)
    titles = [outcome.title for outcome, _, _ in rows]
    axes.set_yticks(range(len(rows)), titles, fontsize=8)
    axes.set(xlim=(0, 1), xlabel=label)
    axes.invert_yaxis()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
