"""Networks against the figures and conventions of the official code."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ptr_training.networks import (
    RESNET_BLOCKS,
    Critic,
    ImageEncoder,
    NetworkConfig,
    Policy,
    ResNet,
    SameConv,
    SpatialEmbedding,
    polyak_,
    same_pad,
    sample_actions,
)
from ptr_training.replay import Problem

ALL = (True,) * 7
PROBLEM = Problem(5, 128, 128, (-1.0,) * 7, (1.0,) * 7, ALL, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7)
SMALL = NetworkConfig(encoder="small", film=True)


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_parameter_counts_are_those_of_the_official_encoders() -> None:
    assert round(count(ResNet(RESNET_BLOCKS["resnet18"])) / 1e6, 2) == 11.18
    assert round(count(ResNet(RESNET_BLOCKS["resnet34"])) / 1e6, 2) == 21.28
    assert count(SpatialEmbedding(512, 16, 16, 8)) == 16 * 16 * 512 * 8
    encoder = ImageEncoder(NetworkConfig(), PROBLEM)
    assert count(encoder.linear) + count(encoder.norm) == 4096 * 256 + 3 * 256


def test_resnet_keeps_a_map_of_an_eighth() -> None:
    with torch.no_grad():
        assert ResNet(RESNET_BLOCKS["resnet18"])(torch.rand(1, 3, 128, 128), torch.zeros(1, 5)).shape == (
            1,
            512,
            16,
            16,
        )


def test_stride_two_pads_after_and_not_before() -> None:
    ramp = torch.arange(1.0, 65.0).view(1, 1, 8, 8)
    conv = SameConv(1, 4, 3, 2)
    nn.init.zeros_(conv.conv.weight)
    conv.conv.weight.data[:, :, 0, 0] = 1.0
    assert conv.conv(same_pad(ramp, 3, 2, 0.0))[0, 0, 0].tolist() == [1, 3, 5, 7]
    assert F.max_pool2d(same_pad(ramp, 3, 2, -math.inf), 3, 2)[0, 0, 0].tolist() == [19, 21, 23, 24]


def test_spatial_embedding_is_the_sum_over_positions_of_a_product() -> None:
    layer = SpatialEmbedding(3, 4, 5, 2)
    x = torch.randn(6, 3, 4, 5)
    kernel = layer.kernel.view(3, 4, 5, 2)
    torch.testing.assert_close(layer(x), torch.einsum("bchw,chwf->bcf", x, kernel).flatten(1))


def test_layer_widths_are_those_of_the_launch_settings() -> None:
    critic, policy = Critic(NetworkConfig(), PROBLEM), Policy(NetworkConfig(), PROBLEM)
    assert [layer.weight.shape[1] for layer in critic.layers] == [5 + 263, 519, 519, 519]
    assert policy.layers[0].in_features == 263 + 5


def test_critic_heads_equal_plain_perceptrons_on_concatenated_inputs() -> None:
    critic = Critic(SMALL, PROBLEM)
    latent, action = torch.randn(4, 256), torch.rand(4, 3, 7) * 2 - 1
    task = F.one_hot(torch.tensor([0, 1, 2, 4]), 5).float()
    found = critic(latent, task, action)
    assert found.shape == (2, 4, 3)
    for head in range(2):
        for k in range(3):
            a = action[:, k]
            h = torch.cat([a, task, latent], 1) @ critic.layers[0].weight[head] + critic.layers[0].bias[head, 0]
            for layer in critic.layers[1:]:
                h = torch.cat([F.relu(h), a, latent], 1) @ layer.weight[head] + layer.bias[head, 0]
            torch.testing.assert_close(found[head, :, k], h[:, 0], atol=1e-5, rtol=1e-5)


def test_inactive_action_dimensions_do_not_reach_the_critic() -> None:
    problem = Problem(5, 128, 128, (-1.0,) * 7, (1.0,) * 7, (True,) * 6 + (False,), (0.0,) * 7, (0.0,) * 7, (1.0,) * 7)
    critic = Critic(SMALL, problem)
    latent, task, action = torch.randn(2, 256), torch.eye(5)[:2], torch.rand(2, 1, 7)
    other = action.clone()
    other[..., 6] = -1.0
    assert torch.equal(critic(latent, task, action), critic(latent, task, other))


def test_frozen_critic_passes_gradients_to_the_action_only() -> None:
    critic = Critic(SMALL, PROBLEM)
    action = torch.zeros(2, 1, 7, requires_grad=True)
    critic(torch.randn(2, 256), torch.eye(5)[:2], action, frozen=True).sum().backward()
    assert action.grad is not None
    assert float(action.grad.abs().sum()) > 0
    assert all(each.grad is None for each in critic.parameters())


def test_log_density_is_that_of_the_transformed_normal() -> None:
    mean, log_std, active = torch.randn(4, 7), torch.randn(4, 7) * 0.3, torch.tensor([1.0] * 5 + [0.0] * 2)
    actions, log_pi = sample_actions(mean, log_std, active, 3, torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(mean[:, None], log_std.exp()[:, None])
    expected = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform())
    torch.testing.assert_close(log_pi, (expected.log_prob(actions) * active).sum(-1), atol=2e-3, rtol=1e-3)


def test_a_task_without_data_sees_unmodulated_features() -> None:
    encoder = ImageEncoder(SMALL, PROBLEM)
    image = torch.rand(1, 3, 128, 128)
    torch.testing.assert_close(encoder(image, torch.eye(5)[:1]), encoder(image, torch.eye(5)[4:]))


def test_polyak_moves_by_tau() -> None:
    target, online = nn.Linear(2, 1), nn.Linear(2, 1)
    before, goal = target.weight.clone(), online.weight.clone()
    polyak_(target, online, 0.25)
    torch.testing.assert_close(target.weight.data, 0.75 * before + 0.25 * goal)


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_group_norm_does_not_couple_a_batch(name: str) -> None:
    encoder = ImageEncoder(NetworkConfig(encoder=name), PROBLEM)
    images, task = torch.rand(2, 3, 128, 128), torch.eye(5)[:2]
    with torch.no_grad():
        torch.testing.assert_close(encoder(images, task)[:1], encoder(images[:1], task[:1]), atol=1e-5, rtol=1e-4)
