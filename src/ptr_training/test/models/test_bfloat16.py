"""Copies of weights in bfloat16 stand for the casts of autocast, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_agents import NETWORK, make_agent, make_batch

from ptr_training.agents import Agent
from ptr_training.models.bfloat16 import Bfloat16Weights
from ptr_training.models.config import NetworkConfig

NETWORKS = {
    "small": NETWORK,
    "resnet18": replace(NETWORK, encoder="resnet18", film=False),
    "impala-softmax": replace(NETWORK, encoder="impala", aggregation="softmax", film=False),
}


def bf16_agent(name: str, network: NetworkConfig, **values: object) -> Agent:
    agent = make_agent({"name": name, **values}, network=network)
    agent.bf16 = True
    return agent


def cast_in_every_pass(agent: Agent) -> None:
    """Leave the casts to autocast."""
    for encoder in agent.modules():
        agent._half[encoder] = encoder  # type: ignore[assignment]


@pytest.mark.parametrize("network", NETWORKS)
def test_latents_and_gradients_are_those_of_autocast(network: str) -> None:
    agent = bf16_agent("bc", NETWORKS[network])
    batch, encoder = make_batch(), agent.encoder
    inputs = agent._augment(batch.images), agent._one_hot(batch.task)
    results = []
    for run in (encoder, Bfloat16Weights(encoder)):
        agent.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            latent = run(*inputs).float()
        (latent**2).sum().backward()
        gradients = [each.grad for each in encoder.parameters() if each.grad is not None]
        results.append([latent, *gradients])
    assert len(results[0]) == len(results[1])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("shared", [True, False])
def test_copies_follow_every_change_of_their_weights(shared: bool) -> None:
    """Steps of optimisers, moving targets, the end of the warm start, a loaded state."""
    values = {"clone_steps": 2, "shared_encoder": shared}
    ours, theirs = (bf16_agent("cql", NETWORK, **values) for _ in range(2))
    cast_in_every_pass(theirs)
    for agent in (ours, theirs):
        agent.update(make_batch())
        agent.load_state(make_agent({"name": "cql", **values}, seed=3).state())
    for seed in range(5):
        one, other = (agent.update(make_batch(seed)) for agent in (ours, theirs))
        assert one == other


def test_a_bfloat16_map_is_normed_in_float32() -> None:
    agent = bf16_agent("bc", NETWORK)
    norm = agent.encoder.trunk.norms[0]
    maps = torch.randn(2, 16, 4, 4)
    assert torch.equal(norm(maps.bfloat16()), norm(maps.bfloat16().float()))
