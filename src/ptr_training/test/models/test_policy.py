"""The Gaussian policy: what it sees, the density of its samples, and how it acts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ptr_training.data.distributed import BatchRng
from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.policy import FeatureConcat, Policy, sample_actions

ALL = (True,) * 7
DATA_SPEC = DataSpec(
    5, 128, 128, (-1.0,) * 7, (1.0,) * 7, ALL, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7
)
SMALL = NetworkConfig(encoder="small", film=True)


def test_layer_widths_are_those_of_the_launch_settings() -> None:
    policy = Policy(NetworkConfig(), DATA_SPEC, 256, squashed=True)
    assert policy.layers[0].in_features == 263 + 5


def test_proprioception_is_standardized_only_if_asked_for() -> None:
    spec = replace(DATA_SPEC, proprio_mean=(1.0,) * 7, proprio_std=(2.0,) * 7)
    latent, proprio, task = torch.zeros(1, 3), torch.full((1, 7), 5.0), torch.eye(5)[1:2]
    plain = FeatureConcat(SMALL, spec, 3)(latent, proprio, task)
    assert plain[0].tolist() == [0.0] * 3 + [5.0] * 7 + [0.0, 1.0, 0.0, 0.0, 0.0]
    config = replace(SMALL, standardize_proprio=True)
    scaled = FeatureConcat(config, spec, 3)(latent, proprio, task)
    assert scaled[0].tolist() == [0.0] * 3 + [2.0] * 7 + [0.0, 1.0, 0.0, 0.0, 0.0]


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


def test_samples_of_a_certain_policy_are_its_squashed_mean() -> None:
    mean, rng = torch.randn(3, 7), BatchRng(torch.Generator().manual_seed(0))
    actions, _ = sample_actions(mean, torch.full((3, 7), -20.0), torch.ones(7), 2, rng)
    torch.testing.assert_close(actions, torch.tanh(mean)[:, None].expand(-1, 2, -1))


def test_policy_without_tanh_acts_by_its_clipped_mean() -> None:
    policy = Policy(SMALL, DATA_SPEC, 256, squashed=False)
    with torch.no_grad():
        policy.mean.bias.copy_(torch.tensor([3.0, -3.0, 0.5, 0.0, 0.0, 0.0, 0.0]))
    mode, std = policy.mode(torch.zeros(1, 256), torch.zeros(1, 7), torch.eye(5)[:1])
    assert mode[0, :3].tolist() == pytest.approx([1.0, -1.0, 0.5], abs=0.05)
    assert bool(std.isnan().all())


def test_squashed_policy_acts_by_tanh_and_its_slope_scales_the_deviation() -> None:
    policy = Policy(SMALL, DATA_SPEC, 256, squashed=True)
    with torch.no_grad():
        policy.mean.weight.zero_()
        policy.log_std.weight.zero_()
        policy.mean.bias.fill_(0.5)
        policy.log_std.bias.fill_(-9.0)  # below the lowest allowed one, -5
    mode, std = policy.mode(torch.zeros(1, 256), torch.zeros(1, 7), torch.eye(5)[:1])
    tanh = torch.tanh(torch.tensor(0.5))
    torch.testing.assert_close(mode, tanh.expand(1, 7))
    expected = torch.tensor(-5.0).exp() * (1.0 - tanh**2)
    torch.testing.assert_close(std, expected.expand(1, 7))
