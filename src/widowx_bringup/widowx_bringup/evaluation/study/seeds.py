"""Results of a study with several seeds: every row once a seed, all on the same start scenes.

The rate of a row is the mean over its seeds. Its interval is Wilson's, for as many independent
trials as would give the variance that seeds and scenes have shown (the effective sample size of
survey statistics; one seed gives the interval of its scenes). With two or three seeds the
variance between seeds is hardly known, so look at the points of the plot as well.

Rows are compared with the first one by McNemar's exact test over the pairs of equal seed and
scene: it is pooled over seeds, and says whether these trained policies differ. Whether other
seeds would is what the differences of each seed say.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.files import atomic_file
from ptr_common.text_table import cell, text_table
from widowx_bringup.evaluation.results import paired_test, wilson_interval

from .results import COLUMNS, COUNTS, Outcome, draw_rows, score_text

HEADER = (
    "method",
    "success",
    "mean",
    "95 % interval",
    "score",
    "each seed",
    "first : this, p",
    "minutes",
    "paper",
)


@dataclass(frozen=True)
class Pooled:
    """Successes of a row over its seeds."""

    successes: int
    rollouts: int
    rate: float  # mean over the seeds
    low: float
    high: float
    effective: float  # independent trials of the same variance


@dataclass(frozen=True)
class SeededRow:
    """The outcomes of one row, by seed."""

    outcomes: Mapping[int, Outcome]

    @property
    def any_outcome(self) -> Outcome:
        """One outcome, for the name, the title and the source."""
        return next(iter(self.outcomes.values()))

    @property
    def solved(self) -> dict[int, tuple[bool, ...]]:
        """Whether each scene was solved, of the seeds that were evaluated."""
        return {
            seed: outcome.solved
            for seed, outcome in self.outcomes.items()
            if outcome.solved
        }

    @property
    def pooled(self) -> Pooled | None:
        """All seeds together; None without an evaluation."""
        if not self.solved:
            return None
        scenes = min(map(len, self.solved.values()))
        cells = np.array([solved[:scenes] for solved in self.solved.values()], float)
        rate, effective = float(cells.mean()), effective_trials(cells)
        low, high = wilson_interval(rate * effective, effective)
        successes = int(cells.sum())
        return Pooled(successes, cells.size, rate, low, high, effective)


def effective_trials(solved: np.ndarray) -> float:
    """Return how many independent trials give the variance of a mean over seeds and scenes.

    The variance is that of two crossed random effects with one trial a cell,
    (M_seeds + M_scenes - M_rest) / (S N) with the mean squares M of the analysis of variance,
    and at least that of independent trials.

    Args:
        solved: 0 or 1 by seed and scene, shape (S, N).

    Returns:
        At most S N, which it is for a single seed or scene, and if all cells are equal.
    """
    seeds, scenes = solved.shape
    rate = solved.mean()
    independent = rate * (1.0 - rate) / solved.size
    if min(seeds, scenes) < 2 or independent == 0.0:
        return float(solved.size)
    of_seed, of_scene = solved.mean(axis=1), solved.mean(axis=0)
    rest = solved - of_seed[:, None] - of_scene[None] + rate
    square_rest = (rest**2).sum() / ((seeds - 1) * (scenes - 1))
    square_seeds = scenes * of_seed.var(ddof=1)
    square_scenes = seeds * of_scene.var(ddof=1)
    variance = (square_seeds + square_scenes - square_rest) / solved.size
    return float(rate * (1.0 - rate) / max(variance, independent))


def by_row(outcomes: Mapping[int, Sequence[Outcome]]) -> list[SeededRow]:
    """Return the outcomes of a study's rows, which every seed has in the same order."""
    rows = []
    for position in range(len(next(iter(outcomes.values())))):
        rows.append(SeededRow({seed: row[position] for seed, row in outcomes.items()}))
    return rows


