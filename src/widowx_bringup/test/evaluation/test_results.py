"""Results of rollouts: intervals, summaries, files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widowx_bringup.evaluation.results import (
    ResultsError,
    Rollout,
    paired_test,
    read_results,
    summarise,
    table,
    wilson_interval,
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


def test_wilson_interval_agrees_with_published_values() -> None:
    # Newcombe 1998, table I, method 3: 81/263 and 15/148
    np.testing.assert_allclose(wilson_interval(81, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(15, 148), (0.0624, 0.1605), atol=5e-5)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_interval_holds_the_observed_rate(a: int, b: int) -> None:
    successes, trials = min(a, b), max(a, b)
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= high <= 1
    if trials:
        assert low <= successes / trials <= high


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


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("111110", "000010", (4, 0, 0.125)),  # 2 / 2^4
        ("1100", "0110", (1, 1, 1.0)),
        ("1010", "1010", (0, 0, 1.0)),
        ("11111111110", "00000000001", (10, 1, 2 * (1 + 11) / 2**11)),
    ],
)
def test_paired_test_by_hand(
    first: str, second: str, expected: tuple[int, int, float]
) -> None:
    solved = [[letter == "1" for letter in each] for each in (first, second)]
    assert paired_test(*solved) == pytest.approx(expected)
