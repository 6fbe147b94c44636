"""`ptr select` as a user runs it, and how a checkpoint is evaluated on a demonstration."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from conftest import write_toy_store
from ptr_training.data.batch import Sampling
from ptr_training.data.store import EpisodeStore
from ptr_training.deploy.checkpoint_selection import (
    held_out,
    main,
    select,
)
from ptr_training.deploy.selection_rules import RULES
from ptr_training.errors import TrainingError
from ptr_training.training.build import restore_agent
from ptr_training.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from ptr_training.training.train import finetune
from ptr_training.training.trends import evaluate

TINY = {
    "network": {"encoder": "small", "latent": 16, "hidden": [16], "spatial_features": 2},
    "augment": {"shift": 1, "jitter": False},
    "finetune": {"steps": 4, "checkpoint_every": 2, "holdout": 2},
    "batch_size": 8,
    "threads": 1,
}
CQL = {"name": "cql", "shared_encoder": True, "clone_steps": 1}


def train(folder: Path, agent: dict[str, Any]) -> Path:
    """Train an agent on four demonstrations of eight steps, two of them held out."""
    store = write_toy_store(folder / "target", tasks=("new",), per_task=4)
    preset = folder / "preset.yaml"
    preset.write_text(yaml.safe_dump({**TINY, "agent": agent}))
    run = folder / "run"
    finetune(["--config", str(preset), "--target", str(store), "--out", str(run)])
    return run


@pytest.fixture(scope="module")
def ptr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of an agent with a critic."""
    return train(tmp_path_factory.mktemp("ptr"), CQL)


