"""What `ptr select` shows and writes: a table, a plot, and the values behind them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptr_common.files import atomic_file
from ptr_common.text_table import text_table

from .selection_rules import RULES, Score, Selection, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES = ("q_trend.csv", "q_trend.json", "q_trend.png", "choice.json")

_ERROR_LABELS = {
    "error": "held-out squared error",
    "td_error": "held-out squared TD error",
}


def write_report(
    folder: Path, selection: Selection, trends: Mapping[int, Sequence[Trend]]
) -> None:
    """Write `FILES`.

    Args:
        folder: Where to write them.
        selection: The choice and its scores.
        trends: The trends of every checkpoint, by step.
    """
    _write_csv(folder / "q_trend.csv", trends)
    scores = [_json_values(score) for score in selection.scores]
    _write_json(folder / "q_trend.json", scores)
    plot(folder / "q_trend.png", trends, selection)
    steps = {}
    for rule, choice_of_rule in selection.choices.items():
        steps[rule] = choice_of_rule.step
    choice = {
        **_json_values(selection.best),
        "rule": RULES[selection.rule],
        "choices": steps,
        "demonstrations": len(trends[selection.best.step]),
        "evidence": selection.evidence,
    }
    _write_json(folder / "choice.json", choice)


def table(selection: Selection) -> str:
    """Return the values of every checkpoint for a terminal, a star at each rule's choice."""
    header = ("step", "Spearman", "± s.e.", "rising", "error", "TD error", "")
    rows = [_table_row(selection, score) for score in selection.scores]
    lines = [text_table(header, rows, align="rrrrrrl"), selection.evidence, selection.note]
    return "\n".join(filter(None, lines))


def _table_row(selection: Selection, score: Score) -> tuple[str, ...]:
    stars = {}
    for rule in RULES:
        stars[rule] = "*" if selection.choices.get(rule) is score else " "
    return (
        str(score.step),
        f"{score.spearman:.3f}{stars['q_trend']}",
        "–" if math.isnan(score.standard_error) else f"{score.standard_error:.3f}",
        f"{score.rising:.2f}",
        f"{score.error:.4f}{stars['error']}",
        f"{score.td_error:.4f}{stars['td_error']}",
        "<- chosen" if score is selection.best else "",
    )


def plot(path: Path, trends: Mapping[int, Sequence[Trend]], selection: Selection) -> None:
    """Draw what the deciding rule compares.

    For q_trend this is Q over time, a panel for each checkpoint (paper, figure 16); for the
    other rules it is their error over the steps.
    """
    by_q = selection.rule == "q_trend"
    figure = _q_panels(trends, selection) if by_q else _error_curve(selection)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _error_curve(selection: Selection) -> Figure:
    from matplotlib.figure import Figure  # slow to import

    rule, best = selection.rule, selection.best
    steps = [score.step for score in selection.scores]
    errors = [getattr(score, rule) for score in selection.scores]
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, errors, "o-")
    ring = axes.plot(best.step, getattr(best, rule), "o", label="chosen")[0]
    ring.set(markersize=12, markerfacecolor="none", color="tab:red")
    axes.set(xlabel="fine-tuning step", ylabel=_ERROR_LABELS[rule], ylim=(0, None))
    axes.legend()
    return figure


def _q_panels(trends: Mapping[int, Sequence[Trend]], selection: Selection) -> Figure:
    from matplotlib.figure import Figure  # slow to import

    count = len(selection.scores)
    columns = min(5, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(2.4 * columns, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, score in zip(grid, selection.scores, strict=False):
        is_chosen = score is selection.best
        _draw_q_panel(axes, score, trends[score.step], is_chosen=is_chosen)
    for axes in grid[count:]:
        axes.set_axis_off()
    figure.supxlabel("time step of a held-out demonstration", fontsize=9)
    figure.supylabel("min Q of the demonstrated action", fontsize=9)
    return figure


def _draw_q_panel(
    axes: Axes, score: Score, trends: Sequence[Trend], *, is_chosen: bool
) -> None:
    for trend in trends:
        axes.plot(trend.q.min(axis=1), lw=1.2)
    suffix = " (chosen)" if is_chosen else ""
    axes.set_title(
        f"step {score.step}{suffix}\nSpearman {score.spearman:.2f}",
        fontsize=9,
        color="tab:red" if is_chosen else "black",
    )
    axes.tick_params(labelsize=7)


def _write_csv(path: Path, trends: Mapping[int, Sequence[Trend]]) -> None:
    """Write a line for every checkpoint, demonstration and time step."""
    with atomic_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["checkpoint", "episode", "t", "q1", "q2", "squared_error", "td_error"]
        )
        for step, trends_of_step in trends.items():
            for trend in trends_of_step:
                writer.writerows(_csv_rows(step, trend))


def _csv_rows(step: int, trend: Trend) -> list[list[object]]:
    rows: list[list[object]] = []
    for t, (q1, q2) in enumerate(trend.q):
        values = (q1, q2, trend.error[t], trend.td_error[t])
        rows.append([step, trend.episode, t, *(f"{value:.6g}" for value in values)])
    return rows


def _json_values(score: Score) -> dict[str, float | None]:
    """Return a score for JSON, which knows no NaN."""
    values = asdict(score)
    for name, value in values.items():
        if math.isnan(value):
            values[name] = None
    return values


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
