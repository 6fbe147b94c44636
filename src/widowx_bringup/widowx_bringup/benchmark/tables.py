"""What came out: a table of the rollouts, published rates beside it, and the conditions of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ptr_common.text_table import text_table
from widowx_bringup.evaluation.results import Contrast, Rollout, by_method, contrasts
from widowx_bringup.evaluation.statistics import wilson_interval

from .published import CONDITIONS, PUBLISHED
from .rollout import STAGES
from .tasks import SCENES, TASKS

ALL = "all"
"""Name of the row over all tasks."""

Results = Mapping[str, Sequence[Rollout]]
"""Rollouts by the name of their task."""


@dataclass(frozen=True)
class Cell:
    """A policy's rollouts of one task, or of all tasks.

    Attributes:
        policy: Its name.
        task: Name of the task, or `ALL`.
        solved: Rollouts whose last step shows success.
        rollouts: All of them.
        low: Lower end of Wilson's 95 % interval of the rate.
        high: Upper end.
        once: Rollouts that were solved at some step.
        held: Rollouts in which the object was held at some time, or that were solved.
        steps: Mean step of the first success; None without any.
        clipped: Commands beyond the bounds of an action.
    """

    policy: str
    task: str
    solved: int
    rollouts: int
    low: float
    high: float
    once: int
    held: int
    steps: float | None
    clipped: int

    @property
    def rate(self) -> float:
        """Share of the rollouts that were solved; 0 without any."""
        return self.solved / self.rollouts if self.rollouts else 0.0


def cells(results: Results) -> list[Cell]:
    """Return a cell for each policy and task, and one over all tasks where there are several."""
    groups = {task: by_method(rows) for task, rows in results.items()}
    policies = dict.fromkeys(name for group in groups.values() for name in group)
    found = []
    for policy in policies:
        mine = {task: group[policy] for task, group in groups.items() if policy in group}
        found += [_cell(policy, task, rows) for task, rows in mine.items()]
        if len(mine) > 1:
            found.append(
                _cell(policy, ALL, [row for rows in mine.values() for row in rows])
            )
    return found


def _cell(policy: str, task: str, rows: Sequence[Rollout]) -> Cell:
    solved = sum(row.success for row in rows)
    reached = [STAGES.index(row.stage) for row in rows]
    steps = [row.steps for row in rows if row.stage in STAGES[2:]]
    low, high = wilson_interval(solved, len(rows))
    return Cell(
        policy=policy,
        task=task,
        solved=solved,
        rollouts=len(rows),
        low=low,
        high=high,
        once=sum(stage >= 2 for stage in reached),
        held=sum(stage >= 1 for stage in reached),
        steps=sum(steps) / len(steps) if steps else None,
        clipped=sum(row.clipped for row in rows),
    )


def compared(results: Results) -> list[Contrast]:
    """Return how each further policy compares with the first on the scenes of all tasks."""
    rows = []
    for number, of_task in enumerate(results.values()):
        for row in of_task:
            rows.append(replace(row, rollout=row.rollout + number * SCENES))
    return contrasts(rows)


def results_table(results: Results) -> str:
    """Return the table of the rollouts for a terminal."""
    header = (
        "policy",
        "task",
        "solved",
        "rate",
        "95 % (Wilson)",
        "once",
        "held",
        "steps",
        "clipped",
    )
    rows = []
    for cell in cells(results):
        steps = "–" if cell.steps is None else f"{cell.steps:.1f}"
        rows.append(
            (
                *(
                    cell.policy,
                    cell.task,
                    f"{cell.solved}/{cell.rollouts}",
                    f"{cell.rate:.0%}",
                ),
                *(f"{cell.low:.0%} … {cell.high:4.0%}", cell.once, cell.held),
                *(steps, cell.clipped),
            )
        )
    return text_table(header, rows, align="ll")


def published_rows(results: Results) -> list[tuple[str, ...]]:
    """Return rates in percent, this run's first: policy, the four tasks, mean, source."""
    names = [task.name for task in TASKS]
    mine: dict[str, dict[str, float]] = {}
    for cell in cells(results):
        mine.setdefault(cell.policy, {})[cell.task] = 100 * cell.rate
    rows = []
    for policy, rates in mine.items():
        mean = _percent(rates.get(ALL)) + ("" if len(rates) > len(names) else "*")
        shown = [_percent(rates.get(name)) for name in names]
        rows.append((policy, *shown, mean if ALL in rates else "–", "this run"))
    for entry in PUBLISHED:
        shown = [_percent(entry.rates.get(name)) for name in names]
        rows.append((entry.policy, *shown, _percent(entry.mean), entry.source))
    return rows


PUBLISHED_HEADER = ("success in %", *(task.name for task in TASKS), "mean", "source")
"""Header of `published_rows`."""


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"


def conditions(results: Results, notes: Sequence[str]) -> list[str]:
    """Return what has to be known of the tables, a sentence each.

    Args:
        results: Of this run.
        notes: What was replaced or left out.
    """
    lines = [*notes]
    counts = {len(rows) for of in results.values() for rows in by_method(of).values()}
    if counts != {SCENES}:
        lines.append(
            f"not all {SCENES} scenes of each task: no result of the benchmark yet"
        )
    if len(results) < len(TASKS):
        lines.append(
            "* mean of fewer than the four tasks; not comparable with a mean of all"
        )
    lines += CONDITIONS
    for source in dict.fromkeys((entry.source, entry.condition) for entry in PUBLISHED):
        lines.append(f"{source[0]}: {source[1]}.")
    return lines


def report_text(results: Results, notes: Sequence[str]) -> str:
    """Return all tables and what has to be known of them, for a terminal."""
    columns = "l" + "r" * (len(PUBLISHED_HEADER) - 2) + "l"
    parts = [
        results_table(results),
        "\n".join(contrast.sentence for contrast in compared(results)),
        text_table(PUBLISHED_HEADER, published_rows(results), align=columns),
        "\n".join(conditions(results, notes)),
    ]
    return "\n\n".join(part for part in parts if part)


def to_json(results: Results, notes: Sequence[str]) -> dict[str, Any]:
    """Return the tables as the contents of a JSON file."""
    return {
        "cells": [asdict(cell) | {"rate": cell.rate} for cell in cells(results)],
        "contrasts": [asdict(contrast) for contrast in compared(results)],
        "published": [asdict(entry) for entry in PUBLISHED],
        "conditions": conditions(results, notes),
    }
