"""Results of a study with several seeds: every row once a seed, all on the same start scenes.

The rate of a row is the mean over its seeds. Its interval is Wilson's, for as many independent
trials as would give the variance that seeds and scenes have shown (the effective sample size of
survey statistics; one seed gives the interval of its scenes). With two or three seeds the
variance between seeds is hardly known, so look at the points of the plot as well.

Rows are compared with the first one by McNemar's exact test over the pairs of equal seed and
scene: it is pooled over seeds, and says whether these trained policies differ. Whether those of
other seeds would is what the interval of the difference says, which is widened as that of a row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.files import atomic_file
from ptr_common.text_table import cell, text_table
from widowx_bringup.evaluation.statistics import (
    PairedComparison,
    compare_pairs,
    tango_interval,
    wilson_interval,
)

from .results import (
    COLUMNS,
    COUNTS,
    Outcome,
    adjusted,
    all_rows_text,
    draw_rows,
    paired_cells,
    score_text,
)

HEADER = (
    "method",
    "success",
    "mean",
    "95 % interval",
    "score",
    "each seed",
    "first : this",
    "difference",
    "p (Holm)",
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


def effective_trials(cells: np.ndarray) -> float:
    """Return how many independent trials give the variance of a mean over seeds and scenes.

    The variance is that of two crossed random effects with one trial a cell,
    (M_seeds + M_scenes - M_rest) / (S N) with the mean squares M of the analysis of variance,
    and at least that of independent trials.

    Args:
        cells: 0 or 1, or differences of two of them, by seed and scene, shape (S, N).

    Returns:
        At most S N, which it is for a single seed or scene, and if all cells are equal.
    """
    seeds, scenes = cells.shape
    independent = float(cells.var()) / cells.size
    if min(seeds, scenes) < 2 or independent == 0.0:
        return float(cells.size)
    of_seed, of_scene = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - of_seed[:, None] - of_scene[None] + cells.mean()
    square_rest = (rest**2).sum() / ((seeds - 1) * (scenes - 1))
    square_seeds = scenes * of_seed.var(ddof=1)
    square_scenes = seeds * of_scene.var(ddof=1)
    variance = (square_seeds + square_scenes - square_rest) / cells.size
    return float(cells.var() / max(variance, independent))


def by_row(outcomes: Mapping[int, Sequence[Outcome]]) -> list[SeededRow]:
    """Return the outcomes of a study's rows, which every seed has in the same order."""
    rows = []
    for position in range(len(next(iter(outcomes.values())))):
        rows.append(SeededRow({seed: row[position] for seed, row in outcomes.items()}))
    return rows


def compare(first: SeededRow, row: SeededRow) -> PairedComparison | None:
    """Return the comparison of the first row with another one, on pairs of equal seed and scene.

    Returns:
        Counts and probability of all pairs; the interval is for as many pairs as would give the
        variance that seeds and scenes have shown. None without a common seed.
    """
    common = _common_seeds(first, row)
    if not common:
        return None
    ours = np.array([first.solved[seed] for seed in common])
    theirs = np.array([row.solved[seed] for seed in common])
    found = compare_pairs(ours.ravel().tolist(), theirs.ravel().tolist())
    share = effective_trials(ours.astype(float) - theirs) / ours.size
    counts = (share * found.won, share * found.lost, share * found.scenes)
    low, high = tango_interval(*counts)
    return replace(found, low=low, high=high)


def _common_seeds(first: SeededRow, row: SeededRow) -> list[int]:
    """Return the seeds that both rows were evaluated with, on the same number of scenes."""
    scenes = {seed: len(solved) for seed, solved in first.solved.items()}
    return [seed for seed, solved in row.solved.items() if scenes.get(seed) == len(solved)]


def comparisons(rows: Sequence[SeededRow]) -> dict[str, tuple[PairedComparison, float]]:
    """Return how each row compares with the first that was evaluated, see `results`."""
    pairs = {}
    first = _first(rows)
    for row in rows:
        if first is not None and row is not first and (found := compare(first, row)):
            pairs[row.any_outcome.name] = found
    return adjusted(pairs)


def table(rows: Sequence[SeededRow]) -> str:
    """Return the results as a table for a terminal; failures follow below it."""
    lines, failures = [], []
    found = comparisons(rows)
    for row in rows:
        known = row.any_outcome
        success, mean, interval = "–", "", ""
        if pooled := row.pooled:
            success = f"{pooled.successes}/{pooled.rollouts}"
            mean = f"{pooled.rate:.0%}"
            interval = f"{pooled.low:.0%} … {pooled.high:4.0%}"
        each = " ".join(f"{np.mean(solved):.0%}" for solved in row.solved.values())
        minutes = f"{sum(outcome.minutes for outcome in row.outcomes.values()):.1f}"
        summaries = [one.summary for one in row.outcomes.values() if one.summary]
        paired = paired_cells(found.get(known.name))
        evaluated = (success, mean, interval, score_text(summaries), each, *paired)
        lines.append((known.title, *evaluated, minutes, known.source))
        for seed, outcome in row.outcomes.items():
            if outcome.problem:
                failures.append(f"{known.title}, seed {seed} failed: {outcome.problem}")
    judged = all_rows_text(_all_scenes(rows))
    return "\n".join([text_table(HEADER, lines, align="lrrrrrrlrrl"), *judged, *failures])


def _all_scenes(rows: Sequence[SeededRow]) -> list[list[bool]]:
    """Return whether each row solved each pair of seed and scene, of the seeds of all rows."""
    evaluated = [row for row in rows if row.solved]
    common = (
        set.intersection(*(set(row.solved) for row in evaluated)) if evaluated else set()
    )
    solved: list[list[bool]] = [[] for _ in evaluated]
    for seed in sorted(common):
        for cells, row in zip(solved, evaluated, strict=True):
            cells += row.solved[seed]
    return solved


def _first(rows: Sequence[SeededRow]) -> SeededRow | None:
    """Return the row that the others are compared with: the first one that was evaluated."""
    return next((row for row in rows if row.solved), None)


def write(out: Path, rows: Sequence[SeededRow], about: Mapping[str, Any]) -> None:
    """Write `study.json`, `study.csv` and `study.png`."""
    found = comparisons(rows)
    content = []
    for row in rows:
        pooled, name = row.pooled, row.any_outcome.name
        against = None
        if name in found:
            comparison, p = found[name]
            against = {**asdict(comparison), "p_holm": p}
        content.append(
            {
                "name": name,
                "pooled": asdict(pooled) if pooled else None,
                "first_against_this": against,
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
