"""What `ptr select` shows and writes."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ptr_training.deploy import selection_report
from ptr_training.deploy.selection_report import (
    FILES,
    GRIPPER_PLOT,
    plot,
    plot_gripper,
    table,
    write_report,
)
from ptr_training.deploy.selection_rules import RULES, Score, Selection
from ptr_training.training.trends import Trend

NAN = float("nan")
EARLY = Score(50, 0.25, 0.125, 0.5, 0.1, 0.3, 10)
LATE = Score(100, 0.75, 0.0625, 0.625, 0.2, 0.4, 60)
CLONE = Score(50, NAN, NAN, NAN, 0.1)


def make_trends(*steps: int) -> dict[int, list[Trend]]:
    """Return two short demonstrations for each checkpoint."""
    trends = {}
    for step in steps:
        q = np.array([[step, 2.0], [3.0, 4.0 + step]])
        first = Trend("one", q, np.array([0.5, 0.25]), np.array([1.0, 2.0]))
        second = Trend("two", -q, np.array([0.125, 0.0]), np.array([3.0, NAN]))
        trends[step] = [first, second]
    return trends


@pytest.fixture
def selection() -> Selection:
    """Return a selection whose rules disagree."""
    choices = {"q_trend": LATE, "error": EARLY, "td_error": EARLY}
    return Selection([EARLY, LATE], choices, "q_trend")


def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return a list that will hold every figure that is saved."""
    figures: list[Figure] = []

    def save(figure: Figure, file: Any, **options: Any) -> None:
        figures.append(figure)
        Path(file).write_bytes(str(options).encode())

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def test_table_has_a_star_at_each_choice_and_an_arrow_at_the_best(
    selection: Selection,
) -> None:
    assert table(selection).splitlines() == [
        "step  Spearman  ± s.e.  rise  above  inside    error  TD error",
        "  50    0.250    0.125  100%   100%    100%  0.1000*   0.3000*",
        " 100    0.750*   0.062  100%   100%    100%  0.2000    0.4000   <- chosen",
        selection.note,
    ]


def test_table_says_where_there_is_no_evidence() -> None:
    vague = Score(100, 0.1, 0.1, 0.5, 0.2)
    text = table(Selection([vague], {"q_trend": vague, "error": vague}, "q_trend"))
    assert text.splitlines()[-1].startswith("no evidence: the trend of Q, 0.10 ± 0.10")


def test_table_of_an_agent_without_critic_has_no_note() -> None:
    text = table(Selection([CLONE], {"error": CLONE}, "error"))
    assert text.splitlines()[1:] == [
        "  50      nan        –     –      –       –  0.1000*      nan   <- chosen"
    ]


def test_report_holds_the_values_and_the_choice(
    selection: Selection, tmp_path: Path
) -> None:
    write_report(tmp_path, selection, make_trends(50, 100))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    assert json.loads((tmp_path / "choice.json").read_text()) == {
        "step": 100,
        "spearman": 0.75,
        "standard_error": 0.0625,
        "rising": 0.625,
        "error": 0.2,
        "td_error": 0.4,
        "critic_steps": 60,
        "rule": RULES["q_trend"],
        "choices": {"q_trend": 100, "error": 50, "td_error": 50},
        "demonstrations": 2,
        "inside": 1.0,
        "above": 1.0,
        "rise": 1.0,
        "correlations": [],
        "evidence": "",
    }
    scores = json.loads((tmp_path / "q_trend.json").read_text())
    assert [score["step"] for score in scores] == [50, 100]
    assert scores[1]["critic_steps"] == 60
    assert (tmp_path / "choice.json").read_text().endswith("\n}\n")
    assert (tmp_path / "q_trend.png").read_bytes().startswith(b"\x89PNG")


def test_missing_values_are_null_in_json(tmp_path: Path) -> None:
    selection = Selection([CLONE], {"error": CLONE}, "error")
    write_report(tmp_path, selection, make_trends(50))
    (values,) = json.loads((tmp_path / "q_trend.json").read_text())
    assert values["spearman"] is values["td_error"] is values["rising"] is None
    assert values["error"] == 0.1


def test_csv_has_a_line_for_every_time_step(selection: Selection, tmp_path: Path) -> None:
    write_report(tmp_path, selection, make_trends(50, 100))
    with (tmp_path / "q_trend.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [
        "checkpoint",
        "episode",
        "t",
        "q1",
        "q2",
        "squared_error",
        "td_error",
    ]
    assert rows[1:5] == [
        ["50", "one", "0", "50", "2", "0.5", "1"],
        ["50", "one", "1", "3", "54", "0.25", "2"],
        ["50", "two", "0", "-50", "-2", "0.125", "3"],
        ["50", "two", "1", "-3", "-54", "0", "nan"],
    ]
    assert [row[0] for row in rows[5:]] == ["100"] * 4