def compare(first: SeededRow, row: SeededRow) -> dict[str, Any] | None:
    """Return the comparison of a row with the first one, on pairs of equal seed and scene.

    Returns:
        won, lost, p: pairs that only the first row solved, that only this one did, and the
        probability of McNemar's exact test; differences: this row's rate less the first one's,
        by seed. None for the first row itself, and without a common seed.
    """
    if first is row:
        return None
    theirs: list[bool] = []
    ours: list[bool] = []
    differences = {}
    for seed, solved in row.solved.items():
        others = first.solved.get(seed, ())
        if len(others) == len(solved):
            theirs += others
            ours += solved
            differences[seed] = float(np.mean(solved) - np.mean(others))
    if not differences:
        return None
    won, lost, p = paired_test(theirs, ours)
    return {"won": won, "lost": lost, "p": p, "differences": differences}


def table(rows: Sequence[SeededRow]) -> str:
    """Return the results as a table for a terminal; failures follow below it."""
    lines, failures = [], []
    first = _first(rows)
    for row in rows:
        known = row.any_outcome
        success, mean, interval = "–", "", ""
        if pooled := row.pooled:
            success = f"{pooled.successes}/{pooled.rollouts}"
            mean = f"{pooled.rate:.0%}"
            interval = f"{pooled.low:.0%} … {pooled.high:4.0%}"
        each = " ".join(f"{np.mean(solved):.0%}" for solved in row.solved.values())
        against = ""
        if first is not None and (found := compare(first, row)):
            against = f"{found['won']} : {found['lost']}, {found['p']:.1g}"
        minutes = f"{sum(outcome.minutes for outcome in row.outcomes.values()):.1f}"
        summaries = [one.summary for one in row.outcomes.values() if one.summary]
        evaluated = (success, mean, interval, score_text(summaries), each, against)
        lines.append((known.title, *evaluated, minutes, known.source))
        for seed, outcome in row.outcomes.items():
            if outcome.problem:
                failures.append(f"{known.title}, seed {seed} failed: {outcome.problem}")
    return "\n".join([text_table(HEADER, lines, align="lrrrrrrrl"), *failures])


def _first(rows: Sequence[SeededRow]) -> SeededRow | None:
    """Return the row that the others are compared with: the first one that was evaluated."""
    return next((row for row in rows if row.solved), None)


def write(out: Path, rows: Sequence[SeededRow], about: Mapping[str, Any]) -> None:
    """Write `study.json`, `study.csv` and `study.png`."""
    first = _first(rows)
    content = []
    for row in rows:
        pooled = row.pooled
        content.append(
            {
                "name": row.any_outcome.name,
                "pooled": asdict(pooled) if pooled else None,
                "against_first": compare(first, row) if first is not None else None,
                "seeds": {seed: asdict(outcome) for seed, outcome in row.outcomes.items()},
            }
        )
    with atomic_file(out / "study.json") as path:
        path.write_text(json.dumps({"about": about, "rows": content}, indent=1) + "\n")
    _write_csv(out / "study.csv", rows)
    drawn = []
    for row in rows:
        if pooled := row.pooled:
            points = [float(np.mean(solved)) for solved in row.solved.values()]
            drawn.append((row.any_outcome, pooled, points))
    draw_rows(out / "study.png", drawn, "mean success rate, 95 % interval, each seed")


def _write_csv(file: Path, rows: Sequence[SeededRow]) -> None:
    """Write a line for each seed of each row, and one for all seeds together."""
    with atomic_file(file) as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["seed", *COLUMNS, *COUNTS])
        for row in rows:
            for seed, outcome in row.outcomes.items():
                cells = [getattr(outcome, name) for name in COLUMNS]
                summary = outcome.summary
                counts = [getattr(summary, name) if summary else "" for name in COUNTS]
                writer.writerow([seed, *map(cell, cells), *counts])
            if pooled := row.pooled:
                known = row.any_outcome
                minutes = sum(outcome.minutes for outcome in row.outcomes.values())
                cells = [known.name, known.title, known.source, minutes, "", ""]
                counts = [getattr(pooled, name) for name in COUNTS]
                writer.writerow(["all", *cells, *counts])
