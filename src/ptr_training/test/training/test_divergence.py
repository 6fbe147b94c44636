"""Divergence: when a Q outside of the possible returns ends a run, and what the run says then."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from ptr_training.agents.cql_config import CQLConfig
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import list_checkpoints
from ptr_training.training.config import load_config
from ptr_training.training.divergence import (
    LOGS,
    distance_outside,
    good_until,
    is_diverging,
)
from ptr_training.training.train import pretrain

RETURNS = (-2.0, 8.0)
FAR = [20.0, 21.0, 30.0, 40.0, 50.0]


@pytest.mark.parametrize(
    ("q", "distance"), [(-2.0, 0.0), (8.0, 0.0), (3.0, 0.0), (18.0, 1.0), (-7.0, 0.5)]
)
def test_distance_is_in_ranges_of_the_possible_returns(q: float, distance: float) -> None:
    assert distance_outside(q, RETURNS) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("q", "diverges"),
    [
        (FAR, True),
        ([-q for q in FAR], True),
        ([5.0, 1.0, *FAR], True),
        (FAR[1:], False),  # not long enough
        ([18.0, *FAR[1:]], False),  # one of them is outside by its range, not by more
        ([50.0] * LOGS, False),  # it has settled
        (FAR[::-1], False),  # it comes back
        ([*FAR[:-1], 39.0], False),  # not the farthest of them
        ([20.0, 60.0, 30.0, 40.0, 61.0], True),  # it need not grow at every log
        ([900.0, *FAR], True),  # what was longer ago does not count
        ([], False),
    ],
)
def test_q_diverges_if_it_is_far_outside_for_long_and_still_grows(
    q: list[float], diverges: bool
) -> None:
    assert is_diverging(q, RETURNS) == diverges


def test_the_last_good_step_is_the_log_before_q_left() -> None:
    logged = [2, 4, 6, 8, 10, 12]
    history = [(6, 50.0), (8, 3.0), (10, 20.0), (12, 30.0)]
    assert good_until(history, logged, RETURNS) == 8
    assert good_until(history[2:], logged, RETURNS) == 8  # cloning came before
    assert good_until(history[:2], logged, RETURNS) == 12
    assert good_until([(2, 20.0)], [2], RETURNS) == 0


@pytest.mark.parametrize(
    ("changes", "above", "advice"),
    [
        (
            {},
            True,
            "clamp_target=true or a smaller agent.critic_lr or a larger agent.alpha",
        ),
        ({"clamp_target": True}, True, "a smaller agent.critic_lr or a larger agent.alpha"),
        (
            {"clamp_target": True},
            False,
            "a smaller agent.critic_lr or a smaller agent.alpha",
        ),
        ({"min_q_version": "v1"}, False, "a smaller agent.alpha or agent.min_q_version=v3"),
        ({"min_q_version": "v1"}, True, "a larger agent.alpha"),
    ],
)
def test_advice_depends_on_the_direction_and_on_the_version(
    changes: dict[str, object], above: bool, advice: str
) -> None:
    text = CQLConfig(**changes).advice(above=above)  # type: ignore[arg-type]
    assert advice in text
    assert ("min_q_version" in text) == ("v1" in changes.values() and not above)


@pytest.mark.parametrize(
    ("preset", "reaction"),
    [
        *((name, "warn") for name in ("ptr", "paper_text", "conservative_v1", "r3m_cql")),
        *(
            (name, "stop")
            for name in ("demo_ptr", "demo_cql", "hybrid", "weighted", "small")
        ),
    ],
)
def test_presets_of_the_paper_go_on_and_ours_stop(preset: str, reaction: str) -> None:
    weights = ["network.weights=model.pt"] if preset == "r3m_cql" else []
    assert load_config(preset, weights).on_divergence == reaction


def test_an_unknown_reaction_is_refused(preset: str) -> None:
    with pytest.raises(
        TrainingError, match="on_divergence is 'ask'; it must be stop or warn"
    ):
        load_config(preset, ["on_divergence=ask"])


@pytest.fixture
def wild(tmp_path: Path, preset: str, make_store) -> list[str]:
    """Return the command of a run whose critic diverges after cloning."""
    changes = ["clone_steps=10", "critic_lr=10.0", "alpha=1.0"]
    words = ["--config", preset, "--data", str(make_store("prior")), "--steps", "60"]
    for change in [*(f"agent.{change}" for change in changes), "pretrain.keep=1"]:
        words += ["--set", change]
    return words


def test_a_run_that_diverges_stops_by_name_and_keeps_what_is_good(
    tmp_path: Path, wild: list[str]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError) as stopped:
        pretrain([*wild, "--out", str(run)])
    message = str(stopped.value)
    found = re.match(
        r"training has diverged at step (\d+): q_data, the mean Q of demonstrated actions, is "
        r"(\S+), where returns that can occur are -25 to 10; .*for 5 logs and still grows\. "
        rf"The newest checkpoint from before is {run}/checkpoints/step_9.pt\. "
        r"Change in a new run: agent\.clamp_target=true or .*; on_divergence=warn goes on",
        message,
    )
    assert found, message
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert rows[-1]["step"] == found[1]  # the log shows it, and no checkpoint has it
    assert float(rows[-1]["q_data"]) == pytest.approx(float(found[2]), rel=1e-3)
    kept = list(list_checkpoints(run))
    assert kept[0] == 9
    assert kept[-1] < int(found[1])


def test_a_run_that_is_to_go_on_only_warns(
    tmp_path: Path, wild: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    pretrain([*wild, "--out", str(run), "--set", "on_divergence=warn"])
    assert capsys.readouterr().err.count("Q diverges: its mean over demonstrated") == 1
    assert list(list_checkpoints(run)) == [60]
