"""CQL's hyper-parameters: returns that can occur, and settings that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ptr_training.agents.cql_config import CQLConfig
from ptr_training.errors import TrainingError


def test_possible_returns_are_those_of_never_and_of_now() -> None:
    assert CQLConfig().possible_returns == pytest.approx((-1.0 / 0.04, 10.0))
    text = CQLConfig(reward_scale=1.0, reward_shift=0.0, discount=0.5)
    assert text.possible_returns == (0.0, 1.0)
    upside_down = CQLConfig(reward_scale=-3.0, reward_shift=1.0, discount=0.5)
    assert upside_down.possible_returns == (-2.0, 2.0)


def test_summary_names_the_departures_of_the_actor() -> None:
    assert CQLConfig().summary == (
        "conservative Q-learning (v3, α = 10); actor's loss: T log π - Q"
    )
    assert CQLConfig(bc_weight=2.0, clone_steps=5).summary.endswith(
        "T log π - Q + 2 x squared error to the demonstrated action, "
        "after a warm start of 5 steps of behaviour cloning"
    )
    assert CQLConfig(act="best_of_n", act_samples=1).summary.endswith(
        "T log π - Q; acts by the critic, which chooses from the mode's motion, and the gripper"
    )


@pytest.mark.parametrize("terminal", ["rewarded", "last"])
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_every_form_is_accepted(terminal: str, version: str) -> None:
    config = CQLConfig(terminal=terminal, min_q_version=version)
    assert (config.terminal, config.min_q_version) == (terminal, version)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_q_version": "v4"}, "agent.min_q_version is 'v4'; it must be v1, v2 or v3"),
        ({"terminal": "end"}, r"agent.terminal is 'end'; it must be rewarded or last"),
        ({"shared_encoder": True, "independent_encoders": True}, "exclude each other"),
        ({"terminal": "last", "clamp_target": True}, r"only with agent.terminal=rewarded"),
        (
            {"value_loss": "c51"},
            "agent.value_loss is 'c51'; it must be squared or hl_gauss",
        ),
        (
            {"value_loss": "hl_gauss", "terminal": "last"},
            "only with agent.terminal=rewarded",
        ),
        (
            {"value_loss": "hl_gauss", "reward_scale": 0.0, "reward_shift": 0.0},
            "every return is 0; change agent.reward_scale",
        ),
        ({"value_bins": 8}, "agent.value_bins is 8; it must be at least 9"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        CQLConfig(**change)
