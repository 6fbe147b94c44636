"""MACAW: returns, weight-transform layers, second derivatives, and adaptation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_agents import make_agent, make_batch

from ptr_training.agents import MACAW
from ptr_training.agents.macaw import _Rows, _weights
from ptr_training.agents.macaw_networks import TransformedLinear
from ptr_training.data.augment import Augmentation
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
    task = agent._one_hot(batch.task)
    with torch.no_grad():
        latent = agent.encoder(agent._augment(batch.images), task)
    return _Rows(
        latent, batch.proprio, task, batch.actions, agent.returns(batch.steps_to_reward)
    )


def test_returns_are_those_of_a_published_demonstration() -> None:
    returns = make_macaw().returns(torch.tensor([35.0, 1.0, 0.0]))
    assert returns.tolist() == pytest.approx([-16.614, -1 + 0.96 * 10, 10.0], abs=1e-3)


def test_transformed_layer_is_a_linear_layer_of_transformed_weights() -> None:
    layer, x = TransformedLinear(3, 2, 5), torch.randn(4, 3)
    weights = (layer.matrix @ layer.vector).view(2, 4)
    torch.testing.assert_close(layer(x), F.linear(x, weights[:, :3], weights[:, 3]))


def test_inner_step_lowers_the_loss_it_descends() -> None:
    agent = make_macaw(inner_lr=1e-2)
    rows, policy, value = rows_of(agent), _weights(agent.policy), _weights(agent.value)
    _, adapted, _ = agent._adapted(policy, value, rows, keep_graph=False)
    assert agent._value_loss(adapted, rows) < agent._value_loss(value, rows)


def test_outer_gradient_goes_through_the_inner_step() -> None:
    agent = make_macaw(inner_lr=0.05, transform=0, max_gradient=1e9).double()
    support, query = (
        _Rows(
            *(
                getattr(rows_of(agent.float(), seed), name).double()
                for name in _Rows.__dataclass_fields__
            )
        )
        for seed in (0, 1)
    )
    agent.double()

    def outer(value: dict[str, torch.Tensor]) -> torch.Tensor:
        adapted = agent._descend(
            agent._value_loss(value, support), value, agent.value_rates, keep_graph=True
        )
        return agent._value_loss(adapted, query)

    value = _weights(agent.value)
    name = next(name for name in value if name.endswith("weight"))
    gradient = torch.autograd.grad(outer(value), value[name])[0]
    direction, step = torch.randn_like(gradient), 1e-6
    ahead, behind = (
        {**value, name: (value[name] + sign * step * direction)} for sign in (1, -1)
    )
    numeric = (outer(ahead) - outer(behind)).item() / (2 * step)
    assert numeric == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


def test_weights_of_transitions_are_cut_at_twenty() -> None:
    agent = make_macaw()
    with torch.no_grad():
        agent.value.layers[-1].bias.fill_(-1e3)  # every return is far better than expected
    rows = rows_of(agent)
    _, weight, _ = agent._policy_losses(_weights(agent.policy), _weights(agent.value), rows)
    assert float(weight) == pytest.approx(20.0)


def test_adaptation_changes_the_heads_and_not_the_encoder() -> None:
    agent, batch = make_macaw(inner_lr=1e-2), make_batch()
    agent.finetuning = True
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    losses = [float(agent.update(batch)["value_loss"]) for _ in range(30)]
    assert losses[-1] < losses[0]
    changed = {
        name.split(".")[0]
        for name, value in agent.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"policy", "value"}


def test_inner_rates_are_learnt() -> None:
    agent = make_macaw(rate_lr=0.1)
    for seed in range(3):
        agent.update(make_batch(seed))
    assert (agent.value_rates - math.log(1e-3)).abs().max() > 0.05


def test_fixed_deviation_stays_and_a_learnt_one_moves() -> None:
    fixed, learnt = make_macaw(std=0.2), make_macaw(std=0.0, policy_lr=1e-2)
    for agent in (fixed, learnt):
        for seed in range(3):
            agent.update(make_batch(seed))
    assert float(fixed.policy.log_std.exp().max()) == pytest.approx(0.2)
    assert (learnt.policy.log_std.exp() - 0.2).abs().max() > 1e-3


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"agent.tasks is 0"):
        make_macaw(tasks=0)
    with pytest.raises(TrainingError, match=r"agent.std is -1"):
        make_macaw(std=-1.0)
