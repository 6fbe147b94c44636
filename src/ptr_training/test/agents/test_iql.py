"""Implicit Q-learning: its losses by hand, and what each of its networks learns from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_agents import DATA_SPEC, NETWORK, make_agent, make_batch

from ptr_training.agents import IQL
from ptr_training.agents.iql import IQLConfig, expectile_loss
from ptr_training.agents.weighted import advantage_weights
from ptr_training.data.augment import Augmentation, to_network
from ptr_training.errors import TrainingError


def make_iql(**values: Any) -> IQL:
    plain = Augmentation(0, jitter=False)
    agent = make_agent({"name": "iql", **values}, augmentation=plain)
    assert isinstance(agent, IQL)
    return agent


def fix_value(agent: IQL, value: float) -> None:
    """Let V be one number for everything."""
    with torch.no_grad():
        agent.value.last.weight.zero_()
        agent.value.last.bias.fill_(value)


def fix_target_q(agent: IQL, *values: float) -> None:
    """Let every head of the target critic return one number for everything."""
    last = agent.target_critic.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(values).view(-1, 1, 1, 1))


def test_expectile_loss_by_hand() -> None:
    advantage = torch.tensor([2.0, -1.0])
    assert float(expectile_loss(advantage, 0.9)) == pytest.approx((0.9 * 4 + 0.1) / 2)


def test_expectile_of_one_half_is_half_the_mean_squared_error() -> None:
    torch.manual_seed(0)
    q, value = torch.randn(50), torch.randn(50)
    expected = 0.5 * F.mse_loss(q, value)
    torch.testing.assert_close(expectile_loss(q - value, 0.5), expected)


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 0.5), (0.75, 0.75), (0.9, 0.9)])
def test_value_of_least_loss_is_the_expectile(expectile: float, expected: float) -> None:
    """Of two equally frequent values 0 and 1 it is τ itself."""
    q = torch.tensor([0.0, 1.0])
    candidates = torch.linspace(0, 1, 101)
    losses = torch.stack([expectile_loss(q - value, expectile) for value in candidates])
    assert float(candidates[losses.argmin()]) == pytest.approx(expected, abs=0.006)


def test_target_is_the_reward_and_the_discounted_value_of_the_next_state() -> None:
    agent, batch = make_iql(discount=0.9), make_batch()
    fix_value(agent, 5.0)
    fix_target_q(agent, 100.0, 200.0)
    task = agent._one_hot(batch.task)
    target = agent._target(batch, to_network(batch.next_images), task)
    expected = 11.0 * batch.rewards - 1.0 + 0.9 * (1.0 - batch.rewards) * 5.0
    assert 0 < int(batch.rewards.sum()) < len(batch.rewards)
    torch.testing.assert_close(target, expected)
    assert not target.requires_grad


def test_value_sees_the_next_state() -> None:
    agent, batch = make_iql(), make_batch()
    with torch.no_grad():
        agent.value.last.weight.normal_()
    task = agent._one_hot(batch.task)
    found = [
        agent._target(batch, to_network(make_batch(seed).next_images), task)
        for seed in (0, 1)
    ]
    assert not torch.allclose(*found)


def test_value_follows_the_lower_head_of_the_target_critic() -> None:
    agent = make_iql(critic_lr=1e-2, expectile=0.7)
    fix_target_q(agent, 5.0, 3.0)
    agent._move_targets = lambda: None  # type: ignore[method-assign]
    batch = make_batch()
    for _ in range(150):
        metrics = agent.update(batch)
    task = agent._one_hot(batch.task)
    latent = agent.critic_encoder(to_network(batch.images), task)
    value = agent.value(latent, batch.proprio, task)
    torch.testing.assert_close(value, torch.full((12,), 3.0), atol=0.4, rtol=0)
    assert float(metrics["value_loss"]) < 0.05


def test_weights_are_those_of_the_advantage_up_to_the_largest() -> None:
    batch = make_batch()
    for value, expected in ((2.5, math.exp(2.0 * 0.5)), (-97.0, 7.0), (3.0, 1.0)):
        agent = make_iql(inverse_temperature=2.0, largest_weight=7.0)
        fix_target_q(agent, 5.0, 3.0)
        fix_value(agent, value)
        assert float(agent.update(batch)["weight"]) == pytest.approx(expected, rel=1e-4)


def test_largest_weight_is_what_is_asked_for() -> None:
    advantage = torch.tensor([100.0])
    assert advantage_weights(advantage, "exp", 1.0).tolist() == [20.0]
    assert advantage_weights(advantage, "exp", 1.0, 100.0).tolist() == [100.0]


def test_actor_clones_better_actions_more() -> None:
    agent = make_iql(actor_lr=3e-3)
    batch = make_batch(size=16)
    good = torch.arange(16) % 2 == 0
    judged = torch.where(good, 1.0, -1.0)
    agent._judged = lambda *_: judged  # type: ignore[method-assign]
    agent.value.forward = lambda *_: torch.zeros(16, requires_grad=True)  # type: ignore[method-assign]
    for _ in range(80):
        agent.update(batch)
    with torch.no_grad():
        task = agent._one_hot(batch.task)
        _, mean, _ = agent._act(agent._augment(batch.images), batch.proprio, task)
        errors = agent._squared_error(agent._expected(mean), batch)
    assert errors[good].mean() < 0.3 * errors[~good].mean()


@pytest.mark.parametrize("shared", [False, True])
def test_every_weight_of_the_networks_is_learnt(shared: bool) -> None:
    agent = make_iql(shared_encoder=shared)
    before = {name: each.clone() for name, each in agent.named_parameters()}
    agent.update(make_batch())
    moved = set()
    for name, each in agent.named_parameters():
        if not torch.equal(each, before[name]):
            moved.add(name.split(".")[0])
    expected = {"encoder", "policy", "critic", "value", "target_critic", "target_encoder"}
    assert moved == expected | (set() if shared else {"critic_encoder"})


def test_what_the_critic_learns_does_not_touch_the_actors_encoder() -> None:
    encoders = []
    for scale in (1.0, 5.0):
        agent = make_iql(reward_scale=scale)
        agent.update(make_batch())
        parameters = [each.detach().flatten() for each in agent.encoder.parameters()]
        encoders.append(torch.cat(parameters))
    assert torch.equal(*encoders)


def test_binary_gripper_is_cloned_as_an_expected_command() -> None:
    spec = replace(DATA_SPEC, binary_gripper=True)
    plain = Augmentation(0, jitter=False)
    agent = IQL(IQLConfig(actor_lr=3e-3), NETWORK, spec, plain)
    agent.start(torch.device("cpu"), 0)
    batch = make_batch()
    fix_target_q(agent, 0.0, 0.0)
    fix_value(agent, 0.0)
    for _ in range(150):
        metrics = agent.update(batch)
    assert all(torch.isfinite(value) for value in metrics.values())
    with torch.no_grad():
        task = agent._one_hot(batch.task)
        _, mean, _ = agent._act(agent._augment(batch.images), batch.proprio, task)
    assert torch.equal(mean[:, 6] > 0, batch.actions[:, 6] > 0)


def test_td_errors_are_those_of_the_value() -> None:
    agent, batch = make_iql(discount=0.5), make_batch()
    fix_value(agent, 2.0)
    with torch.no_grad():
        agent.critic.layers[-1].weight.zero_()
        agent.critic.layers[-1].bias.copy_(torch.tensor([1.0, 3.0]).view(-1, 1, 1, 1))
    target = 11.0 * batch.rewards - 1.0 + 0.5 * (1.0 - batch.rewards) * 2.0
    expected = ((1.0 - target) ** 2 + (3.0 - target) ** 2) / 2
    torch.testing.assert_close(agent.td_errors(batch), expected)
    agent.update(batch)
    assert agent.critic_steps == agent.steps == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expectile": 1.0}, r"agent.expectile is 1.0; it must be in \(0, 1\)"),
        ({"inverse_temperature": 0.0}, "inverse_temperature is 0.0; it must be above 0"),
        ({"independent_encoders": True}, "agent iql has one for all heads"),
        ({"act": "best"}, "agent.act is 'best'; it must be mode or best_of_n"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        IQLConfig(**change)


def test_summary_names_expectile_and_weights() -> None:
    assert IQLConfig().summary == (
        "implicit Q-learning (τ = 0.7); actor's loss: squared error to the demonstrated action, "
        "weighted by exp(3 A) (A = Q - V)"
    )
