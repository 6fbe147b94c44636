"""MACAW: returns, advantages, weight-transform layers, second derivatives, and adaptation."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small_agents import make_agent, make_batch

from ptr_training.agents import MACAW
from ptr_training.agents.macaw import _Rows, _weights, standardized
from ptr_training.agents.macaw_networks import TransformedLinear
from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch
from ptr_training.data.distributed import BatchRng, DistributedContext
from ptr_training.errors import TrainingError

PLAIN = Augmentation(0, jitter=False)


def make_macaw(**changes: object) -> MACAW:
    agent = make_agent(
        {"name": "macaw", "tasks": 2, "transform": 4, **changes}, augmentation=PLAIN
    )
    assert isinstance(agent, MACAW)
    return agent


def rows_of(agent: MACAW, seed: int = 0) -> _Rows:
    batch = make_batch(seed)
    return agent._rows(batch, agent._augment(batch.images), slice(None), learn=False)


def part_of(batch: Batch, rows: slice) -> Batch:
    return Batch(*(getattr(batch, field.name)[rows] for field in fields(batch)))


def test_returns_are_those_of_a_published_demonstration() -> None:
    returns = make_macaw().returns(torch.tensor([35.0, 1.0, 0.0]))
    assert returns.tolist() == pytest.approx([-16.614, -1 + 0.96 * 10, 10.0], abs=1e-3)


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=40))
def test_standardised_advantages_have_mean_zero_and_deviation_one(
    values: list[float],
) -> None:
    advantage = torch.tensor(values)
    found = standardized(advantage, advantage)
    assert float(found.mean()) == pytest.approx(0.0, abs=0.05)
    if advantage.std() > 1e-3:
        assert float(found.std()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, -16.614, 1e-30])
def test_equal_advantages_weigh_one_each(value: float) -> None:
    advantage = torch.full((256,), value)
    assert float(standardized(advantage, advantage).abs().max()) < 0.05


def test_weights_are_exponentials_of_standardised_advantages_cut_at_twenty() -> None:
    agent = make_macaw(temperature=0.5)
    rows = rows_of(agent)
    returns = torch.tensor([100.0] + [0.0, 1.0] * 5 + [0.5])
    value = {name: torch.zeros_like(each) for name, each in _weights(agent.value).items()}
    _, weight, _ = agent._policy_losses(
        _weights(agent.policy), value, replace(rows, returns=returns)
    )
    scale = 2.0 / returns.std()
    expected = ((returns - returns.mean()) * scale).exp()
    assert float(expected[0]) > 20.0
    assert float(weight[0]) == pytest.approx(20.0)
    torch.testing.assert_close(weight[1:], expected[1:])


def test_transformed_layer_is_a_linear_layer_of_transformed_weights() -> None:
    layer, x = TransformedLinear(3, 2, 5), torch.randn(4, 3)
    weights = (layer.matrix @ layer.vector + layer.offset).view(2, 4)
    torch.testing.assert_close(layer(x), F.linear(x, weights[:, :3], weights[:, 3]))


def test_inner_step_lowers_the_losses_it_descends() -> None:
    agent = make_macaw(inner_lr=1e-3, advantage_weight=0.0)
    rows = rows_of(agent)
    policy, value, (before, _) = agent._adapted([rows])
    assert agent._value_loss(value, rows) < agent._value_loss(_weights(agent.value), rows)
    assert agent._policy_losses(policy, value, rows)[0] < before


def test_policy_steps_follow_all_steps_of_the_value() -> None:
    agent = make_macaw()
    first, second = rows_of(agent, 0), rows_of(agent, 1)
    policy, value, _ = agent._adapted([first, second])
    expected = _weights(agent.value)
    for rows in (first, second):
        loss = agent._value_loss(expected, rows)
        expected = agent._descend(loss, expected, agent.value_rates)
    by_hand = _weights(agent.policy)
    for rows in (first, second):
        loss, _, error = agent._policy_losses(by_hand, expected, rows)
        loss = loss + F.softplus(agent.advantage_weight) * error
        by_hand = agent._descend(loss, by_hand, agent.policy_rates)
    for name, weights in by_hand.items():
        torch.testing.assert_close(policy[name], weights)
    for name, weights in expected.items():
        torch.testing.assert_close(value[name], weights)


@pytest.mark.parametrize("transform", [0, 4])
@pytest.mark.parametrize("kind", ["weights", "rates", "advantage_weight"])
def test_outer_gradient_of_an_inner_step_is_a_finite_difference(
    transform: int, kind: str
) -> None:
    agent = make_macaw(inner_lr=0.02, transform=transform, advantage_weight=0.5)
    rows = rows_of(agent)
    agent.double()
    rows = _Rows(*(getattr(rows, field.name).double() for field in fields(rows)))
    parameters = {
        "weights": [*_weights(agent.policy).values()],
        "rates": [agent.policy_rates],
        "advantage_weight": [agent.advantage_weight],
    }[kind]

    def outer() -> torch.Tensor:
        return agent._outer_losses(rows)[0]

    gradients = torch.autograd.grad(outer(), parameters)
    torch.manual_seed(1)
    directions = [torch.randn_like(each) for each in parameters]
    expected = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += step * direction
        values.append(outer().item())
    assert abs(expected) > 1e-7
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected, rel=1e-4)


def test_adaptation_changes_the_heads_and_not_the_encoder_or_the_rates() -> None:
    agent, batch = make_macaw(), make_batch()
    agent.finetuning = True
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    losses = [float(agent.update(batch)["value_loss"]) for _ in range(10)]
    assert losses[-1] < losses[0]
    changed = {
        name.split(".")[0]
        for name, value in agent.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"policy", "value"}


def test_inner_rates_and_the_weight_of_the_advantage_head_are_learnt() -> None:
    agent = make_macaw(rate_lr=0.1)
    for seed in range(3):
        agent.update(make_batch(seed))
    assert (F.softplus(agent.value_rates) / 1e-3 - 1.0).abs().max() > 0.05
    assert (F.softplus(agent.advantage_weight) / 0.01 - 1.0).abs() > 0.05


def test_without_the_advantage_head_its_weight_stays_zero() -> None:
    agent = make_macaw(advantage_weight=0.0)
    metrics = [agent.update(make_batch(seed)) for seed in range(3)][-1]
    assert math.isfinite(float(metrics["loss"]))
    assert float(F.softplus(agent.advantage_weight)) == 0.0


def test_fixed_deviation_stays_and_a_learnt_one_moves() -> None:
    fixed, learnt = make_macaw(std=0.2), make_macaw(std=0.0, policy_lr=1e-2)
    for agent in (fixed, learnt):
        for seed in range(3):
            agent.update(make_batch(seed))
    assert float(fixed.policy.log_std.exp().max()) == pytest.approx(0.2)
    assert (learnt.policy.log_std.exp() - 0.2).abs().max() > 1e-3


def test_nothing_is_learnt_from_the_rows_of_the_held_out_task() -> None:
    batch = make_batch()
    other = replace(batch, actions=torch.cat([batch.actions[:8], -batch.actions[8:]]))
    found = []
    for each in (batch, other):
        agent = make_macaw(validation_tasks=1)
        metrics = agent.update(each)
        found.append((agent.state_dict(), float(metrics["validation_loss"])))
    assert found[0][1] != found[1][1]
    for name, weights in found[0][0].items():
        assert torch.equal(weights, found[1][0][name]), name


def test_processes_share_the_tasks_and_the_held_out_one() -> None:
    """The mean over processes of gradients and metrics is that of one process."""
    batch = make_batch()

    def step(rank: int, size: int) -> tuple[list[torch.Tensor], dict[str, float]]:
        agent = make_macaw(validation_tasks=1, policy_lr=1.0)
        generator = torch.Generator().manual_seed(0)
        agent.rng = BatchRng(generator, Part(rank, size))
        own = part_of(batch, DistributedContext(rank, size).slice(12))
        metrics = agent.update(own)
        gradients = [parameter.grad for parameter in agent.parameters()]
        values = {name: float(value) for name, value in metrics.items()}
        return [each for each in gradients if each is not None], values

    whole, expected = step(0, 1)
    empty = [torch.zeros_like(each) for each in whole]
    parts = [step(rank, 3) for rank in range(3)]
    for index, gradient in enumerate(whole):
        mean = sum((part[0] or empty)[index] for part in parts) / 3
        torch.testing.assert_close(mean, gradient, atol=1e-4, rtol=1e-4)
    for name, value in expected.items():
        mean = sum(part[1][name] for part in parts) / 3
        assert mean == pytest.approx(value, rel=1e-4), name


class Part(DistributedContext):
    """One of several processes that exchange nothing, so that each keeps its own part."""

    def average_gradients(self, parameters: object) -> None:
        """Keep the gradients of this process."""


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"agent.tasks is 0"):
        make_macaw(tasks=0)
    with pytest.raises(TrainingError, match=r"agent.std is -1"):
        make_macaw(std=-1.0)
    with pytest.raises(
        TrainingError, match=r"batch_size is 12; it must be a multiple of 8"
    ):
        make_macaw(inner_steps=2).update(make_batch())
    agent = make_macaw()
    agent.rng = BatchRng(context=DistributedContext(0, 3))
    with pytest.raises(TrainingError, match=r"agent.tasks is 2; with 3 processes"):
        agent._rows_of_a_task(4)
