"""Results of rollouts: intervals, summaries, files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from widowx_bringup.evaluation.results import (
    ResultsError,
    Rollout,
    contrasts,
    read_results,
    results_text,
    summarise,
    table,
    write_results,
)


def rollout(method: str, index: int, success: bool) -> Rollout:
    return Rollout(
        method,
        index,
        100 + index,
        "put a in b",
        success,
        20,
        4.0,
        1,
        0,
        2,
        "solved",
        "",
        f"{index}.jpg",
    )


def test_summary_counts_each_method_apart() -> None:
    rows = [rollout("ptr", 0, True), rollout("bc", 0, False), rollout("ptr", 1, False)]
    ptr, bc = summarise(rows)
    assert (ptr.method, ptr.successes, ptr.rollouts, ptr.rate) == ("ptr", 1, 2, 0.5)
    assert (bc.successes, bc.rollouts) == (0, 1)
    assert math.isnan(bc.mean_steps)
    assert "ptr" in table([ptr, bc])
    assert "1/2" in table([ptr, bc])


def test_results_survive_a_round_trip(tmp_path: Path) -> None:
    rows = [rollout("ptr", 0, True), rollout("bc", 0, False)]
    write_results(tmp_path, rows, {"task": "put a in b"})
    assert read_results(tmp_path) == rows
    summary = json.loads((tmp_path / "results.json").read_text())
    assert summary["methods"][1]["mean_steps"] is None
    assert summary["about"]["task"] == "put a in b"


def test_rollouts_that_were_aborted_count_in_nothing_but_their_number() -> None:
    aborted = replace(rollout("ptr", 0, False), aborted=True, clipped=9)
    (summary,) = summarise([aborted, rollout("ptr", 0, True), aborted])
    assert (summary.successes, summary.rollouts, summary.repeated) == (1, 1, 2)
    assert (summary.rate, summary.clipped) == (1.0, 1)
    assert table([summary]).splitlines()[1].split()[-1] == "2"
    (nothing,) = summarise([aborted])
    assert (nothing.rollouts, nothing.rate, nothing.low, nothing.high) == (0, 0.0, 0.0, 1.0)


def test_tables_of_before_have_nothing_aborted_and_no_scores(tmp_path: Path) -> None:
    rows = [rollout("ptr", 0, True)]
    write_results(tmp_path, rows, {})
    lines = (tmp_path / "results.csv").read_text().splitlines()
    for columns in (1, 2):  # without scores, and without what was aborted
        old = [",".join(line.split(",")[:-columns]) for line in lines]
        (tmp_path / "results.csv").write_text("\n".join(old) + "\n")
        assert read_results(tmp_path) == rows


def test_the_mean_score_is_there_if_every_rollout_has_one_and_shown_if_it_says_more() -> (
    None
):
    half = replace(rollout("ptr", 0, False), score=0.5)
    solved = replace(rollout("ptr", 1, True), score=1.0)
    (summary,) = summarise([half, solved])
    assert summary.mean_score == 0.75
    assert table([summary]).splitlines()[1].endswith("75%")
    for rows in ([solved], [half, rollout("ptr", 1, True)]):
        assert "score" not in table(summarise(rows))


def test_scores_are_written_and_read(tmp_path: Path) -> None:
    rows = [replace(rollout("ptr", 0, False), score=0.5), rollout("ptr", 1, True)]
    write_results(tmp_path, rows, {})
    assert read_results(tmp_path) == rows


def test_foreign_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match="columns"):
        read_results(tmp_path)


def test_no_table_is_no_rollouts(tmp_path: Path) -> None:
    assert read_results(tmp_path) == []


def test_the_table_has_a_line_for_each_method_and_a_dash_without_success() -> None:
    rows = [rollout("ptr", 0, True), rollout("target-only", 0, False)]
    header, ptr, alone = table(summarise(rows)).splitlines()
    assert header.split()[:3] == ["method", "success", "rate"]
    assert ptr.split() == [
        "ptr",
        "1/1",
        "100%",
        "21%",
        "…",
        "100%",
        "20.0",
        "1",
        "0",
        "2",
        "0",
    ]
    assert alone.split()[6] == "–"


def test_methods_are_compared_on_the_scenes_that_count_for_both() -> None:
    rows = [rollout("ptr", scene, True) for scene in range(8)]
    rows += [rollout("bc", scene, scene == 0) for scene in range(9)]
    rows += [rollout("none", 0, True), replace(rollout("none", 1, False), aborted=True)]
    bc, none = contrasts(rows)
    assert (bc.comparison.won, bc.comparison.lost, bc.comparison.scenes) == (7, 0, 8)
    assert bc.p == pytest.approx(2 * 2 / 2**7)  # of two contrasts
    assert bc.sentence.startswith(
        "ptr against bc: 7 of 8 scenes were solved by ptr alone, 0 by bc"
    )
    assert bc.sentence.endswith("p = 0.03: ptr is better")
    assert none.comparison.scenes == 1
    assert none.sentence.endswith("p = 1: not resolved")
    assert bc.sentence in results_text(rows)


def test_a_single_method_is_compared_with_nothing(tmp_path: Path) -> None:
    rows = [rollout("ptr", 0, True)]
    assert contrasts(rows) == []
    assert results_text(rows) == table(summarise(rows))
    write_results(tmp_path, rows, {})
    assert json.loads((tmp_path / "results.json").read_text())["contrasts"] == []
