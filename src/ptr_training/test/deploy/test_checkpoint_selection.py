"""The choice of a checkpoint: rank correlation, the rule for each agent, and the files it writes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ptr_training.deploy.checkpoint_selection import main
from ptr_training.deploy.selection_rules import (
    RULES,
    Score,
    Selection,
    Trend,
    choose,
    score,
    spearman,
)
from ptr_training.errors import TrainingError
from ptr_training.training.train import finetune


@pytest.fixture(params=["cql", "bc"])
def run(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    preset_values: dict[str, Any],
    make_store,
) -> Path:
    values = preset_values
    if request.param == "bc":
        values["agent"] = {"name": "bc", "lr": 1e-3}
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(values))
    target = make_store("target", tasks=("new",), per_task=4)
    finetune(
        [
            "--config",
            str(tmp_path / "preset.yaml"),
            "--target",
            str(target),
            "--out",
            str(tmp_path / request.param),
        ]
    )
    return tmp_path / request.param


def test_correlation_is_one_for_any_rising_sequence() -> None:
    assert spearman(np.array([0.0, 0.1, 5.0, 900.0])) == pytest.approx(1.0)
    assert spearman(-np.arange(5.0)) == pytest.approx(-1.0)
    assert spearman(np.ones(5)) == 0.0
    assert np.isnan(spearman(np.array([1.0, np.nan])))


def test_correlation_is_that_of_the_textbook() -> None:
    # no ties: 1 - 6 sum d^2 / (n (n^2 - 1)), ranks 2 1 4 3 against 1 2 3 4
    assert spearman(np.array([20.0, 10.0, 40.0, 30.0])) == pytest.approx(
        1 - 6 * 4 / (4 * 15)
    )
    assert spearman(np.array([1.0, 1.0, 2.0])) == pytest.approx(
        np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1]
    )


def test_score_takes_the_smaller_head() -> None:
    q = np.stack([np.arange(4.0), -np.arange(4.0)], 1)
    result = score(5, [Trend("a", q, np.full(4, 0.5), np.full(4, 2.0))])
    assert (result.step, result.error, result.td_error) == (5, 0.5, 2.0)
    assert result.spearman == pytest.approx(-1.0)
    assert result.rising == 0.0


def test_every_rule_has_its_own_choice_and_a_note_says_so() -> None:
    scores = [
        Score(1, 0.2, 0.1, 0.5, 0.1, 3.0),
        Score(2, 0.9, 0.1, 0.5, 0.4, 2.0),
        Score(3, 0.7, 0.1, 0.5, 0.2, 1.0),
    ]
    choices = {rule: choose(scores, rule) for rule in RULES}
    assert {rule: each.step for rule, each in choices.items()} == {
        "q_trend": 2,
        "error": 1,
        "td_error": 3,
    }
    selection = Selection(scores, choices, "q_trend")
    assert "q_trend takes step 2 (error: step 1, td_error: step 3)" in selection.note
    assert not Selection(scores[:1], dict.fromkeys(RULES, scores[0]), "error").note


def test_of_trends_that_cannot_be_told_apart_the_latest_is_chosen() -> None:
    scores = [
        Score(1, 0.9, 0.1, 0.5, 0.1),
        Score(2, 0.81, 0.3, 0.5, 0.4),
        Score(3, 0.79, 0.3, 0.5, 0.2),
    ]
    assert choose(scores, "q_trend").step == 2


def test_standard_error_is_that_of_the_mean_over_demonstrations() -> None:
    rising, falling, error = np.arange(4.0), -np.arange(4.0), np.zeros(4)
    both = [
        Trend(name, np.stack([q] * 2, 1), error, error)
        for name, q in (("a", rising), ("b", falling))
    ]
    assert score(1, both).standard_error == pytest.approx(
        np.std([1.0, -1.0], ddof=1) / np.sqrt(2)
    )
    assert score(1, both[:1]).standard_error == 0.0


def test_a_checkpoint_that_saw_no_demonstration_is_never_chosen() -> None:
    scores = [Score(0, 0.9, 0.1, 0.5, 0.1), Score(1, 0.2, 0.1, 0.5, 0.4)]
    assert {choose(scores, rule).step for rule in ("q_trend", "error")} == {1}


def test_selection_writes_trend_plot_and_choice(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(run)])
    assert "<- chosen" in capsys.readouterr().out
    choice = json.loads((run / "select" / "choice.json").read_text())
    scores = json.loads((run / "select" / "q_trend.json").read_text())
    assert [each["step"] for each in scores] == [0, 2, 4]
    assert choice["step"] in (0, 2, 4)
    assert ("squared error" in choice["rule"]) == (run.name == "bc")
    assert set(choice["choices"]) == ({"error"} if run.name == "bc" else set(RULES))
    rows = list(csv.DictReader((run / "select" / "q_trend.csv").open()))
    assert len(rows) == 3 * 8  # checkpoints x steps of the one held-out demonstration
    assert (run / "select" / "q_trend.png").read_bytes().startswith(b"\x89PNG")


def test_asked_rule_decides(run: Path) -> None:
    if run.name == "bc":
        with pytest.raises(
            TrainingError, match="--rule q_trend needs a critic, which agent bc has not"
        ):
            main([str(run), "--rule", "q_trend"])
    else:
        main([str(run), "--rule", "td_error"])
        assert (
            "TD error" in json.loads((run / "select" / "choice.json").read_text())["rule"]
        )


def test_another_store_is_refused(run: Path, make_store) -> None:
    with pytest.raises(TrainingError, match="is not the store this run trained on"):
        main([str(run), "--target", str(make_store("other", tasks=("new",), per_task=5))])


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="neither a checkpoint nor a run folder"):
        main([str(tmp_path)])


def test_a_critic_that_has_just_begun_to_learn_is_no_candidate() -> None:
    rising = [
        Score(1, 0.9, 0.0, 0.9, 0.3, 0.0, critic_steps=40),
        Score(2, 0.4, 0.0, 0.6, 0.2, 0.1, critic_steps=100),
    ]
    for rule in ("q_trend", "td_error"):
        assert choose(rising, rule).step == 2
    half = [replace(rising[0], critic_steps=50), rising[1]]
    assert choose(half, "q_trend").step == choose(half, "td_error").step == 1
