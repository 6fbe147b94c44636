"""Networks against the figures and conventions of the official code."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ptr_training.data.distributed import BatchRng
from ptr_training.data.normalization import DataSpec
from ptr_training.models.encoders import NetworkConfig
from ptr_training.models.networks import Critic, Policy, polyak_, sample_actions

ALL = (True,) * 7
PROBLEM = DataSpec(
    5, 128, 128, (-1.0,) * 7, (1.0,) * 7, ALL, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7
)
PROPRIO = torch.zeros(2, 7)
SMALL = NetworkConfig(encoder="small", film=True)


def test_layer_widths_are_those_of_the_launch_settings() -> None:
    critic, policy = (
        Critic(NetworkConfig(), PROBLEM, 256),
        Policy(NetworkConfig(), PROBLEM, 256, squashed=True),
    )
    assert [layer.weight.shape[1] for layer in critic.layers] == [5 + 263, 519, 519, 519]
    assert policy.layers[0].in_features == 263 + 5


@pytest.mark.parametrize("refeed", ["action+latent", "action", "nothing"])
@pytest.mark.parametrize("encoders", [1, 2])
def test_critic_heads_equal_plain_perceptrons_on_concatenated_inputs(
    refeed: str, encoders: int
) -> None:
    critic = Critic(NetworkConfig(encoder="small", refeed=refeed), PROBLEM, 256)
    latent = torch.randn(encoders, 4, 256)
    action, proprio = torch.rand(4, 3, 7) * 2 - 1, torch.randn(4, 7)
    task = F.one_hot(torch.tensor([0, 1, 2, 4]), 5).float()
    found = critic(latent if encoders > 1 else latent[0], proprio, task, action)
    assert found.shape == (2, 4, 3)
    for head, k in itertools.product(range(2), range(3)):
        a, z = action[:, k], latent[head % encoders]
        first = [a, task, z] if refeed == "action+latent" else [a, z, proprio, task]
        again = {"action+latent": [a, z], "action": [a], "nothing": []}[refeed]
        h = (
            torch.cat(first, 1) @ critic.layers[0].weight[head]
            + critic.layers[0].bias[head, 0]
        )
        for layer in critic.layers[1:]:
            h = torch.cat([F.relu(h), *again], 1) @ layer.weight[head] + layer.bias[head, 0]
        torch.testing.assert_close(found[head, :, k], h[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("refeed", "widths"),
    [("action", [5 + 270, 263, 263, 263]), ("nothing", [5 + 270, 256, 256, 256])],
)
def test_layer_widths_of_the_other_forms_of_the_critic(
    refeed: str, widths: list[int]
) -> None:
    critic = Critic(NetworkConfig(refeed=refeed), PROBLEM, 256)
    assert [layer.weight.shape[1] for layer in critic.layers] == widths


def test_inactive_action_dimensions_do_not_reach_the_critic() -> None:
    problem = DataSpec(
        5,
        128,
        128,
        (-1.0,) * 7,
        (1.0,) * 7,
        (True,) * 6 + (False,),
        (0.0,) * 7,
        (0.0,) * 7,
        (1.0,) * 7,
    )
    critic = Critic(SMALL, problem, 256)
    latent, task, action = torch.randn(2, 256), torch.eye(5)[:2], torch.rand(2, 1, 7)
    other = action.clone()
    other[..., 6] = -1.0
    assert torch.equal(
        critic(latent, PROPRIO, task, action), critic(latent, PROPRIO, task, other)
    )


def test_frozen_critic_passes_gradients_to_the_action_only() -> None:
    critic = Critic(SMALL, PROBLEM, 256)
    action = torch.zeros(2, 1, 7, requires_grad=True)
    critic(
        torch.randn(2, 256), torch.zeros(2, 7), torch.eye(5)[:2], action, frozen=True
    ).sum().backward()
    assert action.grad is not None
    assert float(action.grad.abs().sum()) > 0
    assert all(each.grad is None for each in critic.parameters())


def test_log_density_is_that_of_the_transformed_normal() -> None:
    mean, log_std, active = (
        torch.randn(4, 7),
        torch.randn(4, 7) * 0.3,
        torch.tensor([1.0] * 5 + [0.0] * 2),
    )
    actions, log_pi = sample_actions(
        mean, log_std, active, 3, BatchRng(torch.Generator().manual_seed(0))
    )
    normal = torch.distributions.Normal(mean[:, None], log_std.exp()[:, None])
    expected = torch.distributions.TransformedDistribution(
        normal, torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(
        log_pi, (expected.log_prob(actions) * active).sum(-1), atol=2e-3, rtol=1e-3
    )


def test_polyak_moves_by_tau() -> None:
    target, online = nn.Linear(2, 1), nn.Linear(2, 1)
    before, goal = target.weight.clone(), online.weight.clone()
    polyak_(target, online, 0.25)
    torch.testing.assert_close(target.weight.data, 0.75 * before + 0.25 * goal)


def test_target_takes_over_the_statistics_of_batch_norm() -> None:
    target, online = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    online(torch.randn(8, 2) + 5.0)
    polyak_(target, online, 0.25)
    assert torch.equal(target.running_mean, online.running_mean)


def test_policy_without_tanh_acts_by_its_clipped_mean() -> None:
    policy = Policy(SMALL, PROBLEM, 256, squashed=False)
    with torch.no_grad():
        policy.mean.bias.copy_(torch.tensor([3.0, -3.0, 0.5, 0.0, 0.0, 0.0, 0.0]))
    mode, std = policy.mode(torch.zeros(1, 256), torch.zeros(1, 7), torch.eye(5)[:1])
    assert mode[0, :3].tolist() == pytest.approx([1.0, -1.0, 0.5], abs=0.05)
    assert bool(std.isnan().all())
