"""Trunks against the figures and conventions of the official code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptr_training.models.config import NetworkConfig
from ptr_training.models.trunks import (
    RESNET_BLOCKS,
    CnnTrunk,
    ImpalaTrunk,
    ResNet,
    make_trunk,
)

TASK = torch.eye(5)


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def resnet(name: str) -> ResNet:
    """Return a ResNet of the official size."""
    return ResNet(RESNET_BLOCKS[name], bottleneck=name == "resnet50")


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet18", 11.18), ("resnet34", 21.28), ("resnet50", 23.51)]
)
def test_parameter_counts_are_those_of_the_official_resnets(
    name: str, millions: float
) -> None:
    assert round(count(resnet(name)) / 1e6, 2) == millions


def test_parameter_counts_of_the_smaller_networks() -> None:
    assert count(CnnTrunk(4)) == 3 * 9 * 32 + 3 * 32 * 9 * 32 + 4 * 32
    assert round(count(ImpalaTrunk()) / 1e6, 2) == 0.10
    assert sum(isinstance(module, nn.Conv2d) for module in ImpalaTrunk().modules()) == 15


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("resnet50", 2048)])
def test_resnet_keeps_a_map_of_an_eighth(name: str, channels: int) -> None:
    with torch.no_grad():
        features = resnet(name)(torch.rand(1, 3, 128, 128), TASK[:1])
    assert features.shape == (1, channels, 16, 16)


@pytest.mark.parametrize("name", ["small", "cnn", "impala", "resnet18"])
@pytest.mark.parametrize("size", [64, 50])
def test_announced_map_size_is_the_real_one(name: str, size: int) -> None:
    trunk = make_trunk(NetworkConfig(encoder=name), n_tasks=5)
    with torch.no_grad():
        features = trunk(torch.rand(1, 3, size, size), TASK[:1])
    assert features.shape[1:] == (trunk.channels, *trunk.map_size(size, size))


def test_last_norm_of_a_bottleneck_starts_at_zero() -> None:
    block = resnet("resnet50").blocks[1]
    x = torch.rand(1, 256, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_a_task_without_data_sees_unmodulated_features() -> None:
    trunk = make_trunk(NetworkConfig(encoder="small", film=True), n_tasks=5)
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(trunk(image, TASK[:1]), trunk(image, TASK[4:]))


def test_film_modulates_the_features_of_its_own_task() -> None:
    trunk = make_trunk(NetworkConfig(encoder="small", film=True), n_tasks=5)
    image = torch.rand(1, 3, 32, 32)
    before, others = trunk(image, TASK[:1]), trunk(image, TASK[1:2])
    with torch.no_grad():
        trunk.modulation[1].weight[:, 0] = 0.1
    assert not torch.allclose(trunk(image, TASK[:1]), before)
    assert torch.equal(trunk(image, TASK[1:2]), others)
