"""CQL around its update: warm start, encoders, optimisers, schedules and reports."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_agents import NETWORK, make_agent, make_batch
from torch import Tensor, nn

from ptr_training.agents import CQL
from ptr_training.data.augment import Augmentation, to_network
from ptr_training.models.encoders import EncoderEnsemble

RATES = {"clone_lr": 0.1, "critic_lr": 0.2, "actor_lr": 0.3, "temperature_lr": 0.4}


def make_cql(**values: Any) -> CQL:
    """Return a small agent."""
    agent = make_agent({"name": "cql", **values})
    assert isinstance(agent, CQL)
    return agent


def copies(*modules: nn.Module) -> list[Tensor]:
    """Return copies of all parameters."""
    return [value.detach().clone() for module in modules for value in module.parameters()]


def rate(agent: CQL, name: str) -> float:
    """Return the learning rate of an optimiser."""
    return agent.optimizers[name].param_groups[0]["lr"]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Return whether all tensors are equal."""
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


# Warm start


def test_warm_start_clones_and_leaves_the_critic_alone() -> None:
    agent, batch = make_cql(clone_steps=2), make_batch()
    critics = (agent.critic, agent.target_critic, agent.critic_encoder)
    critic, actor = copies(*critics), copies(agent.encoder, agent.policy)
    metrics = agent.update(batch)
    assert set(metrics) == {"loss", "bc_error"}
    assert agent.steps == 1
    assert same(copies(*critics), critic)
    assert not same(copies(agent.encoder, agent.policy), actor)


def test_cloning_error_is_that_of_the_mode_on_learnt_dimensions() -> None:
    agent = make_cql(clone_steps=1)
    agent.augmentation = Augmentation(0, jitter=False)
    agent.weight *= 2.0  # of the learnt dimensions
    batch = make_batch()
    task = agent._one_hot(batch.task)
    latent = agent.encoder(to_network(batch.images), task)
    mode = torch.tanh(agent.policy(latent, batch.proprio, task)[0])
    squared = ((mode - batch.actions) ** 2)[:, agent.active > 0]
    metrics = agent.update(batch)
    for name in ("loss", "bc_error"):
        torch.testing.assert_close(metrics[name], 2.0 * squared.mean().detach())


@pytest.mark.parametrize("clone_steps", [0, 1, 3])
def test_cql_begins_exactly_after_the_warm_start(clone_steps: int) -> None:
    agent = make_cql(clone_steps=clone_steps)
    cloned, critic_steps = [], []
    for step in range(5):
        cloned.append("td_loss" not in agent.update(make_batch(step)))
        critic_steps.append(agent.critic_steps)
    assert cloned == [step < clone_steps for step in range(5)]
    assert critic_steps == [max(0, step + 1 - clone_steps) for step in range(5)]
    assert agent.steps == 5


@pytest.mark.parametrize("independent", [False, True])
def test_critic_starts_from_the_cloned_encoder(independent: bool) -> None:
    agent = make_cql(clone_steps=2, independent_encoders=independent)
    agent.update(make_batch())
    cloned = copies(agent.encoder)
    encoders = [agent.critic_encoder, agent.target_encoder]
    if independent:
        encoders = [*agent.critic_encoder.encoders, *agent.target_encoder.encoders]
    for encoder in encoders:
        assert not same(copies(encoder), cloned)
    agent.update(make_batch())
    for encoder in encoders:
        assert same(copies(encoder), copies(agent.encoder))
    agent.update(make_batch())
    assert not same(copies(encoders[0]), copies(agent.encoder))


# Schedules


def test_rate_of_cloning_falls_to_a_tenth_over_the_warm_start() -> None:
    agent = make_cql(clone_steps=4, clone_lr=1.0)
    rates = []
    for step in range(6):
        agent.update(make_batch(step))
        rates.append(rate(agent, "cloning"))
    assert rates[0] == 1.0
    assert rates[2] == pytest.approx(0.55)
    assert rates[3] == pytest.approx(0.55 - 0.45 * 0.5**0.5)
    assert rates[4:] == [rates[3]] * 2  # no cloning any more


def test_learning_rates_decay_after_the_warm_start_only() -> None:
    agent = make_cql(shared_encoder=True, clone_steps=2, decay_steps=4)
    rates = []
    for step in range(9):
        agent.update(make_batch(step))
        rates.append([rate(agent, "critic"), rate(agent, "actor")])
    assert rates[:3] == [[3e-4, 1e-4]] * 3  # two of cloning, the first of CQL
    assert rates[4] == pytest.approx([1.65e-4, 0.55e-4])  # half way
    assert rates[6:] == [pytest.approx([3e-5, 1e-5])] * 3  # a tenth, and so it stays


