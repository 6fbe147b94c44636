"""Autoregressive cloning: bins, conditioning, and a beam search against an exhaustive one."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_agents import ACTIVE, make_agent, make_batch

from ptr_training.agents.autoregressive import AutoregressivePolicy


def make_policy(bins: int, beam: int) -> AutoregressivePolicy:
    policy = make_agent({"name": "autoregressive", "bins": bins, "beam": beam}).policy
    assert isinstance(policy, AutoregressivePolicy)
    torch.manual_seed(3)
    for head in policy.heads:
        torch.nn.init.normal_(head[-1].weight, std=1.0)
    return policy.eval()


def observation(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(size, 32), torch.randn(size, 7), torch.eye(4)[:size]


def test_a_bin_stands_for_its_centre() -> None:
    policy = make_policy(100, 1)
    values = torch.linspace(-1, 1, 1001)
    assert float((policy.centre(policy.bin(values)) - values).abs().max()) <= 0.01 + 1e-6
    assert policy.bin(torch.tensor([-1.0, 1.0])).tolist() == [0, 99]
    bins = torch.arange(100)
    assert torch.equal(policy.bin(policy.centre(bins)), bins)


def test_a_dimension_sees_those_before_it_and_no_others() -> None:
    policy, inputs = make_policy(5, 1), observation(1)
    actions = torch.zeros(1, 7)
    before = policy(*inputs, actions)
    learnt = [index for index, active in enumerate(ACTIVE) if active]
    changed = actions.clone()
    changed[:, learnt[2]] = 0.9
    after = policy(*inputs, changed)
    assert torch.equal(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])


def test_wide_beam_finds_the_likeliest_action_of_all() -> None:
    bins = 3
    policy, inputs = make_policy(bins, bins**5), observation(4)
    found, std = policy.mode(*inputs)
    every = torch.cartesian_prod(*[torch.arange(bins)] * 5)
    actions = torch.zeros(len(every), 7)
    actions[:, policy.learnt] = policy.centre(every)
    for row in range(4):
        repeated = [each[row : row + 1].expand(len(every), -1) for each in inputs]
        log_p = (
            policy(*repeated, actions)
            .log_softmax(2)
            .gather(2, every[:, :, None])
            .sum((1, 2))
        )
        torch.testing.assert_close(found[row], actions[log_p.argmax()])
    assert bool(std.isnan().all())


def test_wider_beams_find_no_less_likely_actions() -> None:
    inputs = observation(4)
    likelihoods = []
    for beam in (1, 3, 20):
        policy = make_policy(6, beam)
        action, _ = policy.mode(*inputs)
        bins = policy.bin(action[:, policy.learnt])
        likelihoods.append(
            policy(*inputs, action).log_softmax(2).gather(2, bins[:, :, None]).sum((1, 2))
        )
    for narrow, wide in itertools.pairwise(likelihoods):
        assert (wide.mean() >= narrow.mean() - 1e-5).all()


def test_dimensions_that_are_not_learnt_stay_at_zero() -> None:
    action, _ = make_policy(5, 2).mode(*observation(2))
    assert action[:, [3, 4]].abs().max() == 0


def test_accuracy_grows_on_a_fixed_batch() -> None:
    agent, batch = (
        make_agent({"name": "autoregressive", "lr": 3e-3, "bins": 9, "beam": 2}),
        make_batch(),
    )
    history = [float(agent.update(batch)["accuracy"]) for _ in range(150)]
    assert history[-1] > 0.5
    assert history[0] == pytest.approx(1 / 9, abs=0.2)
