"""Success of every checkpoint: by hand, written and read, and runs without checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptr_training.deploy.selection_rules import Score, Selection
from widowx_bringup.evaluation.checkpoint_rates import (
    CheckpointError,
    CheckpointRates,
    checkpoint_methods,
    rates_of,
    read,
    table,
    write,
)


def score(step: int, spearman: float, error: float) -> Score:
    """Return the score of a checkpoint."""
    return Score(step, spearman, 0.1, 0.8, error)


@pytest.fixture
def rates() -> CheckpointRates:
    """Return the success of three checkpoints: 1, 3 and 2 of 4 scenes."""
    scores = [score(10, 0.2, 0.3), score(20, 0.9, 0.2), score(30, 0.7, 0.1)]
    choices = {"q_trend": scores[1], "error": scores[2]}
    solved = {
        30: [True, False, True, False],
        10: [False, True, False, False],
        20: [True, True, False, True],
    }
    return rates_of(Path("run"), solved, Selection(scores, choices, "q_trend"))


def test_choices_have_the_success_of_their_checkpoints(rates: CheckpointRates) -> None:
    assert rates.steps == (10, 20, 30)
    assert rates.rates == (0.25, 0.75, 0.5)
    assert rates.spearman == (0.2, 0.9, 0.7)
    assert rates.choices == {
        "best": 0.75,
        # even scenes: 0, 0.5, 1: step 30, 0 of the odd ones; odd: 0.5, 1, 0: step 20, 0.5
        "best, cross-validated": 0.25,
        "q_trend": 0.75,
        "error": 0.5,
        "last": 0.5,
        "mean of all": 0.5,
    }


def test_what_is_written_is_read(tmp_path: Path, rates: CheckpointRates) -> None:
    write(tmp_path, [rates])
    assert read(tmp_path) == [rates]
    assert (tmp_path / "checkpoints.png").read_bytes().startswith(b"\x89PNG")
    assert read(tmp_path / "nothing") == []


def test_shortfalls_are_points_below_the_best_of_each_run(rates: CheckpointRates) -> None:
    other = CheckpointRates(
        Path("other"),
        rates.steps,
        rates.spearman,
        rates.rates,
        {**rates.choices, "q_trend": 0.65},
    )
    lines = table([rates, other]).splitlines()
    mean = next(line for line in lines if line.startswith("mean shortfall"))
    assert mean.split()[2:5] == ["0.0", "50.0", "5.0"]


def test_a_run_without_trained_checkpoints_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no trained checkpoint"):
        checkpoint_methods(tmp_path, tmp_path / "bundles")
