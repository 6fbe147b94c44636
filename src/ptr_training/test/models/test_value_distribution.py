"""Values by classification: what bins, targets and losses are, and that they can be learnt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_agents import make_batch, make_cql
from torch import Tensor, nn

from ptr_training.data.batch import Batch
from ptr_training.models.value_distribution import ValueDistribution

RETURNS = (-25.0, 10.0)


@pytest.mark.parametrize("bins", [9, 21, 51, 101])
def test_the_expectation_of_a_target_is_its_value_up_to_the_ends(bins: int) -> None:
    distribution = ValueDistribution(0.0, 1.0, bins)
    values = torch.linspace(0.0, 1.0, 201)
    probabilities = distribution.probabilities(values)
    assert probabilities.shape == (201, bins)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(201))
    found = distribution((probabilities + 1e-30).log())
    torch.testing.assert_close(found, values, atol=1e-3, rtol=0)


def test_values_outside_count_as_the_ends() -> None:
    distribution = ValueDistribution(*RETURNS, 51)
    outside = distribution.probabilities(torch.tensor([-900.0, 11.0]))
    assert torch.equal(outside, distribution.probabilities(torch.tensor(RETURNS)))


def test_bins_span_the_returns_with_three_more_at_each_end() -> None:
    distribution = ValueDistribution(0.0, 10.0, 16)  # ten of them inside
    torch.testing.assert_close(distribution.edges[[3, 13]], torch.tensor([0.0, 10.0]))
    torch.testing.assert_close(
        distribution.centers[:4], torch.tensor([-2.5, -1.5, -0.5, 0.5])
    )


def test_a_bin_has_the_mass_of_the_gaussian_over_it() -> None:
    distribution = ValueDistribution(0.0, 10.0, 16)
    normal = torch.distributions.Normal(4.2, 0.75)
    expected = normal.cdf(torch.tensor(5.0)) - normal.cdf(torch.tensor(4.0))
    found = distribution.probabilities(torch.tensor(4.2))[7]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [*RETURNS, -7.3])
def test_the_loss_is_lowest_at_the_target(value: float) -> None:
    distribution = ValueDistribution(*RETURNS, 51)
    target = torch.tensor([value])
    best = distribution.probabilities(target).clamp(min=1e-12).log()[None]
    best.requires_grad_()
    loss = distribution.loss(best, target)
    loss.backward()
    assert best.grad is not None
    torch.testing.assert_close(best.grad, torch.zeros_like(best), atol=1e-5, rtol=0)
    for other in (-20.0, -7.0, 3.0):
        worse = distribution.probabilities(torch.tensor([other])).clamp(min=1e-12).log()
        assert distribution.loss(worse[None], target) > loss


def test_weights_of_transitions_count_as_those_of_the_squared_error() -> None:
    distribution = ValueDistribution(0.0, 1.0, 21)
    logits, target = torch.randn(2, 3, 21), torch.rand(3)
    first = distribution.loss(logits, target, torch.tensor([2.0, 0.0, 0.0]))
    torch.testing.assert_close(first, distribution.loss(logits[:, :1], target[:1]))
    torch.testing.assert_close(
        distribution.loss(logits, target, torch.full((3,), 7.0)),
        distribution.loss(logits, target),
    )


def test_a_network_learns_the_mean_of_noisy_values() -> None:
    torch.manual_seed(0)
    distribution = ValueDistribution(-1.0, 1.0, 31)
    layers = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 31))
    optimizer = torch.optim.Adam(layers.parameters(), 1e-2)
    for _ in range(400):
        x = torch.rand(64) * 2.0 - 1.0
        noisy = x.abs() - 0.5 + 0.2 * torch.randn(64)
        optimizer.zero_grad()
        distribution.loss(layers(x[:, None])[None], noisy).backward()
        optimizer.step()
    x = torch.linspace(-0.9, 0.9, 19)
    with torch.no_grad():
        error = distribution(layers(x[:, None])) - (x.abs() - 0.5)
    assert float(error.abs().mean()) < 0.06


def improved(**values: Any) -> tuple[Batch, Tensor]:
    """Return a batch, and Q of its actions by a critic that learnt from it alone."""
    agent = make_cql(alpha=0.0, critic_lr=3e-3, mc_weight=1.0, **values)
    batch = make_batch()
    for _ in range(150):
        agent.update(batch)
    q = agent.deployed().q(batch.images, batch.proprio, batch.task, batch.actions * 0.05)
    return batch, q.detach()


def test_a_critic_learns_the_returns_that_were_earned() -> None:
    batch, q = improved(value_loss="hl_gauss", discount=0.8)
    shrink = 0.8**batch.steps_to_reward
    returns = -(1.0 - shrink) / 0.2 + shrink * 10.0
    assert float((q.mean(1) - returns).abs().mean()) < 0.1 * float(returns.std())


def test_q_cannot_leave_the_bins_however_large_alpha_is() -> None:
    agent = make_cql(value_loss="hl_gauss", alpha=1e4, critic_lr=0.1, discount=0.8)
    for seed in range(10):
        metrics = agent.update(make_batch(seed))
    width = 15.0 / 45
    for name in ("q_data", "q_policy", "q_random"):
        assert -5.0 - 3 * width <= float(metrics[name]) <= 10.0 + 3 * width


def test_the_copy_of_a_critic_with_bins_follows_it() -> None:
    agent = make_cql(value_loss="hl_gauss", polyak=1.0)
    agent.update(make_batch())
    online, copy = agent.critic.state_dict(), agent.target_critic.state_dict()
    assert not any("distribution" in name for name in online)
    assert all(torch.equal(online[name], copy[name]) for name in online)