@pytest.fixture(scope="module")
def bc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of an agent without critic."""
    return train(tmp_path_factory.mktemp("bc"), {"name": "bc", "lr": 1e-3})


def choice_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "select" / "choice.json").read_text()))


def test_selection_prints_a_table_and_what_it_wrote(
    ptr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(ptr)])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:2] == ["step", "Spearman"]
    assert printed.out.count("<- chosen") == 1
    assert lines[-1] == (
        f"{ptr / 'select'}: wrote q_trend.csv, q_trend.json, q_trend.png, choice.json"
    )
    assert "select: checkpoint 1 of 3, step 0, " in printed.err
    assert "select: checkpoint 3 of 3, step 4, " in printed.err


def test_every_checkpoint_is_scored_on_every_held_out_demonstration(ptr: Path) -> None:
    selection = select(ptr)
    assert [score.step for score in selection.scores] == [0, 2, 4]
    # one step of cloning, then the critic learns
    assert [score.critic_steps for score in selection.scores] == [0, 1, 3]
    rows = list(csv.DictReader((ptr / "select" / "q_trend.csv").open()))
    held_out_ids = json.loads((ptr / "data.json").read_text())["target"]["holdout"]
    assert len(rows) == 3 * 2 * 8
    assert {row["episode"] for row in rows} == set(held_out_ids)
    assert choice_of(ptr)["demonstrations"] == 2


def test_the_rule_of_the_agent_decides_unless_another_is_named(ptr: Path, bc: Path) -> None:
    selection = select(ptr)
    assert selection.rule == "q_trend"
    assert choice_of(ptr)["rule"] == selection.reason
    assert set(choice_of(ptr)["choices"]) == set(RULES)
    assert select(ptr, rule="td_error").rule == "td_error"
    assert choice_of(ptr)["rule"] in (RULES["td_error"], RULES["error"])
    assert select(bc).rule == "error"
    assert set(choice_of(bc)["choices"]) == {"error"}


@pytest.mark.parametrize("rule", ["q_trend", "td_error"])
def test_a_rule_that_needs_a_critic_is_refused_without_one(bc: Path, rule: str) -> None:
    message = f"--rule {rule} needs a critic, which agent bc has not; use error"
    with pytest.raises(TrainingError, match=message):
        main([str(bc), "--rule", rule])


def test_held_out_demonstrations_are_those_that_the_run_recorded(ptr: Path) -> None:
    recorded = json.loads((ptr / "data.json").read_text())["target"]
    episodes = held_out(ptr, None)
    assert sorted(episode.id for episode in episodes) == sorted(recorded["holdout"])
    assert len(episodes) == 2
    assert not {episode.id for episode in episodes} & set(recorded["train"])


def test_a_moved_store_is_named_by_an_option(tmp_path: Path) -> None:
    run = train(tmp_path, {"name": "bc"})
    moved = (tmp_path / "target").rename(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match="target"):
        held_out(run, None)
    assert len(held_out(run, moved)) == 2


def test_another_store_is_refused(bc: Path, make_store) -> None:
    other = make_store("other", tasks=("new",), per_task=5)
    fingerprint = EpisodeStore.open(other).fingerprint
    expected = json.loads((bc / "data.json").read_text())["target"]["sha256"]
    with pytest.raises(TrainingError, match="is not the store this run trained on") as info:
        main([str(bc), "--target", str(other)])
    assert f"SHA-256 {fingerprint[:12]}…, expected {expected[:12]}…" in str(info.value)


def test_run_on_every_demonstration_is_judged_by_others(
    tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    store = write_toy_store(tmp_path / "target", tasks=("new",), per_task=3)
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({**TINY, "agent": CQL}))
    run = tmp_path / "run"
    where = ["--target", str(store), "--out", str(run), "--holdout", "0"]
    finetune(["--config", str(preset), *where])
    assert len(json.loads((run / "data.json").read_text())["target"]["train"]) == 3
    with pytest.raises(TrainingError, match="trained on every demonstration; name a store"):
        select(run)
    with pytest.raises(TrainingError, match=r"is the store that .* trained on"):
        select(run, others=store)
    with pytest.raises(TrainingError, match="unknown task 'b'"):
        select(run, others=make_store("strange", tasks=("b",)))
    others = make_store("others", tasks=("new",), per_task=2)
    selection = select(run, others=others)
    assert choice_of(run)["demonstrations"] == 2
    assert [score.step for score in selection.scores] == [0, 2, 4]


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="neither a checkpoint nor a run folder"):
        main([str(tmp_path)])


@pytest.mark.parametrize("text", [None, "{}", '{"target": null}'])
def test_a_run_without_target_data_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "data.json").write_text(text)
    with pytest.raises(TrainingError, match="was not made by `ptr finetune`"):
        held_out(tmp_path, None)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"target":')
    with pytest.raises(TrainingError, match=r"data.json is damaged \("):
        held_out(tmp_path, None)


# One checkpoint on one demonstration


@pytest.fixture
def checkpoint(ptr: Path) -> Checkpoint:
    """Return the newest checkpoint of a run with a critic."""
    return load_checkpoint(find_checkpoint(ptr))


class FixedModule:
    """Acts by fixed actions (T, 7) or (T, E, 7); its Q shows what it was asked about."""

    def __init__(self, modes: torch.Tensor) -> None:
        self.modes = modes

    def to(self, device: torch.device) -> FixedModule:
        return self

    def eval(self) -> FixedModule:
        return self

    def act(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.modes, None

    def q(
        self,
        images: torch.Tensor,
        proprio: torch.Tensor,
        task: torch.Tensor,
        actions: torch.Tensor,
    ) -> torch.Tensor:
        return torch.stack([actions[:, 0], proprio[:, 0]], dim=1)

    def q_values(
        self,
        images: torch.Tensor,
        proprio: torch.Tensor,
        task: torch.Tensor,
        actions: torch.Tensor,
    ) -> torch.Tensor:
        return torch.stack([actions[..., 0], proprio[:, :1].expand(actions.shape[:2])])


def fixed_agent(modes: np.ndarray) -> Any:
    """Return an agent that does nothing but what `evaluate` asks for."""
    return SimpleNamespace(
        config=SimpleNamespace(sampling=Sampling()),
        deployed=lambda: FixedModule(torch.from_numpy(modes)),
        td_errors=lambda batch: batch.rewards,
    )


def test_q_is_taken_at_the_demonstrated_actions(checkpoint: Checkpoint, ptr: Path) -> None:
    episode = held_out(ptr, None)[0]
    command = getattr(episode, checkpoint.info.command)
    trend = evaluate(fixed_agent(np.array(command)), checkpoint, episode)
    assert trend.episode == episode.id
    np.testing.assert_array_equal(trend.q[:, 0], command[:, 0])
    np.testing.assert_array_equal(trend.error, np.zeros(8))


def test_error_is_squared_in_scaled_units_over_the_learnt_dimensions(
    checkpoint: Checkpoint, ptr: Path
) -> None:
    episode = held_out(ptr, None)[0]
    spec = replace(
        checkpoint.data_spec,
        action_low=(-2.0,) * 7,
        action_high=(2.0,) * 7,
        action_active=(True, False, False, False, False, False, True),
    )
    modes = np.array(getattr(episode, checkpoint.info.command))
    modes[:, 0] += 0.4  # 0.2 of the scale -1..1
    modes[:, 1] += 1.0  # not learnt
    changed = replace(checkpoint, data_spec=spec)
    trend = evaluate(fixed_agent(modes), changed, episode)
    np.testing.assert_allclose(trend.error, np.full(8, 0.2**2 / 2), rtol=1e-5)


def test_of_planned_actions_the_next_one_is_judged(
    checkpoint: Checkpoint, ptr: Path
) -> None:
    episode = held_out(ptr, None)[0]
    command = np.array(getattr(episode, checkpoint.info.command))
    plans = np.stack([command, command + 1.0, command - 1.0], axis=1)
    trend = evaluate(fixed_agent(plans), checkpoint, episode)
    np.testing.assert_array_equal(trend.error, np.zeros(8))


@pytest.mark.parametrize(("configured", "expected"), [(0, 3), (1, 1)])
def test_rewarded_steps_are_those_of_the_configuration_or_of_the_store(
    checkpoint: Checkpoint, ptr: Path, configured: int, expected: int
) -> None:
    assert checkpoint.info.last_n == 3
    config = replace(checkpoint.config, rewarded_steps=configured)
    episode = held_out(ptr, None)[0]
    modes = np.zeros((8, 7), np.float32)
    trend = evaluate(fixed_agent(modes), replace(checkpoint, config=config), episode)
    np.testing.assert_array_equal(trend.td_error, [0.0] * (8 - expected) + [1.0] * expected)


def test_a_trained_agent_has_finite_values_without_gradients(
    checkpoint: Checkpoint, ptr: Path
) -> None:
    agent = restore_agent(checkpoint, torch.device("cpu"))
    trend = evaluate(agent, checkpoint, held_out(ptr, None)[1])
    assert (trend.q.shape, trend.error.shape, trend.td_error.shape) == ((8, 2), (8,), (8,))
    assert np.isfinite(trend.q).all()
    assert np.isfinite(trend.td_error).all()
