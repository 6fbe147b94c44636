"""CQL's update, step by step: what moves, what does not, and values by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_agents import make_batch, make_cql
from torch import Tensor, nn

from ptr_training.agents import CQL
from ptr_training.agents.cql_sampling import SampledActions
from ptr_training.data.augment import to_network
from ptr_training.models.policy import sample_actions


def fix_values(critic: nn.Module, *values: float) -> None:
    """Let every head of a critic return one value for everything."""
    last = critic.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(values).view(-1, 1, 1, 1))


class FirstDimension(nn.Module):
    """A critic whose heads return the first dimension of an action, and one more."""

    def forward(
        self,
        latent: Tensor,
        proprio: Tensor,
        task: Tensor,
        action: Tensor,
        frozen: bool = False,
    ) -> Tensor:
        """Return (2, B, K)."""
        return torch.stack([action[:, :, 0], action[:, :, 0] + 1.0])


def values_of(module: nn.Module) -> list[Tensor]:
    """Return copies of all parameters."""
    return [parameter.detach().clone() for parameter in module.parameters()]


def target_of(agent: CQL, **changes: Tensor) -> tuple[Tensor, SampledActions]:
    """Return the targets of a batch, always with the same random numbers."""
    batch = replace(make_batch(), **changes)
    agent.rng.generator.manual_seed(1)
    return agent._target(batch, to_network(batch.next_images), agent._one_hot(batch.task))


# Target networks


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("tau", [0.25, 1.0])
def test_targets_move_by_tau_towards_the_critic_of_after_its_step(
    shared: bool, tau: float
) -> None:
    agent = make_cql(polyak=tau, shared_encoder=shared)
    pairs = [
        (agent.target_critic, agent.critic),
        (agent.target_encoder, agent.critic_encoder),
    ]
    before = [values_of(target) for target, _ in pairs]
    agent.update(make_batch())
    for (target, online), old_values in zip(pairs, before, strict=True):
        moved = 0.0
        for new, old, goal in zip(
            target.parameters(), old_values, online.parameters(), strict=True
        ):
            torch.testing.assert_close(new, (1 - tau) * old + tau * goal)
            moved += float((new - old).abs().sum())
        assert moved > 0.0


def test_no_gradient_reaches_the_target_networks() -> None:
    agent = make_cql()
    agent.update(make_batch())
    for module in (agent.target_critic, agent.target_encoder):
        for parameter in module.parameters():
            assert parameter.grad is None
            assert not parameter.requires_grad
    target, next_actions = target_of(agent)
    assert not target.requires_grad
    assert not next_actions.log_densities.requires_grad


def test_a_frozen_encoder_is_its_own_target_and_never_moves() -> None:
    agent = make_cql()
    agent.target_encoder = agent.encoder
    before = values_of(agent.encoder)
    agent._move_targets()
    for new, old in zip(agent.encoder.parameters(), before, strict=True):
        assert torch.equal(new, old)


# TD target


def test_target_by_hand_uses_the_target_critic_and_the_discount_once() -> None:
    agent, batch = make_cql(discount=0.9), make_batch()
    fix_values(agent.target_critic, 5.0, 3.0)
    fix_values(agent.critic, 100.0, 200.0)
    target, _ = target_of(agent)
    expected = 11.0 * batch.rewards - 1.0 + 0.9 * (1.0 - batch.rewards) * 3.0
    assert 0 < int(batch.rewards.sum()) < len(batch.rewards)
    torch.testing.assert_close(target, expected)


def test_target_sees_with_the_target_encoder_and_the_next_state() -> None:
    agent = make_cql()
    with torch.no_grad():
        agent.target_critic.layers[-1].weight.normal_()
    before, _ = target_of(agent)
    with torch.no_grad():
        agent.critic_encoder.linear.weight.normal_()
        agent.critic.layers[-1].weight.normal_()
    assert torch.equal(target_of(agent)[0], before)
    other_images = make_batch(1).next_images
    assert not torch.allclose(target_of(agent, next_images=other_images)[0], before)
    with torch.no_grad():
        agent.target_encoder.linear.weight.normal_()
    assert not torch.allclose(target_of(agent)[0], before)


def test_bootstrap_stops_where_the_configuration_says() -> None:
    rewards, last = torch.zeros(12), torch.zeros(12)
    rewards[3], last[5] = 1.0, 1.0
    for terminal, end in (("rewarded", 3), ("last", 5)):
        agent = make_cql(terminal=terminal, discount=0.5)
        fix_values(agent.target_critic, 8.0, 8.0)
        target, _ = target_of(agent, rewards=rewards, last=last)
        expected = 11.0 * rewards - 1.0 + 4.0
        expected[end] -= 4.0
        torch.testing.assert_close(target, expected)


@pytest.mark.parametrize(("n_backup", "n_next"), [(2, 0), (2, 5), (5, 2)])
def test_target_takes_the_best_of_the_backup_actions_at_the_next_state(
    n_backup: int, n_next: int
) -> None:
    agent, batch = make_cql(n_backup_actions=n_backup, n_next_actions=n_next), make_batch()
    agent.target_critic = FirstDimension()
    target, next_actions = target_of(agent, rewards=torch.zeros(12))
    next_images, task = to_network(batch.next_images), agent._one_hot(batch.task)
    latent = agent.encoder(next_images, task)
    mean, log_std = agent.policy(latent, batch.next_proprio, task)
    agent.rng.generator.manual_seed(1)
    actions, log_pi = sample_actions(
        mean, log_std, agent.active, max(n_backup, n_next), agent.rng
    )
    best = actions[:, :n_backup, 0].amax(1)
    torch.testing.assert_close(target, -1.0 + 0.96 * best)
    torch.testing.assert_close(next_actions.actions, actions[:, :n_next])
    torch.testing.assert_close(next_actions.log_densities, log_pi[:, :n_next])


@pytest.mark.parametrize(
    ("shift", "scale", "bounds"), [(0.0, 1.0, (0.0, 1.0)), (-1.0, 11.0, (-25.0, 10.0))]
)
def test_clamped_targets_stay_within_possible_returns(
    shift: float, scale: float, bounds: tuple[float, float]
) -> None:
    rewards = {"reward_shift": shift, "reward_scale": scale}
    for clamped in (True, False):
        agent = make_cql(clamp_target=clamped, **rewards)
        fix_values(agent.target_critic, 1e3, 1e3)
        high, _ = target_of(agent)
        fix_values(agent.target_critic, -1e3, -1e3)
        low, _ = target_of(agent)
        found = (float(low.min()), float(high.max()))
        assert (found == pytest.approx(bounds)) == clamped


# Critic's loss


def four_actions(agent: CQL) -> SampledActions:
    """Return candidates whose first dimensions are 0, 0.1, 0.2, … and log densities 0."""
    c = agent.config
    parts = (c.n_policy_actions, c.n_next_actions, c.n_random_actions, c.n_batch_actions)
    count = sum(parts)
    actions = (torch.arange(count) / 10.0)[None, :, None].expand(12, count, 7)
    return SampledActions(actions, torch.zeros(12, count))


@pytest.mark.parametrize("alpha", [0.0, 2.5])
def test_critic_loss_is_the_td_loss_and_alpha_times_the_gap(alpha: float) -> None:
    agent, batch = make_cql(alpha=alpha, min_q_version="v1"), make_batch()
    agent.critic = FirstDimension()
    latent, task = torch.zeros(12, 32), agent._one_hot(batch.task)
    target = torch.randn(12)
    loss, metrics = agent._critic_loss(batch, latent, task, target, four_actions(agent))
    q = torch.stack([batch.actions[:, 0], batch.actions[:, 0] + 1.0])
    td = ((q - target) ** 2).mean()
    gap = (0.0 + 0.1 + 0.2 + 0.3) / 4 - batch.actions[:, 0].mean()
    torch.testing.assert_close(metrics["td_loss"], td)
    torch.testing.assert_close(metrics["conservative_gap"], gap)
    torch.testing.assert_close(loss, td + alpha * gap)
    torch.testing.assert_close(metrics["loss"], loss)


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_conservative_term_has_the_form_of_the_configuration(version: str) -> None:
    agent, batch = make_cql(min_q_version=version, alpha=1.0), make_batch()
    fix_values(agent.critic, 7.0, 7.0)
    latent, task = torch.zeros(12, 32), agent._one_hot(batch.task)
    actions = four_actions(agent).actions
    candidates = SampledActions(actions, torch.full(actions.shape[:2], -2.0))
    _, metrics = agent._critic_loss(batch, latent, task, torch.zeros(12), candidates)
    expected = {"v1": 0.0, "v2": math.log(8.0), "v3": math.log(8.0) + 2.0}
    assert float(metrics["conservative_gap"]) == pytest.approx(expected[version], abs=1e-5)


def test_logged_values_are_those_of_data_policy_and_uniform_actions() -> None:
    agent = make_cql(
        n_policy_actions=2, n_next_actions=1, n_random_actions=3, n_batch_actions=1
    )
    batch = make_batch()
    agent.critic = FirstDimension()
    latent, task = torch.zeros(12, 32), agent._one_hot(batch.task)
    _, metrics = agent._critic_loss(
        batch, latent, task, torch.zeros(12), four_actions(agent)
    )
    head_mean = 0.5
    expected_data = batch.actions[:, 0].mean() + head_mean
    torch.testing.assert_close(metrics["q_data"], expected_data)
    assert float(metrics["q_policy"]) == pytest.approx((0.0 + 0.1) / 2 + head_mean)
    assert float(metrics["q_random"]) == pytest.approx((0.3 + 0.4 + 0.5) / 3 + head_mean)


def test_candidates_are_policy_next_uniform_and_demonstrated_actions() -> None:
    agent = make_cql(
        n_policy_actions=2, n_next_actions=1, n_random_actions=3, n_batch_actions=2
    )
    batch, mean, log_std = make_batch(), torch.randn(12, 7), torch.zeros(12, 7)
    mean.requires_grad_()
    next_actions = SampledActions(torch.full((12, 1, 7), 0.5), torch.full((12, 1), 9.0))
    agent.rng.generator.manual_seed(1)
    candidates = agent._candidates(batch, mean, log_std, next_actions)
    assert candidates.actions.shape == (12, 8, 7)
    assert not candidates.actions.requires_grad
    assert not candidates.log_densities.requires_grad
    agent.rng.generator.manual_seed(1)
    expected, log_pi = sample_actions(mean, log_std, agent.active, 2, agent.rng)
    torch.testing.assert_close(candidates.actions[:, :2], expected)
    torch.testing.assert_close(candidates.log_densities[:, :2], log_pi)
    assert torch.equal(candidates.actions[:, 2:3], next_actions.actions)
    assert torch.equal(candidates.log_densities[:, 2:3], next_actions.log_densities)
    assert float(candidates.actions[:, 3:6].amin()) < -0.9
    assert (candidates.log_densities[:, 3:] == -5.0 * math.log(2.0)).all()
    for row, others in enumerate(candidates.actions[:, 6:]):
        for other in others:
            same = (batch.actions == other).all(1)
            assert int(same.sum()) == 1
            assert not same[row]


# Actor's loss and temperature


@pytest.mark.parametrize("weight", [0.0, 10.0])
def test_actor_loss_by_hand(weight: float) -> None:
    agent, batch = make_cql(bc_weight=weight, initial_temperature=0.5), make_batch()
    agent.critic = FirstDimension()
    agent.weight *= 2.0  # of the learnt dimensions
    mean, log_std = torch.randn(12, 7), torch.full((12, 7), -1.0)
    latent, task = torch.zeros(12, 32), agent._one_hot(batch.task)
    agent.rng.generator.manual_seed(1)
    loss, entropy, metrics = agent._actor_loss(batch, mean, log_std, latent, task)
    agent.rng.generator.manual_seed(1)
    action, log_pi = sample_actions(mean, log_std, agent.active, 1, agent.rng)
    error = 2.0 * ((torch.tanh(mean) - batch.actions) ** 2)[:, agent.active > 0].mean()
    expected = (0.5 * log_pi - action[:, :, 0]).mean() + weight * error
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["actor_loss"], expected)
    torch.testing.assert_close(metrics["bc_error"], error)
    torch.testing.assert_close(entropy, -log_pi.mean())
    assert float(metrics["action_std"]) == pytest.approx(math.exp(-1.0))


def test_actor_loss_reaches_neither_critic_nor_temperature() -> None:
    agent, batch = make_cql(), make_batch()
    mean, log_std = torch.randn(12, 7, requires_grad=True), torch.zeros(12, 7)
    latent, task = torch.zeros(12, 32), agent._one_hot(batch.task)
    loss, entropy, _ = agent._actor_loss(batch, mean, log_std, latent, task)
    loss.backward()
    assert mean.grad is not None
    assert not entropy.requires_grad
    assert agent.log_temperature.grad is None
    assert all(parameter.grad is None for parameter in agent.critic.parameters())


def test_critic_loss_does_not_reach_the_actor() -> None:
    agent = make_cql()
    losses: list[Tensor] = []
    critic_loss = agent._critic_loss

    def keep(*arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = critic_loss(*arguments)
        losses.append(loss)
        return loss, metrics

    agent._critic_loss = keep  # type: ignore[method-assign]
    agent._step = lambda *_, **__: None  # type: ignore[method-assign]
    agent.update(make_batch())
    losses[0].backward()
    for module in (agent.encoder, agent.policy):
        assert all(parameter.grad is None for parameter in module.parameters())
    assert all(parameter.grad is not None for parameter in agent.critic.parameters())


@pytest.mark.parametrize(("log_std", "rises"), [(-4.0, True), (0.0, False)])
def test_temperature_follows_the_entropy(log_std: float, rises: bool) -> None:
    agent = make_cql(temperature_lr=0.1, initial_temperature=2.0)
    assert agent.log_temperature.item() == pytest.approx(math.log(2.0))
    assert agent.target_entropy == -5.0  # five learnt dimensions
    with torch.no_grad():
        agent.policy.log_std.bias.fill_(log_std)
    metrics = agent.update(make_batch())
    assert (float(metrics["entropy"]) < -5.0) == rises
    # the first step of Adam has the length of the rate
    expected = math.log(2.0) + (0.1 if rises else -0.1)
    assert agent.log_temperature.item() == pytest.approx(expected, abs=1e-4)
    assert float(metrics["temperature"]) == pytest.approx(math.exp(expected), rel=1e-4)


def test_action_dimensions_that_are_not_learnt_change_nothing() -> None:
    batch = make_batch()
    other = replace(batch, actions=batch.actions.clone())
    other.actions[:, [3, 4]] = 0.9
    agents = make_cql(bc_weight=1.0), make_cql(bc_weight=1.0)
    for agent, data in zip(agents, (batch, other), strict=True):
        agent.update(data)
    for one, two in zip(*(agent.parameters() for agent in agents), strict=True):
        assert torch.equal(one, two)


def test_conservative_term_lowers_q_of_random_actions_below_data() -> None:
    agent, batch = make_cql(critic_lr=3e-3), make_batch()
    first = agent.update(batch)
    for _ in range(40):
        last = agent.update(batch)
    assert last["q_data"] - last["q_random"] > first["q_data"] - first["q_random"] + 0.5
