"""Advantage-weighted cloning: its weights by hand, what it takes from PTR, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_agents import make_agent, make_batch
from torch import Tensor, nn

from ptr_training.agents import AWBC
from ptr_training.errors import TrainingError
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


@pytest.fixture
def run(tmp_path: Path, preset_values: dict[str, Any], make_store) -> Any:
    """Return a function that fine-tunes an agent from scratch, and its arguments for another."""
    store = make_store("demos", tasks=("new",), per_task=4)

    def train(name: str, agent: dict[str, Any], **changes: Any) -> Path:
        values = {**preset_values, "agent": agent, **changes}
        preset = tmp_path / f"{name}.yaml"
        preset.write_text(yaml.safe_dump(values))
        finetune(
            ["--config", str(preset), "--target", str(store), "--out", str(tmp_path / name)]
        )
        return tmp_path / name

    return train


def test_cloning_goes_on_weighed_by_a_trained_critic(
    tmp_path: Path, run, make_store
) -> None:
    ptr, bc = run("ptr", {"name": "cql"}), run("bc", {"name": "bc"})
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
    agent = saved.build_agent(torch.device("cpu"))  # needs the critic's run no more
    batch = make_batch()
    assert (
        agent.deployed()
        .q(batch.images, batch.proprio, batch.task * 0, batch.actions)
        .isfinite()
        .all()
    )


@pytest.mark.parametrize(
    ("critic", "changes", "message"),
    [
        ({"name": "bc"}, {}, "has agent bc; expected cql"),
        (
            {"name": "cql"},
            {"network": {"encoder": "impala", "hidden": [16]}},
            "has networks NetworkConfig",
        ),
        ({"name": "cql", "independent_encoders": True}, {}, "has an encoder for each head"),
    ],
)
def test_a_critic_that_does_not_fit_is_refused(
    run, critic: dict, changes: dict, message: str
) -> None:
    teacher = run("teacher", critic, **changes)
    with pytest.raises(TrainingError, match=message):
        run("awbc", {"name": "awbc", "critic": str(teacher)})


def test_a_critic_must_be_named(run) -> None:
    with pytest.raises(
        TrainingError, match=r"agent.critic is empty; name the fine-tuned PTR"
    ):
        run("awbc", {"name": "awbc"})
