"""Padding, norms and initial weights against those of the official code."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ptr_training.models.layers import (
    SameConv,
    linear,
    make_norm,
    mlp,
    same_pad,
    truncated_normal_,
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


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (7, 7, 2), (5, 3, 1)]
)
def test_same_padding_gives_the_size_divided_by_the_stride(
    size: int, kernel: int, stride: int
) -> None:
    padded = same_pad(torch.zeros(1, 1, size, size + 1), kernel, stride, 0.0)
    outputs = F.max_pool2d(padded, kernel, stride).shape[2:]
    assert outputs == (math.ceil(size / stride), math.ceil((size + 1) / stride))


def test_truncated_normal_has_the_variance_that_was_asked_for() -> None:
    torch.manual_seed(0)
    values = truncated_normal_(torch.empty(200_000), 4.0)
    assert float(values.var()) == pytest.approx(4.0, rel=0.02)
    assert float(values.abs().max()) <= 2 * 2.0 / 0.8796 + 1e-3


def test_linear_layers_start_orthogonal_with_a_bias_of_zero() -> None:
    layer = linear(6, 4, 0.5)
    torch.testing.assert_close(layer.weight @ layer.weight.t(), 0.25 * torch.eye(4))
    assert not layer.bias.any()


def test_an_mlp_has_dropout_only_if_asked_for() -> None:
    plain = [type(module) for module in mlp((5, 4, 3))]
    assert plain == [nn.Linear, nn.ReLU] * 2
    with_dropout = [type(module) for module in mlp((5, 4, 3), dropout=0.1)]
    assert with_dropout == [nn.Linear, nn.ReLU, nn.Dropout] * 2


def test_norm_is_of_groups_unless_batch_norm_is_asked_for() -> None:
    group = make_norm("group", 8)
    assert isinstance(group, nn.GroupNorm)
    assert group.num_groups == 4
    assert isinstance(make_norm("batch", 8), nn.BatchNorm2d)