def test_learning_rates_stay_without_decay() -> None:
    agent = make_cql()
    for step in range(3):
        agent.update(make_batch(step))
    assert (rate(agent, "critic"), rate(agent, "actor")) == (3e-4, 1e-4)


# Encoders and optimisers


def test_actor_and_critic_see_with_encoders_of_their_own() -> None:
    agent = make_cql()
    assert agent.critic_encoder is not agent.encoder
    assert agent.target_encoder is not agent.critic_encoder
    assert not same(copies(agent.critic_encoder), copies(agent.encoder))
    assert same(copies(agent.target_encoder), copies(agent.critic_encoder))
    assert same(copies(agent.target_critic), copies(agent.critic))


def test_a_shared_encoder_has_a_target_of_its_own() -> None:
    agent = make_cql(shared_encoder=True)
    assert agent.critic_encoder is agent.encoder
    assert agent.target_encoder is not agent.encoder


def test_encoders_of_their_own_give_each_head_its_latent() -> None:
    agent, batch = make_cql(independent_encoders=True), make_batch()
    agent.update(batch)
    assert isinstance(agent.critic_encoder, EncoderEnsemble)
    assert len(agent.critic_encoder.encoders) == NETWORK.heads
    gradients = []
    for encoder in agent.critic_encoder.encoders:
        gradients.append(next(encoder.parameters()).grad)
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)
    assert not torch.equal(*gradients)


@pytest.mark.parametrize("shared", [False, True])
def test_optimisers_hold_what_their_loss_teaches(shared: bool) -> None:
    agent = make_cql(shared_encoder=shared, **RATES)
    expected = {
        "cloning": [agent.encoder, agent.policy],
        "critic": [agent.critic_encoder, agent.critic],
        "actor": [agent.policy] if shared else [agent.encoder, agent.policy],
    }
    for name, modules in expected.items():
        (group,) = agent.optimizers[name].param_groups
        wanted = [value for module in modules for value in module.parameters()]
        assert list(map(id, group["params"])) == list(map(id, wanted)), name
    (group,) = agent.optimizers["temperature"].param_groups
    assert group["params"] == [agent.log_temperature]
    rates = [rate(agent, name) for name in ("cloning", "critic", "actor", "temperature")]
    assert rates == [0.1, 0.2, 0.3, 0.4]


# Reports


def test_checkpoints_are_chosen_by_the_trend_of_q() -> None:
    assert make_cql().selection_rule == "q_trend"


def test_td_errors_by_hand_without_augmentation() -> None:
    agent, batch = make_cql(discount=0.5), make_batch()

    def refuse(*_: Any) -> Tensor:
        raise AssertionError("images are augmented")

    agent.augmentation = refuse  # type: ignore[assignment]
    for critic, values in ((agent.critic, [2.0, 4.0]), (agent.target_critic, [6.0, 8.0])):
        with torch.no_grad():
            critic.layers[-1].weight.zero_()
            critic.layers[-1].bias.copy_(torch.tensor(values).view(-1, 1, 1, 1))
    target = 11.0 * batch.rewards - 1.0 + 0.5 * (1.0 - batch.rewards) * 6.0
    expected = ((2.0 - target) ** 2 + (4.0 - target) ** 2) / 2
    errors = agent.td_errors(batch)
    assert not errors.requires_grad
    torch.testing.assert_close(errors, expected)


def test_td_errors_are_those_of_the_demonstrated_action() -> None:
    agent, batch = make_cql(), make_batch()
    with torch.no_grad():
        agent.critic.layers[-1].weight.normal_()
    agent.rng.generator.manual_seed(1)
    before = agent.td_errors(batch)
    batch.actions[0, 0] = 0.9
    agent.rng.generator.manual_seed(1)
    changed = agent.td_errors(batch) != before
    assert changed.tolist() == [True] + [False] * 11


@pytest.mark.parametrize(
    ("q", "diverges"),
    [(-14.0, False), (-14.1, True), (22.0, False), (22.1, True), (None, False)],
)
def test_diverging_q_is_reported_beyond_a_margin(q: float | None, diverges: bool) -> None:
    # possible returns are -2 to 10, the margin on each side is their difference
    warning = make_cql(discount=0.5).warning({"loss": 1.0} if q is None else {"q_data": q})
    assert bool(warning) == diverges
    if diverges:
        assert f"is {q:.3g}, possible returns are -2 to 10" in warning
