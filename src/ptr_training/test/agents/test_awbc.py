"""Advantage-weighted cloning: its weights by hand, what it takes from PTR, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_agents import make_agent, make_batch
from torch import Tensor, nn

from ptr_training.agents import AWBC
from ptr_training.errors import TrainingError
from ptr_training.training.build import restore_agent
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.train import finetune


class Table(nn.Module):
    """A critic that gives fixed values: 1 for the first action, then 2 and 0."""

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor, action: Tensor
    ) -> Tensor:
        values = torch.tensor([1.0, 2.0, 0.0])[: action.shape[1]]
        return values.expand(2, len(latent), -1) + torch.tensor([0.0, 0.5])[:, None, None]


def taught(**changes: Any) -> AWBC:
    agent = make_agent({"name": "awbc", "n_policy_actions": 2, **changes})
    assert isinstance(agent, AWBC)
    agent._make_teacher()
    assert agent.teacher is not None
    agent.teacher["critic"] = Table()
    return agent


def weights(agent: AWBC) -> Tensor:
    batch = make_batch()
    return agent._weight(batch, agent._augment(batch.images), agent._one_hot(batch.task))


def test_weight_of_the_paper_is_one_at_the_best_action_and_less_elsewhere() -> None:
    torch.testing.assert_close(weights(taught()), torch.full((12,), math.exp(1.0 - 2.0)))


def test_weight_of_the_official_code_is_cut() -> None:
    form = {"form": "official", "temperature": 0.5}
    torch.testing.assert_close(
        weights(taught(**form)), torch.full((12,), math.exp((1.0 - 2.0) / 0.5))
    )
    torch.testing.assert_close(
        weights(taught(**form, max_logit=-3.0)), torch.full((12,), math.exp(-3.0))
    )


def test_prior_transitions_keep_their_weight() -> None:
    agent, batch = taught(), make_batch()
    prior, target = (
        agent.update(replace(batch, target=torch.full((12,), value)))
        for value in (0.0, 1.0)
    )
    assert (float(prior["weight"]), float(target["weight"])) == pytest.approx(
        (1.0, math.exp(-1.0))
    )


def test_cloning_goes_on_weighed_by_a_trained_critic(
    tmp_path: Path, train_on_demos, make_store
) -> None:
    ptr, bc = train_on_demos("ptr", {"name": "cql"}), train_on_demos("bc", {"name": "bc"})
    where = ["--target", str(tmp_path / "demos"), "--out", str(tmp_path / "awbc")]
    finetune(
        [
            "--from",
            str(bc),
            "--set",
            "agent.name=awbc",
            "--set",
            f"agent.critic={ptr}",
            *where,
        ]
    )
    saved = load_checkpoint(find_checkpoint(tmp_path / "awbc"))
    critic = load_checkpoint(find_checkpoint(ptr)).agent["weights"]
    for name, value in saved.agent["weights"].items():
        if name.startswith("teacher."):
            assert torch.equal(value, critic[name.removeprefix("teacher.")]), name
    agent = restore_agent(saved, torch.device("cpu"))  # needs the critic's run no more
    batch = make_batch()
    assert (
        agent.deployed()
        .q(batch.images, batch.proprio, batch.task * 0, batch.actions)
        .isfinite()
        .all()
    )


def test_a_critic_must_be_named(train_on_demos) -> None:
    with pytest.raises(
        TrainingError, match=r"agent.critic is empty; name the fine-tuned PTR"
    ):
        train_on_demos("awbc", {"name": "awbc"})
