"""Tables of the benchmark: counts with intervals, pairs over tasks, published rates, conditions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from widowx_bringup.benchmark.published import PUBLISHED
from widowx_bringup.benchmark.rollout import STAGES, plan
from widowx_bringup.benchmark.tables import (
    cells,
    compared,
    conditions,
    published_rows,
    report_text,
    results_table,
)
from widowx_bringup.benchmark.tasks import TASKS
from widowx_bringup.evaluation.results import Rollout


def rollouts(method: str, task: str, stages: list[int]) -> list[Rollout]:
    """Return rollouts that came so far, by the index of their stage."""
    rows = []
    for scene, stage in enumerate(stages):
        row = plan(method, task, scene)
        rows.append(replace(row, stage=STAGES[stage], success=stage == 3, steps=20 + scene))
    return rows


RESULTS = {
    "spoon": [*rollouts("a", "spoon", [3] * 24), *rollouts("b", "spoon", [0] * 24)],
    "carrot": [*rollouts("a", "carrot", [3, 2, 1, 0]), *rollouts("b", "carrot", [0] * 4)],
}


def test_a_rate_has_its_interval_and_what_was_reached() -> None:
    found = {(cell.policy, cell.task): cell for cell in cells(RESULTS)}
    carrot = found["a", "carrot"]
    assert (carrot.solved, carrot.once, carrot.held, carrot.rollouts) == (1, 2, 3, 4)
    assert carrot.steps == pytest.approx(20.5)  # of both that were solved at some step
    assert carrot.low < 0.25 < carrot.high
    assert found["a", "all"].solved == 25
    assert found["b", "spoon"].steps is None
    assert "24/24  100%" in results_table(RESULTS)


def test_policies_are_compared_on_the_scenes_of_all_tasks() -> None:
    (contrast,) = compared(RESULTS)
    assert contrast.comparison.scenes == 28
    assert (contrast.comparison.won, contrast.comparison.lost) == (25, 0)
    assert contrast.sentence.endswith("a is better")


def test_published_rates_stand_below_ours_with_their_source() -> None:
    rows = published_rows(RESULTS)
    assert rows[0] == ("a", "100.0", "25.0", "–", "–", "89.3*", "this run")
    assert ("Octo-small", "47.2", "9.7", "4.2", "56.9", "29.5") in [row[:6] for row in rows]
    assert all(row[-1] for row in rows)


def test_a_published_mean_is_that_of_its_tasks() -> None:
    for entry in PUBLISHED:
        assert set(entry.rates) in ({task.name for task in TASKS}, set())
        if entry.rates:
            assert sum(entry.rates.values()) / 4 == pytest.approx(entry.mean, abs=0.15)


def test_what_was_replaced_or_missing_stands_below_every_table() -> None:
    text = report_text(RESULTS, ["carrot: replaced the mesh of the table"])
    assert "carrot: replaced the mesh of the table" in text
    assert "not all 24 scenes" in text
    assert "* mean of fewer than the four tasks" in text
    full = {task.name: rollouts("a", task.name, [3] * 24) for task in TASKS}
    lines = "\n".join(conditions(full, []))
    assert "not all" not in lines
    assert "* mean" not in lines
    assert "75 trials" in lines
