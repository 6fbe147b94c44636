"""The critic against plain layers and the official code's sizes, and the motion of its copy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.critic import Critic, polyak_

ALL = (True,) * 7
DATA_SPEC = DataSpec(
    5, 128, 128, (-1.0,) * 7, (1.0,) * 7, ALL, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7
)
SMALL = NetworkConfig(encoder="small", film=True)
PROPRIO = torch.zeros(2, 7)


@pytest.mark.parametrize(
    ("refeed", "widths"),
    [
        ("action+latent", [5 + 263, 519, 519, 519]),
        ("action", [5 + 270, 263, 263, 263]),
        ("nothing", [5 + 270, 256, 256, 256]),
    ],
)
def test_layer_widths_are_those_of_the_official_code(
    refeed: str, widths: list[int]
) -> None:
    critic = Critic(NetworkConfig(refeed=refeed), DATA_SPEC, 256)
    assert [layer.weight.shape[1] for layer in critic.layers] == widths


@pytest.mark.parametrize("refeed", ["action+latent", "action", "nothing"])
@pytest.mark.parametrize("encoders", [1, 2])
def test_critic_heads_equal_plain_layers_on_concatenated_inputs(
    refeed: str, encoders: int
) -> None:
    critic = Critic(NetworkConfig(encoder="small", refeed=refeed), DATA_SPEC, 256)
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


def test_inactive_action_dimensions_do_not_reach_the_critic() -> None:
    spec = replace(DATA_SPEC, action_active=(True,) * 6 + (False,))
    critic = Critic(SMALL, spec, 256)
    latent, task, action = torch.randn(2, 256), torch.eye(5)[:2], torch.rand(2, 1, 7)
    other = action.clone()
    other[..., 6] = -1.0
    q = critic(latent, PROPRIO, task, action)
    assert torch.equal(q, critic(latent, PROPRIO, task, other))
    other[..., 5] = -1.0
    assert not torch.equal(q, critic(latent, PROPRIO, task, other))


def test_frozen_critic_passes_gradients_to_the_action_only() -> None:
    critic = Critic(SMALL, DATA_SPEC, 256)
    action = torch.zeros(2, 1, 7, requires_grad=True)
    critic(
        torch.randn(2, 256), torch.zeros(2, 7), torch.eye(5)[:2], action, frozen=True
    ).sum().backward()
    assert action.grad is not None
    assert float(action.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in critic.parameters())


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
