"""One harness for every agent."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_agents import make_agent, make_batch

from ptr_training.agents import AGENTS
from ptr_training.augment import Augmentation

VARIANTS: dict[str, dict[str, Any]] = {
    "bc": {"name": "bc", "lr": 1e-3},
    "cql": {"name": "cql"},
    "cql-demo": {
        "name": "cql",
        "shared_encoder": True,
        "clone_steps": 2,
        "bc_weight": 10.0,
        "clamp_target": True,
        "n_next_actions": 3,
        "n_batch_actions": 2,
    },
}


def test_every_agent_is_in_the_harness() -> None:
    assert {values["name"] for values in VARIANTS.values()} == set(AGENTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_updates_on_a_fixed_batch_lower_the_loss(name: str) -> None:
    agent, batch = make_agent(VARIANTS[name]), make_batch()
    history = [agent.update(batch) for _ in range(40)]
    assert all(math.isfinite(value) for metrics in history for value in metrics.values())
    assert agent.steps == 40
    assert history[-1]["loss"] < history[5]["loss"]


@pytest.mark.parametrize("name", VARIANTS)
def test_saved_agent_goes_on_bit_for_bit(name: str) -> None:
    agent = make_agent(VARIANTS[name])
    for seed in range(3):
        agent.update(make_batch(seed))
    file = io.BytesIO()
    torch.save(agent.state(), file)
    file.seek(0)
    copy = make_agent(VARIANTS[name], seed=9)
    copy.load_state(torch.load(file, weights_only=True))
    for seed in range(3, 5):
        assert {k: float(v) for k, v in agent.update(make_batch(seed)).items()} == {
            k: float(v) for k, v in copy.update(make_batch(seed)).items()
        }


def test_learning_rate_of_the_configuration_beats_that_of_the_checkpoint() -> None:
    slow, fast = make_agent({"name": "bc", "lr": 1e-4}), make_agent({"name": "bc", "lr": 1e-2})
    slow.update(make_batch())
    fast.load_state(slow.state())
    assert fast.optimizers["actor"].param_groups[0]["lr"] == 1e-2


@pytest.mark.parametrize("name", VARIANTS)
def test_scripted_module_equals_the_agent(name: str) -> None:
    agent, batch = make_agent(VARIANTS[name]), make_batch()
    agent.update(batch)
    eager = agent.deployed().eval()
    scripted = torch.jit.script(eager)
    for size in (1, 5):
        inputs = (batch.images[:size], batch.proprio[:size], batch.task[:size])
        action, std = eager.act(*inputs)
        torch.testing.assert_close(scripted.act(*inputs), (action, std), atol=1e-5, rtol=0, equal_nan=True)
        q = eager.q(*inputs, action)
        torch.testing.assert_close(scripted.q(*inputs, action), q, atol=1e-5, rtol=1e-5, equal_nan=True)
        assert q.shape == (size, 2)
        assert bool(torch.isnan(q).all()) == (name == "bc")


@pytest.mark.parametrize("name", VARIANTS)
def test_deployed_actions_are_in_robot_units(name: str) -> None:
    agent = make_agent(VARIANTS[name])
    with torch.no_grad():
        agent.policy.mean.bias.fill_(50.0)
    action, _ = agent.deployed().act(*(getattr(make_batch(), key) for key in ("images", "proprio", "task")))
    torch.testing.assert_close(action, torch.tensor([0.05, 0.05, 0.05, 0.01, 0.01, 0.05, 0.05]).expand(12, 7))


def test_deployed_q_is_that_of_the_scaled_action() -> None:
    agent, batch = make_agent({"name": "cql"}, augmentation=Augmentation(0, jitter=False)), make_batch()
    task = F.one_hot(batch.task, 4).float()
    latent = agent.critic_encoder(agent._augment(batch.images), task)
    expected = agent.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0].t()
    found = agent.deployed().q(batch.images, batch.proprio, batch.task, batch.actions * 0.05)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
