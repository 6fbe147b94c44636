"""Agents from checkpoints: those that do not fit are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ptr_training.training.build import build_agent, prepare_agent, restore_agent
from ptr_training.training.checkpoint import (
    CheckpointError,
    find_checkpoint,
    load_checkpoint,
)
from ptr_training.training.config import override
from ptr_training.training.train import finetune


def test_checkpoint_of_another_architecture_is_refused(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = [
        "--target",
        str(make_store("target", tasks=("new",), per_task=4)),
        "--out",
        str(tmp_path / "fine"),
    ]
    with pytest.raises(
        CheckpointError,
        match=r"does not fit agent cql .*latent=24.*; keep the configuration",
    ):
        finetune(["--from", str(pretrained), *target, "--set", "network.latent=24"])


def test_weights_depend_on_the_seed_alone(pretrained: Path) -> None:
    saved = load_checkpoint(find_checkpoint(pretrained))
    agents = []
    for seed in (0, 0, 1):
        config = replace(saved.config, seed=seed)
        agents.append(
            build_agent(config, saved.data_spec, torch.device("cpu")).state_dict()
        )
    first, again, other = agents
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_a_restored_agent_continues_where_it_was_saved(pretrained: Path) -> None:
    saved = load_checkpoint(find_checkpoint(pretrained))
    agent = restore_agent(saved, torch.device("cpu"))
    assert agent.steps == saved.step == 6
    for name, value in agent.state()["weights"].items():
        assert torch.equal(value, saved.agent["weights"][name]), name


def test_cloning_needs_no_teacher_before_finetuning(train_on_demos) -> None:
    saved = load_checkpoint(find_checkpoint(train_on_demos("bc", {"name": "bc"})))
    config = override(saved.config, ["agent.name=awbc", "agent.critic=nowhere"])
    agent = build_agent(config, saved.data_spec, torch.device("cpu"))
    prepare_agent(agent, config, [], finetuning=False)
    with pytest.raises(CheckpointError, match="nowhere is neither a checkpoint nor a run"):
        prepare_agent(agent, config, [], finetuning=True)
