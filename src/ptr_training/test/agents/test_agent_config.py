"""Numbers of every agent's configuration: out of range they are refused with one sentence."""

from __future__ import annotations

import math
import re
from dataclasses import fields

import pytest

from ptr_common.cli import main
from ptr_training.agents import AGENTS
from ptr_training.errors import TrainingError
from ptr_training.models.ranges import Range
from ptr_training.training.config import from_dict, override

NUMBERS = [(name, key) for name in AGENTS for key in AGENTS[name].Config().ranges()]


def allowed(name: str, key: str) -> Range:
    """Return the range of one number of an agent."""
    return AGENTS[name].Config().ranges()[key]


@pytest.mark.parametrize("name", AGENTS)
def test_every_number_has_a_range_that_holds_its_default(name: str) -> None:
    config = AGENTS[name].Config()
    numbers = []
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers.append(field.name)
            assert config.ranges()[field.name].contains(value), field.name
    assert sorted(numbers) == sorted(config.ranges())


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_numbers_beyond_their_range_are_refused(name: str, key: str) -> None:
    is_count = isinstance(getattr(AGENTS[name].Config(), key), int)
    low, high = allowed(name, key).low, allowed(name, key).high
    wrong: list[float] = [] if is_count else [math.nan, math.inf]
    if math.isfinite(low):
        wrong.append(int(low) - 1 if is_count else low - 0.5)
    if math.isfinite(high):
        wrong.append(high + 0.5)
    for value in wrong:
        message = f"agent.{key} is {value}; it must be "
        with pytest.raises(TrainingError, match=f"^{re.escape(message)}"):
            override(from_dict({"agent": {"name": name}}), [f"agent.{key}={_yaml(value)}"])


def _yaml(value: float) -> str:
    """Return a number as YAML writes it."""
    return {"nan": ".nan", "inf": ".inf"}.get(str(value), str(value))


@pytest.mark.parametrize(
    ("name", "change", "range_text"),
    [
        ("cql", "agent.discount=1.5", "in [0, 1)"),
        ("cql", "agent.discount=1.0", "in [0, 1)"),
        ("cql", "agent.discount=-0.1", "in [0, 1)"),
        ("macaw", "agent.discount=1.0", "in [0, 1)"),
        ("cql", "agent.actor_lr=-1", "above 0"),
        ("cql", "agent.critic_lr=0", "above 0"),
        ("cql", "agent.temperature_lr=0", "above 0"),
        ("cql", "agent.clone_lr=0", "above 0"),
        ("cql", "agent.initial_temperature=0", "above 0"),
        ("cql", "agent.polyak=0", "in (0, 1]"),
        ("cql", "agent.polyak=1.1", "in (0, 1]"),
        ("cql", "agent.alpha=-1", "at least 0"),
        ("cql", "agent.bc_weight=-1", "at least 0"),
        ("cql", "agent.clone_steps=-1", "at least 0"),
        ("cql", "agent.decay_steps=-1", "at least 0"),
        ("cql", "agent.n_policy_actions=0", "at least 1"),
        ("cql", "agent.n_random_actions=0", "at least 1"),
        ("cql", "agent.n_backup_actions=0", "at least 1"),
        ("cql", "agent.n_next_actions=-1", "at least 0"),
        ("cql", "agent.n_batch_actions=-1", "at least 0"),
        ("bc", "agent.lr=0", "above 0"),
        ("awbc", "agent.lr=-1", "above 0"),
        ("awbc", "agent.temperature=0", "above 0"),
        ("awbc", "agent.n_policy_actions=0", "at least 1"),
        ("autoregressive", "agent.bins=0", "at least 1"),
        ("autoregressive", "agent.beam=0", "at least 1"),
        ("bet", "agent.window=0", "at least 1"),
        ("bet", "agent.dropout=1", "in [0, 1)"),
        ("macaw", "agent.inner_lr=0", "above 0"),
        ("macaw", "agent.max_gradient=-1", "at least 0"),
        ("mae", "agent.masked=1", "in (0, 1)"),
        ("mae", "agent.masked=0", "in (0, 1)"),
        ("mae", "agent.patch=0", "at least 1"),
    ],
)
def test_ends_of_ranges_are_where_training_would_break(
    name: str, change: str, range_text: str
) -> None:
    with pytest.raises(TrainingError, match=f"; it must be {re.escape(range_text)}$"):
        override(from_dict({"agent": {"name": name}}), [change])


@pytest.mark.parametrize(
    "change",
    ["agent.discount=0", "agent.polyak=1", "agent.alpha=0", "agent.n_next_actions=3"],
)
def test_ends_that_are_allowed_are_accepted(change: str) -> None:
    assert override(from_dict({}), [change])


def test_the_command_refuses_with_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["pretrain", "--config", "ptr", "--set", "agent.discount=1.5"]
    assert main([*arguments, "--print-config"]) != 0
    error = capsys.readouterr().err
    assert "agent.discount is 1.5; it must be in [0, 1)" in error
    assert "Traceback" not in error
