"""Results of evaluation rollouts: one row each, a summary with Wilson intervals, and how
methods compare on the same scenes.

A rollout that ended for a cause outside the policy (a camera, a node, the arm, the operator)
says nothing about the policy: it is aborted, does not count, and is repeated.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.text_table import cell, from_cell, text_table

from .statistics import (
    PairedComparison,
    compare_pairs,
    difference_text,
    holm,
    probability_text,
    wilson_interval,
)

CONVERTERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda text: text == "True",
    "int": int,
    "float": float,
    "float | None": lambda text: float(text) if text else None,
    "str": str,
}
"""Turns a cell of `results.csv` into a value, by the type of its column."""


class ResultsError(PtrError):
    """A table of results has other columns."""


@dataclass(frozen=True)
class Rollout:
    """One evaluation rollout."""

    method: str
    rollout: int  # index of the start scene, the same for every method
    layout_seed: int
    task: str
    success: bool
    steps: int  # control steps carried out
    duration: float  # [s] of the robot's clock
    clipped: int  # commands that a limit shortened
    held: int  # times the arm went into holding
    rejected: int  # commands refused
    reason: str  # why it ended
    bag: str  # path relative to the results; empty without a bag
    strip: str  # film strip, path relative to the results; empty without one
    aborted: bool = False  # ended for a cause outside the policy; does not count
    score: float | None = None  # share of the task that was done, 0 to 1; None: not judged
    judge: str = ""  # "person"; empty: the simulation's checker
    stage: str = ""  # how far it came, in the judge's words
    residual_position: float | None = None  # distance from the start pose [m]; None: none
    residual_rotation: float | None = None  # rotation from it [degrees]

    @property
    def film(self) -> str:
        """Page of its film, relative to the results, whether or not one was made."""
        return self.strip.replace("strips/", "films/", 1).replace(".jpg", ".html")


def planned_rollout(
    method: str, scene: int, layout_seed: int, task: str, strip: str
) -> Rollout:
    """Return a rollout without its outcome.

    Args:
        method: Its name, or its code.
        scene: Index of the start scene.
        layout_seed: Seed of that scene.
        task: Name of the task.
        strip: Where its film strip will be, relative to the results.
    """
    return Rollout(
        method=method,
        rollout=scene,
        layout_seed=layout_seed,
        task=task,
        success=False,
        steps=0,
        duration=0.0,
        clipped=0,
        held=0,
        rejected=0,
        reason="",
        bag="",
        strip=strip,
    )


@dataclass(frozen=True)
class Summary:
    """Successes of one method over its rollouts that count."""

    method: str
    successes: int
    rollouts: int
    repeated: int  # rollouts that were aborted; no other number has them
    rate: float
    low: float  # Wilson interval, 95 %
    high: float
    mean_steps: float  # of the successful rollouts; NaN without any
    clipped: int
    held: int
    rejected: int
    mean_score: float | None = None  # of all that count; None unless each has a score


def summarise(rollouts: Sequence[Rollout]) -> list[Summary]:
    """Return one summary per method, in the order the methods first appear."""
    summaries = []
    for method, tries in by_method(rollouts).items():
        rows = [row for row in tries if not row.aborted]
        steps = [row.steps for row in rows if row.success]
        low, high = wilson_interval(len(steps), len(rows))
        summaries.append(
            Summary(
                method=method,
                successes=len(steps),
                rollouts=len(rows),
                repeated=len(tries) - len(rows),
                rate=len(steps) / len(rows) if rows else 0.0,
                low=low,
                high=high,
                mean_steps=float(np.mean(steps)) if steps else math.nan,
                clipped=sum(row.clipped for row in rows),
                held=sum(row.held for row in rows),
                rejected=sum(row.rejected for row in rows),
                mean_score=_mean_score(rows),
            )
        )
    return summaries


def _mean_score(rollouts: Sequence[Rollout]) -> float | None:
    """Return the mean score; None unless every rollout has one."""
    scores = [rollout.score for rollout in rollouts if rollout.score is not None]
    if not scores or len(scores) < len(rollouts):
        return None
    return float(np.mean(scores))


def by_method(rollouts: Sequence[Rollout]) -> dict[str, list[Rollout]]:
    """Return the rollouts of each method, in the order in which the methods first appear."""
    groups: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.method, []).append(rollout)
    return groups


def counted_of(rollouts: Sequence[Rollout], method: str) -> list[Rollout]:
    """Return the rollouts of a method that count."""
    return [row for row in rollouts if row.method == method and not row.aborted]


@dataclass(frozen=True)
class Contrast:
    """A method beside the first one, on the scenes that count for both."""

    method: str
    first: str
    comparison: PairedComparison  # of the first one with this one
    p: float  # of McNemar's exact test, adjusted by Holm for the number of contrasts

    @property
    def sentence(self) -> str:
        """What the scenes say of both."""
        found = self.comparison
        verdict = found.verdict(self.p)
        return (
            f"{self.first} against {self.method}: {found.won} of {found.scenes} scenes were "
            f"solved by {self.first} alone, {found.lost} by {self.method} alone; difference "
            f"{difference_text(found)} points, {probability_text(self.p)}: "
            f"{verdict if verdict == 'not resolved' else f'{self.first} is {verdict}'}"
        )


def contrasts(rollouts: Sequence[Rollout]) -> list[Contrast]:
    """Return each further method beside the first, on scenes that both have a rollout of."""
    names = list(by_method(rollouts))
    found = []
    for method in names[1:]:
        ours = {row.rollout: row.success for row in counted_of(rollouts, names[0])}
        theirs = {row.rollout: row.success for row in counted_of(rollouts, method)}
        common = sorted(set(ours) & set(theirs))
        if common:
            pairs = compare_pairs(
                [ours[scene] for scene in common], [theirs[scene] for scene in common]
            )
            found.append((method, pairs))
    adjusted = holm([pairs.p for _, pairs in found])
    return [
        Contrast(method, names[0], pairs, p)
        for (method, pairs), p in zip(found, adjusted, strict=True)
    ]


def table(summaries: Sequence[Summary]) -> str:
    """Return the summaries as a table for a terminal."""
    header = (
        "method",
        "success",
        "rate",
        "95 % (Wilson)",
        "steps",
        "clipped",
        "held",
        "rejected",
        "repeated",
    )
    rows = []
    scored = any(map(has_partial_score, summaries))
    for summary in summaries:
        rows.append(
            (
                summary.method,
                f"{summary.successes}/{summary.rollouts}",
                f"{summary.rate:.0%}",
                f"{summary.low:.0%} … {summary.high:4.0%}",
                "–" if math.isnan(summary.mean_steps) else f"{summary.mean_steps:.1f}",
                summary.clipped,
                summary.held,
                summary.rejected,
                summary.repeated,
                *((_percent(summary.mean_score),) if scored else ()),
            )
        )
    return text_table((*header, *(("score",) if scored else ())), rows)


def results_text(rollouts: Sequence[Rollout]) -> str:
    """Return the table of all methods, and below it how each compares with the first."""
    lines = [contrast.sentence for contrast in contrasts(rollouts)]
    return "\n".join([table(summarise(rollouts)), *([""] if lines else []), *lines])


def has_partial_score(summary: Summary) -> bool:
    """Return whether scores say more than successes do: some tasks were done in part."""
    return summary.mean_score is not None and summary.mean_score > summary.rate + 1e-9


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def write_results(
    folder: Path,
    rollouts: Sequence[Rollout],
    about: dict[str, Any],
    compared: Sequence[Contrast] | None = None,
) -> None:
    """Write `results.csv` (a row per rollout) and `results.json` (summary and what was run).

    Args:
        folder: Of the results.
        rollouts: All of them.
        about: What was run.
        compared: How the methods compare; None: each further one with the first.
    """
    with atomic_file(folder / "results.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Rollout)])
        writer.writeheader()
        for rollout in rollouts:
            writer.writerow({name: cell(value) for name, value in asdict(rollout).items()})
    summaries = [asdict(summary) for summary in summarise(rollouts)]
    for summary in summaries:
        if math.isnan(summary["mean_steps"]):
            summary["mean_steps"] = None
    compared = contrasts(rollouts) if compared is None else compared
    content = {
        "about": about,
        "methods": summaries,
        "contrasts": [asdict(contrast) for contrast in compared],
    }
    with atomic_file(folder / "results.json") as path:
        path.write_text(json.dumps(content, indent=2) + "\n")


def read_results(folder: Path) -> list[Rollout]:
    """Return the rollouts in `results.csv`; none if there is no such file.

    Raises:
        ResultsError: If the columns are not those of `Rollout`.
    """
    path = folder / "results.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        expected = [column.name for column in fields(Rollout)]
        # Older tables end before `aborted` or a later column; those that lack have defaults.
        names = list(reader.fieldnames or ())
        if names != expected[: max(len(names), expected.index("aborted"))]:
            raise ResultsError(
                f"{path}: columns {reader.fieldnames}, expected {expected}; choose another --out"
            )
        return [_parse(row) for row in reader]


def _parse(row: dict[str, str]) -> Rollout:
    values: dict[str, Any] = {}
    for item in fields(Rollout):
        if item.name in row:
            values[item.name] = CONVERTERS[str(item.type)](from_cell(row[item.name]))
    return Rollout(**values)
