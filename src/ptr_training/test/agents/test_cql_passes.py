"""Passes of CQL that only evaluate: they change no statistics, and logged values hold no graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_agents import NETWORK, make_batch, make_cql
from torch import Tensor, nn

from ptr_training.data.augment import to_network

BATCH_NORM = replace(NETWORK, norm="batch")


def statistics(module: nn.Module) -> list[Tensor]:
    """Return copies of the running means and variances."""
    return [value.clone() for name, value in module.named_buffers() if "running" in name]


@pytest.mark.parametrize("shared", [False, True])
def test_td_errors_change_no_statistics(shared: bool) -> None:
    agent = make_cql(BATCH_NORM, shared_encoder=shared)
    agent.update(make_batch())
    before = statistics(agent)
    assert before
    agent.td_errors(make_batch(1))
    assert all(map(torch.equal, before, statistics(agent)))


def test_targets_are_those_of_an_evaluating_policy_and_encoder() -> None:
    agent = make_cql(BATCH_NORM)
    batch = make_batch()
    before = statistics(agent)
    agent._target(batch, to_network(batch.next_images), agent._one_hot(batch.task))
    assert all(map(torch.equal, before, statistics(agent)))


def test_update_takes_the_statistics_of_each_encoder_once() -> None:
    """The critic's encoder sees the images again for the actor's loss, without learning."""
    agent = make_cql(BATCH_NORM)
    agent.update(make_batch())
    for encoder in (agent.encoder, agent.critic_encoder):
        norms = [norm for norm in encoder.modules() if isinstance(norm, nn.BatchNorm2d)]
        assert norms
        for norm in norms:
            assert norm.num_batches_tracked is not None
            assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("values", [{}, {"clone_steps": 2}, {"shared_encoder": True}])
def test_logged_values_hold_no_graph(values: dict[str, Any]) -> None:
    """Graphs kept until the next line of the log would fill the memory."""
    agent = make_cql(**values)
    metrics = agent.update(make_batch())
    assert not any(value.requires_grad for value in metrics.values())
