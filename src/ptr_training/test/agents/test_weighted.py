"""An actor that clones what its critic approves: weights, targets, and what is learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_agents import make_agent, make_batch

from ptr_training.agents import WeightedCQL
from ptr_training.agents.weighted import advantage_weights
from ptr_training.data.augment import Augmentation
from ptr_training.errors import TrainingError


def make_weighted(**values: Any) -> WeightedCQL:
    agent = make_agent(
        {"name": "cql_weighted", "clone_steps": 0, "judge_steps": 0, "mc_weight": 1.0}
        | values,
        augmentation=Augmentation(0, jitter=False),
    )
    assert isinstance(agent, WeightedCQL)
    return agent


def test_weights_by_hand() -> None:
    advantage = torch.tensor([-1.0, 0.0, 0.5, 100.0])
    for kind, expected in (
        ("none", [1, 1, 1, 1]),
        ("binary", [0, 0, 1, 1]),
        ("exp", [np.exp(-2), 1, np.exp(1), 20]),
    ):
        weights = advantage_weights(advantage, kind, 0.5)
        np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_actor_clones_only_actions_of_positive_advantage() -> None:
    agent = make_weighted(actor_lr=3e-3, bc_weight=1.0)
    batch = make_batch(size=16)
    good = torch.arange(16) % 2 == 0

    def mean_q(latent: object, rows: object, task: object) -> torch.Tensor:
        return torch.where(good, 1.0, -1.0)

    agent._mean_q = mean_q  # type: ignore[method-assign, assignment]
    agent.value.forward = lambda *_: torch.zeros(16, requires_grad=True)  # type: ignore[method-assign]
    for _ in range(120):
        metrics = agent.update(batch)
    assert metrics["weight"] == 0.5
    with torch.no_grad():
        task = agent._one_hot(batch.task)
        _, mean, _ = agent._act(agent._augment(batch.images), batch.proprio, task)
        errors = agent._squared_error(agent._expected(mean), batch)
    assert errors[good].mean() < 0.3 * errors[~good].mean()


def test_a_clone_first_then_a_critic_and_then_its_weights() -> None:
    agent = make_weighted(clone_steps=2, judge_steps=2)
    critic = [parameter.clone() for parameter in agent.critic.parameters()]
    encoder = agent.encoder.state_dict()
    agent.update(make_batch(0))
    agent.update(make_batch(1))
    assert all(map(torch.equal, critic, agent.critic.parameters()))
    assert agent.critic_steps == 0
    for network in (agent.critic_encoder, agent.target_encoder):
        assert network is not agent.encoder
        for name, value in network.state_dict().items():
            assert torch.equal(
                value, encoder[name]
            )  # the critic begins with what was cloned
    weights = [float(agent.update(make_batch(seed))["weight"]) for seed in (2, 3)]
    assert weights == [1.0, 1.0]
    assert not all(map(torch.equal, critic, agent.critic.parameters()))
    assert agent.critic_steps == 2
    advantage = torch.tensor([-1.0, 1.0] * 4)
    _, weight = agent._weighted_error(make_batch(size=8), torch.zeros(8, 7), advantage)
    assert weight.mean() == 0.5


@pytest.mark.parametrize("shared", [False, True])
def test_every_weight_of_the_networks_is_learnt(shared: bool) -> None:
    agent = make_weighted(clone_steps=1, shared_encoder=shared)
    for seed in range(2):
        before = {name: each.clone() for name, each in agent.named_parameters()}
        agent.update(make_batch(seed))
        moved = {
            name.split(".")[0]
            for name, each in agent.named_parameters()
            if not torch.equal(each, before[name])
        }
        expected = {"encoder", "policy"}
        if seed == 1:
            expected |= {"critic", "value", "target_critic", "target_encoder"}
            expected |= set() if shared else {"critic_encoder"}
        else:
            moved -= {"critic_encoder", "target_encoder"}  # copied as the warm start ends
        assert moved == expected


def test_td_errors_weigh_more_where_the_gripper_is_to_change() -> None:
    batch = make_batch(size=4)
    proprio, actions = batch.proprio.clone(), batch.actions.clone()
    proprio[:, 6] = torch.tensor([1.0, 1.0, 0.4, 0.4])  # open, open, closed, closed
    actions[:, 6] = torch.tensor([0.99, -0.99, 0.99, -0.99])  # open, close, open, close
    batch = replace(batch, proprio=proprio, actions=actions)
    weight = make_weighted(change_weight=5.0)._td_weight(batch)
    assert weight is not None
    assert weight.tolist() == [1.0, 5.0, 5.0, 1.0]
    assert make_weighted()._td_weight(batch) is None
    losses = [
        float(make_weighted(change_weight=w, alpha=0.0).update(batch)["td_loss"])
        for w in (1, 5)
    ]
    assert losses[0] != losses[1]


def test_what_the_critic_learns_does_not_touch_the_actor_with_its_own_encoder() -> None:
    for shared, same in ((False, True), (True, False)):
        encoders = []
        for scale in (1.0, 5.0):
            agent = make_weighted(
                advantage="none", reward_scale=scale, shared_encoder=shared, bc_weight=1.0
            )
            agent.update(make_batch())
            encoders.append(
                torch.cat([each.flatten() for each in agent.encoder.parameters()])
            )
        assert torch.equal(*encoders) == same


def test_without_a_say_of_the_critic_the_actor_learns_what_a_clone_learns() -> None:
    errors = [
        float(make_weighted(**values).update(make_batch())["bc_error"])
        for values in ({"advantage": "none"}, {"judge_steps": 10})
    ]
    assert errors[0] == errors[1]


def test_failed_episodes_teach_the_critic_and_not_the_actor() -> None:
    agent = make_weighted(advantage="none")
    batch = make_batch(size=8)
    failed = torch.arange(8) < 4
    steps = torch.where(failed, torch.inf, batch.steps_to_reward)
    rewards = torch.where(failed, 0.0, batch.rewards)
    half = replace(batch, steps_to_reward=steps, rewards=rewards)
    assert half.succeeded.tolist() == [0.0] * 4 + [1.0] * 4
    metrics = agent.update(half)
    assert float(metrics["weight"]) == 0.5
    assert torch.isfinite(metrics["td_loss"])
    mean = torch.randn(8, 7)
    error, _ = agent._weighted_error(half, mean, torch.zeros(8))
    alone = agent._squared_error(agent._expected(mean), batch)[4:].mean()
    np.testing.assert_allclose(error, alone, rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_target_mixes_what_was_earned_with_what_is_expected(share: float) -> None:
    agent = make_weighted(
        mc_weight=share, discount=0.9, reward_scale=2.0, reward_shift=-0.5
    )
    batch = make_batch()
    steps = batch.steps_to_reward.clone()
    steps[0] = torch.inf
    batch = replace(batch, steps_to_reward=steps)
    task = agent._one_hot(batch.task)
    images = agent._augment(batch.next_images)
    agent.rng.generator.manual_seed(1)
    target, _ = agent._target(batch, images, task)
    expected = make_weighted(discount=0.9, reward_scale=2.0, reward_shift=-0.5)
    returns = []
    for k in steps.tolist():
        if np.isinf(k):
            returns.append(-0.5 / (1 - 0.9))
        else:
            rewards = [-0.5] * int(k) + [1.5]
            returns.append(sum(r * 0.9**i for i, r in enumerate(rewards)))
    np.testing.assert_allclose(expected._returns(batch), returns, rtol=1e-5)
    bootstrapped = make_weighted(
        mc_weight=0.0, discount=0.9, reward_scale=2.0, reward_shift=-0.5
    )
    bootstrapped.rng.generator.manual_seed(1)
    plain, _ = bootstrapped._target(batch, images, task)
    mixed = (1 - share) * plain + share * torch.tensor(returns)
    np.testing.assert_allclose(target, mixed, rtol=1e-4, atol=1e-5)


def test_without_bootstrap_the_next_image_is_not_asked_for() -> None:
    assert not make_weighted().config.sampling.next_observations
    assert make_weighted(n_next_actions=1).config.sampling.next_observations
    assert make_weighted(mc_weight=0.9).config.sampling.next_observations


def test_best_candidate_has_the_largest_lower_q() -> None:
    agent = make_weighted(act="best_of_n", act_samples=5, policy_std=1.0)
    module, batch = agent.deployed().eval(), make_batch()

    def q(latent, proprio, task, action, frozen=False):  # type: ignore[no-untyped-def]
        return torch.stack([action[..., 0], action[..., 0] + 1.0])

    module.critic.forward = q  # type: ignore[union-attr, method-assign]
    with torch.no_grad():
        task = agent._one_hot(batch.task)
        latent = module.encoder(module._scaled(batch.images), task)
        mean, log_std = module.policy(latent, batch.proprio, task)
        action, _ = module.act(batch.images, batch.proprio, batch.task)
    drawn = torch.tanh(mean[:, None] + module.noise * log_std.exp()[:, None])
    half = (module.high[0] - module.low[0]) / 2
    best = module.low[0] + (drawn[:, :, 0].amax(1) + 1) * half
    np.testing.assert_allclose(action[:, 0], best, rtol=1e-5)
    assert torch.equal(module.noise[0], torch.zeros(7))  # the mean is a candidate
    again = make_weighted(act="best_of_n", act_samples=5, policy_std=1.0).deployed()
    assert torch.equal(again.noise, module.noise)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"advantage": "some"},
            "agent.advantage is 'some'; it must be binary, exp or none",
        ),
        ({"independent_encoders": True}, "has one for all heads"),
        ({"bc_weight": 0.0}, r"agent.bc_weight is 0.0; it must be above 0"),
        ({"mc_weight": 1.5}, r"agent.mc_weight is 1.5; it must be in \[0, 1\]"),
        ({"act": "best"}, "agent.act is 'best'; it must be mode or best_of_n"),
        ({"act_samples": 0}, "agent.act_samples is 0; it must be at least 1"),
        (
            {"gripper": "soft"},
            "agent.gripper is 'soft'; it must be auto, binary or continuous",
        ),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        WeightedCQL.Config(**values)


def test_summary_names_the_critics_say() -> None:
    assert "weighted by A > 0 from step 0 on" in make_weighted().config.summary
    clone = make_weighted(advantage="none").config.summary
    assert clone.endswith(
        "0 steps of cloning alone; actor's loss: squared error to the demonstrated action"
    )
    acting = make_weighted(advantage="none", act="best_of_n", act_samples=3).config.summary
    assert acting.endswith(
        "; acts by the critic, which chooses from 3 motions, and the gripper"
    )
