"""Encoders against the figures and conventions of the official code."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.encoders import (
    RESNET_BLOCKS,
    Average,
    CnnTrunk,
    EncoderEnsemble,
    ImageEncoder,
    ImpalaTrunk,
    NetworkConfig,
    ResNet,
    SameConv,
    SpatialEmbedding,
    SpatialSoftmax,
    same_pad,
)

ALL = (True,) * 7
TASK = torch.eye(5)


def problem(size: int = 128) -> DataSpec:
    return DataSpec(
        5, size, size, (-1.0,) * 7, (1.0,) * 7, ALL, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7
    )


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def resnet(name: str) -> ResNet:
    return ResNet(RESNET_BLOCKS[name], bottleneck=name == "resnet50")


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet18", 11.18), ("resnet34", 21.28), ("resnet50", 23.51)]
)
def test_parameter_counts_are_those_of_the_official_resnets(
    name: str, millions: float
) -> None:
    assert round(count(resnet(name)) / 1e6, 2) == millions


def test_parameter_counts_behind_the_feature_maps() -> None:
    assert count(SpatialEmbedding(512, 16, 16, 8)) == 16 * 16 * 512 * 8 == 1_048_576
    encoder = ImageEncoder(NetworkConfig(), problem())
    assert count(encoder.linear) + count(encoder.norm) == 4096 * 256 + 3 * 256
    encoder = ImageEncoder(NetworkConfig(encoder="resnet50"), problem())
    assert encoder.linear.in_features == 8192  # four features a channel
    assert count(encoder.spatial) == 2_097_152


def test_parameter_counts_of_the_smaller_networks() -> None:
    assert count(CnnTrunk(4)) == 3 * 9 * 32 + 3 * 32 * 9 * 32 + 4 * 32
    assert round(count(ImpalaTrunk()) / 1e6, 2) == 0.10
    assert sum(isinstance(each, nn.Conv2d) for each in ImpalaTrunk().modules()) == 15
    cnn, impala = (
        ImageEncoder(NetworkConfig(encoder=name), problem()) for name in ("cnn", "impala")
    )
    assert cnn.linear.in_features == 57 * 57 * 32 == 103_968
    assert impala.linear.in_features == 16 * 16 * 32 == 8192


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("resnet50", 2048)])
def test_resnet_keeps_a_map_of_an_eighth(name: str, channels: int) -> None:
    with torch.no_grad():
        features = resnet(name)(torch.rand(1, 3, 128, 128), TASK[:1])
    assert features.shape == (1, channels, 16, 16)


@pytest.mark.parametrize("name", ["small", "cnn", "impala", "resnet18"])
@pytest.mark.parametrize("size", [64, 50])
def test_announced_map_size_is_the_real_one(name: str, size: int) -> None:
    trunk = ImageEncoder(NetworkConfig(encoder=name), problem(size)).trunk
    with torch.no_grad():
        assert trunk(torch.rand(1, 3, size, size), TASK[:1]).shape[2:] == trunk.map_size(
            size, size
        )


def test_stride_two_pads_after_and_not_before() -> None:
    ramp = torch.arange(1.0, 65.0).view(1, 1, 8, 8)
    conv = SameConv(1, 4, 3, 2)
    nn.init.zeros_(conv.conv.weight)
    conv.conv.weight.data[:, :, 0, 0] = 1.0
    assert conv.conv(same_pad(ramp, 3, 2, 0.0))[0, 0, 0].tolist() == [1, 3, 5, 7]
    assert F.max_pool2d(same_pad(ramp, 3, 2, -math.inf), 3, 2)[0, 0, 0].tolist() == [
        19,
        21,
        23,
        24,
    ]


def test_stride_one_pads_both_sides() -> None:
    conv, image = SameConv(1, 4, 3, 1), torch.randn(2, 1, 6, 5)
    expected = conv.norm(F.conv2d(F.pad(image, (1, 1, 1, 1)), conv.conv.weight))
    torch.testing.assert_close(conv(image), expected)


def test_last_norm_of_a_bottleneck_starts_at_zero() -> None:
    block = resnet("resnet50").blocks[1]
    x = torch.rand(1, 256, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_spatial_embedding_is_the_sum_over_positions_of_a_product() -> None:
    layer = SpatialEmbedding(3, 4, 5, 2)
    x = torch.randn(6, 3, 4, 5)
    kernel = layer.kernel.view(3, 4, 5, 2)
    torch.testing.assert_close(
        layer(x), torch.einsum("bchw,chwf->bcf", x, kernel).flatten(1)
    )


def test_spatial_softmax_finds_the_bright_pixel() -> None:
    x = torch.zeros(1, 2, 5, 9)
    x[0, 0, 0, 8] = x[0, 1, 4, 0] = 100.0  # top right, bottom left
    x_right, x_left, y_top, y_bottom = SpatialSoftmax(5, 9)(x)[0].tolist()
    assert (x_right, y_top, x_left, y_bottom) == pytest.approx((1, -1, -1, 1), abs=1e-4)


def test_average_is_the_mean_over_the_picture() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(Average()(x), x.flatten(2).mean(2))


@pytest.mark.parametrize("kind", ["embedding", "softmax", "average", "flatten"])
@pytest.mark.parametrize("name", ["small", "impala"])
def test_every_aggregation_gives_a_latent_vector(name: str, kind: str) -> None:
    encoder = ImageEncoder(
        NetworkConfig(encoder=name, aggregation=kind, latent=32), problem(32)
    )
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, 32, 32), TASK[:2]).shape == (2, 32)


def test_an_ensemble_has_a_latent_for_each_head() -> None:
    encoders = [ImageEncoder(NetworkConfig(encoder="small"), problem(32)) for _ in range(2)]
    images = torch.rand(3, 3, 32, 32)
    both = EncoderEnsemble(encoders)(images, TASK[:3])
    assert both.shape == (2, 3, 256)
    assert torch.equal(both[1], encoders[1](images, TASK[:3]))


def test_a_task_without_data_sees_unmodulated_features() -> None:
    encoder = ImageEncoder(NetworkConfig(encoder="small", film=True), problem())
    image = torch.rand(1, 3, 128, 128)
    torch.testing.assert_close(encoder(image, TASK[:1]), encoder(image, TASK[4:]))


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_group_norm_does_not_couple_a_batch(name: str) -> None:
    encoder = ImageEncoder(NetworkConfig(encoder=name), problem(64))
    images, task = torch.rand(2, 3, 64, 64), TASK[:2]
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(images, task)[:1], encoder(images[:1], task[:1]), atol=1e-5, rtol=1e-4
        )


def test_batch_norm_couples_a_batch_while_it_learns_only() -> None:
    encoder = ImageEncoder(NetworkConfig(encoder="resnet18", norm="batch"), problem(32))
    images, task = torch.rand(2, 3, 32, 32), TASK[:2]
    with torch.no_grad():
        assert not torch.allclose(
            encoder(images, task)[:1], encoder(torch.stack([images[0]] * 2), task)[:1]
        )
        encoder.eval()
        torch.testing.assert_close(
            encoder(images, task)[:1], encoder(images[:1], task[:1]), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoder": "resnet101"},
            "network.encoder is 'resnet101'; it must be one of small, cnn, impala, resnet18",
        ),
        ({"norm": "layer"}, "network.norm is 'layer'; it must be one of group, batch"),
        (
            {"aggregation": "max"},
            "network.aggregation is 'max'; it must be one of embedding",
        ),
        ({"refeed": "latent"}, "network.refeed is 'latent'"),
        ({"dropout": 1.0}, r"network.dropout is 1.0; it must be in \[0, 1\)"),
        ({"encoder": "r3m"}, "network.weights is '' with encoder r3m"),
        ({"weights": "r3m.pt"}, "network.weights is 'r3m.pt' with encoder resnet34"),
    ],
)
def test_unknown_networks_are_refused(change: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        NetworkConfig(**change)
