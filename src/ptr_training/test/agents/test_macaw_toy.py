"""MACAW on a family of tasks that differ in their goal, which only the adaptation rows tell."""

from __future__ import annotations

import copy
import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_agents import make_agent
from torch import Tensor

from ptr_training.agents import MACAW
from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch
from ptr_training.models.config import NetworkConfig
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.config import load_config
from ptr_training.training.train import pretrain

NETWORK = NetworkConfig(encoder="small", latent=8, hidden=(32, 32), spatial_features=2)
ROWS = 32
"""Rows of a task: half for the inner step, half for the loss."""

UPDATES = 250
"""Of meta-training."""


def toy_batch(goals: Tensor, seed: int) -> Batch:
    """Return rows of tasks whose action leads from the position to a goal.

    Every task has the same id and picture, so that nothing but its actions tells its goal.

    Args:
        goals: Shape (tasks, 7).
        seed: Of positions and returns.
    """
    g = torch.Generator().manual_seed(seed)
    count = len(goals) * ROWS
    position = torch.rand(count, 7, generator=g) - 0.5
    images = torch.zeros(count, 16, 16, 3, dtype=torch.uint8)
    return Batch(
        images=images,
        next_images=images[:0],
        proprio=position,
        next_proprio=position,
        task=torch.zeros(count, dtype=torch.int64),
        actions=(goals.repeat_interleave(ROWS, 0) - position) / 2,
        rewards=torch.zeros(count),
        steps_to_reward=torch.randint(0, 20, (count,), generator=g).float(),
        last=torch.zeros(count),
        target=torch.zeros(count),
        chunk=torch.zeros(0, 1, 7),
        inside=torch.zeros(0, 1),
    )


def goals(count: int, seed: int) -> Tensor:
    return torch.rand(count, 7, generator=torch.Generator().manual_seed(seed)) - 0.5


def toy_agent() -> MACAW:
    """Return an agent with the settings of the preset for a CPU, and small networks."""
    values = load_config("demo_macaw").to_dict()["agent"]
    plain = Augmentation(0, jitter=False)
    agent = make_agent(values, augmentation=plain, network=NETWORK)
    assert isinstance(agent, MACAW)
    return agent


@pytest.fixture(scope="module")
def meta_training() -> tuple[MACAW, list[dict[str, float]]]:
    """Return an agent after meta-training, and the metrics of each step."""
    agent, history = toy_agent(), []
    for step in range(UPDATES):
        metrics = agent.update(toy_batch(goals(5, 1000 + step), step))
        history.append({name: float(value) for name, value in metrics.items()})
    agent.finetuning = True
    return agent, history


@torch.no_grad()
def error(agent: MACAW, batch: Batch) -> float:
    """Return the mean squared error of the policy's mode, without augmentation."""
    rows = agent._rows(batch, agent._augment(batch.images), slice(None), learn=False)
    mode, _ = agent.policy.mode(*rows.state)
    return float(((mode - rows.actions) ** 2)[:, agent.active.bool()].mean())


def errors(agent: MACAW, seed: int) -> tuple[float, float]:
    """Return the error of the mode for a new goal, before and after a step on other rows of it.

    Args:
        agent: Which stays as it is.
        seed: Of the goal.
    """
    adapted = copy.deepcopy(agent)
    adapted.rng, adapted.finetuning = agent.rng, True
    goal, held_out = goals(1, seed), toy_batch(goals(1, seed), 100 + seed)
    adapted.update(toy_batch(goal, 200 + seed))
    return error(agent, held_out), error(adapted, held_out)


def test_meta_trained_agent_adapts_to_new_goals_with_few_rows(meta_training) -> None:
    pairs = [errors(meta_training[0], seed) for seed in range(5)]
    assert sum(after for _, after in pairs) < 0.7 * sum(before for before, _ in pairs)


def test_agent_that_was_not_meta_trained_adapts_less() -> None:
    pairs = [errors(toy_agent(), seed) for seed in range(5)]
    assert sum(after for _, after in pairs) > 0.8 * sum(before for before, _ in pairs)


def test_held_out_tasks_show_what_adaptation_gains(meta_training) -> None:
    _, history = meta_training
    gains = [each["validation_before"] - each["validation_loss"] for each in history]
    assert sum(gains[-20:]) > max(0.0, sum(gains[:20]))


def test_hundreds_of_updates_of_the_cpu_preset_do_not_diverge(meta_training) -> None:
    _, history = meta_training
    assert all(math.isfinite(value) for each in history for value in each.values())
    losses = [each["loss"] + each["value_loss"] for each in history]
    assert max(losses[UPDATES // 2 :]) < max(losses[:20])
    assert sum(losses[-50:]) < sum(losses[:50])


def test_twenty_steps_of_adaptation_do_not_diverge(meta_training) -> None:
    agent = copy.deepcopy(meta_training[0])
    agent.rng = meta_training[0].rng
    losses = [
        float(agent.update(toy_batch(goals(1, 0), seed))["loss"]) for seed in range(20)
    ]
    assert losses[-1] < losses[0]
    assert max(losses) < losses[0] + 1.0


@pytest.fixture
def pretraining(
    tmp_path: Path, preset_values: dict[str, Any], make_store: Any
) -> list[str]:
    """Return the options of four updates on three tasks, without that of the run folder."""
    preset_values |= {
        "agent": {"name": "macaw", "tasks": 2, "validation_tasks": 1, "transform": 4},
        "pretrain": {"steps": 4, "checkpoint_every": 2, "keep": 0},
        "batch_size": 12,
        "log_every": 1,
    }
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump(preset_values))
    store = make_store("prior", tasks=("a", "b", "c"))
    return ["--config", str(preset), "--data", str(store), "--out"]


def test_meta_training_ends_with_the_checkpoint_of_the_smallest_validation_loss(
    tmp_path: Path, pretraining: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    pretrain([*pretraining, str(run)])
    with (run / "metrics.csv").open(newline="") as file:
        values = [float(row["validation_loss"]) for row in csv.DictReader(file)]
    best = 2 if sum(values[:2]) < sum(values[2:]) else 4
    assert f"--from {run}/checkpoints/step_{best}.pt" in capsys.readouterr().out
    (held_out,) = json.loads((run / "data.json").read_text())["validation_tasks"]
    assert held_out in {"a", "b", "c"}


def test_meta_training_is_resumed_bit_for_bit(
    tmp_path: Path, pretraining: list[str]
) -> None:
    pretrain([*pretraining, str(tmp_path / "whole")])
    pretrain([*pretraining, str(tmp_path / "cut"), "--steps", "2"])
    pretrain([*pretraining, str(tmp_path / "cut"), "--resume"])
    whole, cut = (
        load_checkpoint(find_checkpoint(tmp_path / run)).agent["weights"]
        for run in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    for name, weights in whole.items():
        assert torch.equal(weights, cut[name]), name