def test_csv_rounds_to_six_digits(selection: Selection, tmp_path: Path) -> None:
    q = np.array([[1 / 3, 2e7 / 3]])
    trend = Trend("one", q, np.array([2 / 3]), np.array([1e-7 / 3]))
    write_report(tmp_path, selection, {50: [trend], 100: [trend]})
    last = (tmp_path / "q_trend.csv").read_text().splitlines()[-1]
    assert last == "100,one,0,0.333333,6.66667e+06,0.666667,3.33333e-08"


def draw(
    selection: Selection,
    trends: Mapping[int, Sequence[Trend]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Figure:
    """Return the figure that `plot` saves."""
    figures = saved_figures(monkeypatch)
    plot(folder / "plot.png", trends, selection)
    (figure,) = figures
    assert (folder / "plot.png").read_text() == str({"format": "png", "dpi": 110})
    return figure


def test_plot_of_q_has_a_panel_for_each_checkpoint(
    selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = draw(selection, make_trends(50, 100), tmp_path, monkeypatch)
    early, late = figure.axes
    assert early.get_title() == "step 50\nSpearman 0.25"
    assert late.get_title() == "step 100 (chosen)\nSpearman 0.75"
    assert (early.title.get_color(), late.title.get_color()) == ("black", "tab:red")
    # the smaller head of each demonstration
    np.testing.assert_array_equal(early.lines[0].get_ydata(), [2.0, 3.0])
    np.testing.assert_array_equal(early.lines[1].get_ydata(), [-50.0, -54.0])
    np.testing.assert_array_equal(late.lines[0].get_ydata(), [2.0, 3.0])
    assert early.get_shared_x_axes().joined(early, late)


@pytest.mark.parametrize(
    ("count", "shape", "size"),
    [(1, (1, 1), (2.4, 2.2)), (5, (1, 5), (12.0, 2.2)), (6, (2, 5), (12.0, 4.4))],
)
def test_panels_stand_in_rows_of_five(
    count: int,
    shape: tuple[int, int],
    size: tuple[float, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = [Score(step, 0.5, 0.0, 0.5, 0.1, 0.1) for step in range(1, count + 1)]
    selection = Selection(scores, {"q_trend": scores[0]}, "q_trend")
    trends = make_trends(*range(1, count + 1))
    figure = draw(selection, trends, tmp_path, monkeypatch)
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape
    assert tuple(figure.get_size_inches()) == pytest.approx(size)
    assert [axes.axison for axes in figure.axes] == [
        index < count for index in range(len(figure.axes))
    ]


@pytest.mark.parametrize(
    ("rule", "label", "errors"),
    [
        ("error", "held-out squared error", [0.1, 0.2]),
        ("td_error", "held-out squared TD error", [0.3, 0.4]),
    ],
)
def test_plot_of_an_error_marks_the_chosen_step(
    rule: str,
    label: str,
    errors: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    selection = Selection([EARLY, LATE], {rule: LATE}, rule)
    figure = draw(selection, make_trends(50, 100), tmp_path, monkeypatch)
    (axes,) = figure.axes
    curve, ring = axes.lines
    np.testing.assert_array_equal(curve.get_xdata(), [50, 100])
    np.testing.assert_array_equal(curve.get_ydata(), errors)
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([100], [errors[1]])
    assert ring.get_label() == "chosen"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("fine-tuning step", label)
    assert axes.get_ylim()[0] == 0.0
    assert axes.get_legend() is not None


def test_plot_of_the_gripper_has_both_opinions_for_each_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns: min Q of open, of closed, probability of open, demonstrated open."""
    gripper = np.array([[0.5, 0.25, 0.75, 1.0], [0.5, 1.0, 0.25, 0.0]])
    trend = Trend("a", np.ones((2, 2)), np.zeros(2), np.zeros(2), gripper=gripper)
    figures = saved_figures(monkeypatch)
    path = tmp_path / GRIPPER_PLOT
    plot_gripper(path, [trend] * 6)
    upper, lower = figures[0].axes[0], figures[0].axes[4]
    assert len(figures[0].axes) == 8  # four demonstrations at most
    np.testing.assert_array_equal(upper.lines[1].get_ydata(), [-0.25, 0.5])
    np.testing.assert_array_equal(lower.lines[0].get_ydata(), [0.25, 0.75])
    plot_gripper(path, [replace(trend, gripper=None)])
    assert not path.exists()  # that of an earlier choice is gone


def test_every_error_rule_has_a_label() -> None:
    assert set(selection_report._ERROR_LABELS) == set(RULES) - {"q_trend"}
    assert not math.isnan(EARLY.error)
