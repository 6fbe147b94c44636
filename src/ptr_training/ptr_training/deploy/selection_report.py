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
from ptr_common.text_table import cell, text_table
from ptr_training.training.trends import Trend

from .selection_rules import RULES, Score, Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES = ("q_trend.csv", "q_trend.json", "q_trend.png", "choice.json")
"""Files of every selection; one of a critic with a binary gripper has `GRIPPER_PLOT` too."""

GRIPPER_PLOT = "q_gripper.png"

SHOWN = 4
"""Most demonstrations in the plot of the gripper."""

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
    plot_gripper(folder / GRIPPER_PLOT, trends[selection.best.step])
    steps = {}
    for rule, choice_of_rule in selection.choices.items():
        steps[rule] = choice_of_rule.step
    choice = {
        **_json_values(selection.best),
        "rule": selection.reason,
        "choices": steps,
        "demonstrations": len(trends[selection.best.step]),
        "evidence": selection.evidence,
    }
    _write_json(folder / "choice.json", choice)


def table(selection: Selection) -> str:
    """Return the values of every checkpoint for a terminal, a star at each rule's choice."""
    header = (
        "step", "Spearman", "± s.e.", "rise", "above", "inside", "error", "TD error", ""
    )  # fmt: skip
    rows = [_table_row(selection, score) for score in selection.scores]
    text = text_table(header, rows, align="rrrrrrrrl")
    lines = [text, selection.evidence, selection.note]
    return "\n".join(filter(None, lines))


def _table_row(selection: Selection, score: Score) -> tuple[str, ...]:
    stars = {}
    for rule in RULES:
        stars[rule] = "*" if selection.choices.get(rule) is score else " "
    return (
        str(score.step),
        f"{score.spearman:.3f}{stars['q_trend']}",
        "–" if math.isnan(score.standard_error) else f"{score.standard_error:.3f}",
        _share(score.rise, score),
        _share(score.above, score),
        _share(score.inside, score),
        f"{score.error:.4f}{stars['error']}",
        f"{score.td_error:.4f}{stars['td_error']}",
        "<- chosen" if score is selection.best else "",
    )


def _share(value: float, score: Score) -> str:
    """Return a share in percent, which says nothing without critic."""
    return "–" if math.isnan(score.spearman) else f"{value:.0%}"


def plot(path: Path, trends: Mapping[int, Sequence[Trend]], selection: Selection) -> None:
    """Draw what the deciding rule compares.

    For q_trend this is Q over time, a panel for each checkpoint (paper, figure 16); for the
    other rules it is their error over the steps.
    """
    by_q = selection.rule == "q_trend"
    figure = _q_panels(trends, selection) if by_q else _error_curve(selection)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def plot_gripper(path: Path, trends: Sequence[Trend]) -> None:
    """Draw what the critic thinks of closing the gripper, and how likely the policy does it.

    Args:
        path: The picture; an old one is removed where no trend has a binary gripper.
        trends: Of one checkpoint.
    """
    from matplotlib.figure import Figure  # slow to import

    shown = [trend for trend in trends if trend.gripper is not None][:SHOWN]
    if not shown:
        path.unlink(missing_ok=True)
        return
    figure = Figure(figsize=(3.2 * len(shown), 4), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False, sharex=True, sharey="row")
    for column, trend in enumerate(shown):
        _draw_gripper(list(grid[:, column]), trend)
    grid[0, 0].set_ylabel("min Q(closed) - min Q(open)", fontsize=8)
    grid[1, 0].set_ylabel("probability of closing, policy", fontsize=8)
    figure.supxlabel(
        "time step of a held-out demonstration; grey: the gripper was closed", fontsize=9
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _draw_gripper(axes: Sequence[Axes], trend: Trend) -> None:
    """Draw one demonstration into an upper and a lower panel."""
    assert trend.gripper is not None
    opened, closed, probability, demonstrated = trend.gripper.T
    time = range(len(opened))
    for each in axes:
        is_closed = demonstrated < 0.5
        each.fill_between(
            time, 0, 1, where=is_closed, step="mid", color="0.88",
            transform=each.get_xaxis_transform(),
        )  # fmt: skip
        each.tick_params(labelsize=7)
    axes[0].axhline(0.0, color="0.6", lw=0.8)
    axes[0].plot(time, closed - opened, color="tab:red", lw=1.4)
    axes[1].plot(time, 1.0 - probability, color="tab:blue", lw=1.4)
    axes[1].set_ylim(-0.02, 1.02)


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
        rows.append([step, cell(trend.episode), t, *(f"{value:.6g}" for value in values)])
    return rows


def _json_values(score: Score) -> dict[str, Any]:
    """Return a score for JSON, which knows no NaN."""
    values = asdict(score)
    correlations = values.pop("correlations")
    for name, value in values.items():
        if math.isnan(value):
            values[name] = None
    values["correlations"] = [None if math.isnan(each) else each for each in correlations]
    return values


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
