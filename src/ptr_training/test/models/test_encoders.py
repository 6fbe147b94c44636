"""Encoders against the figures and conventions of the official code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.encoders import EncoderEnsemble, ImageEncoder

ALL = (True,) * 7
TASK = torch.eye(5)


def data_spec(size: int = 128) -> DataSpec:
    """Return the description of square images of `size` pixels and five tasks."""
    return DataSpec(
        5, size, size, (-1.0,) * 7, (1.0,) * 7, ALL, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7
    )


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_behind_the_feature_maps() -> None:
    encoder = ImageEncoder(NetworkConfig(), data_spec())
    assert count(encoder.spatial) == 16 * 16 * 512 * 8 == 1_048_576
    assert count(encoder.linear) + count(encoder.norm) == 4096 * 256 + 3 * 256
    encoder = ImageEncoder(NetworkConfig(encoder="resnet50"), data_spec())
    assert encoder.linear.in_features == 8192  # four features a channel
    assert count(encoder.spatial) == 2_097_152


@pytest.mark.parametrize(
    ("name", "features"), [("cnn", 57 * 57 * 32), ("impala", 16 * 16 * 32)]
)
def test_smaller_networks_flatten_their_feature_maps(name: str, features: int) -> None:
    encoder = ImageEncoder(NetworkConfig(encoder=name), data_spec())
    assert encoder.linear.in_features == features


def test_features_of_the_embedding_can_be_chosen() -> None:
    config = NetworkConfig(encoder="small", spatial_features=3)
    assert ImageEncoder(config, data_spec(32)).linear.in_features == 64 * 3


@pytest.mark.parametrize("kind", ["embedding", "softmax", "average", "flatten"])
@pytest.mark.parametrize("name", ["small", "impala"])
def test_every_aggregation_gives_a_latent_vector(name: str, kind: str) -> None:
    encoder = ImageEncoder(
        NetworkConfig(encoder=name, aggregation=kind, latent=32), data_spec(32)
    )
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, 32, 32), TASK[:2]).shape == (2, 32)


def test_an_ensemble_has_a_latent_for_each_head() -> None:
    encoders = [
        ImageEncoder(NetworkConfig(encoder="small"), data_spec(32)) for _ in range(2)
    ]
    images = torch.rand(3, 3, 32, 32)
    both = EncoderEnsemble(encoders)(images, TASK[:3])
    assert both.shape == (2, 3, 256)
    assert torch.equal(both[1], encoders[1](images, TASK[:3]))


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_group_norm_does_not_couple_a_batch(name: str) -> None:
    encoder = ImageEncoder(NetworkConfig(encoder=name), data_spec(64))
    images, task = torch.rand(2, 3, 64, 64), TASK[:2]
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(images, task)[:1], encoder(images[:1], task[:1]), atol=1e-5, rtol=1e-4
        )


def test_batch_norm_couples_a_batch_while_it_learns_only() -> None:
    encoder = ImageEncoder(NetworkConfig(encoder="resnet18", norm="batch"), data_spec(32))
    images, task = torch.rand(2, 3, 32, 32), TASK[:2]
    with torch.no_grad():
        assert not torch.allclose(
            encoder(images, task)[:1], encoder(torch.stack([images[0]] * 2), task)[:1]
        )
        encoder.eval()
        torch.testing.assert_close(
            encoder(images, task)[:1], encoder(images[:1], task[:1]), atol=1e-5, rtol=1e-4
        )
