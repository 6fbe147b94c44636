"""Layers and initial weights that several networks share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 4
"""Groups of channels of group norm."""

_STD_OF_CUT_NORMAL = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is cut at two deviations."""


def truncated_normal_(tensor: Tensor, variance: float) -> Tensor:
    """Fill with a normal distribution cut at two deviations and of exactly this variance.

    Flax does the same.
    """
    std = math.sqrt(variance) / _STD_OF_CUT_NORMAL
    return nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Return a linear layer with orthogonal weights of this gain and a bias of zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers of these widths, each followed by a ReLU and, if given, dropout."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers.append(linear(inputs, outputs, 1.0))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def make_norm(kind: str, channels: int) -> nn.Module:
    """Return batch norm if `kind` is "batch", else group norm."""
    return nn.BatchNorm2d(channels) if kind == "batch" else GroupNorm(GROUPS, channels)


class GroupNorm(nn.GroupNorm):
    """Group norm in float32, also of bfloat16 maps.

    Autocast does so on a GPU. On a CPU PyTorch's bfloat16 form takes up to seven times as long.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normed maps, shape (B, C, H, W)."""
        if input.dtype == torch.bfloat16:
            input = input.float()
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def same_pad(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pad images so that a window of `kernel` with `stride` gives ceil(size / stride) outputs.

    Args:
        x: Shape (B, C, H, W).
        kernel: Side of the window [pixels].
        stride: Step of the window [pixels].
        value: What the new pixels hold.

    Returns:
        Padded images; an odd pixel goes after and not before.
    """
    height, width = x.shape[2], x.shape[3]
    down = max((math.ceil(height / stride) - 1) * stride + kernel - height, 0)
    right = max((math.ceil(width / stride) - 1) * stride + kernel - width, 0)
    if down == 0 and right == 0:
        return x
    left, top = right // 2, down // 2
    return F.pad(x, [left, right - left, top, down - top], value=value)


class SameConv(nn.Module):
    """Convolution without bias and with SAME padding, then group or batch norm.

    With stride 2 on an even size SAME pads 0 before and 1 after, where padding=1 of torch
    pads both sides.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        padding: int = -1,
        norm: str = "group",
    ) -> None:
        super().__init__()
        if padding < 0 and stride == 1:
            padding = kernel // 2  # the same on both sides
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=max(padding, 0), bias=False
        )
        truncated_normal_(self.conv.weight, 2.0 / (inputs * kernel * kernel))
        self.norm = make_norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H', W') from (B, inputs, H, W)."""
        if self.padding < 0:
            x = same_pad(x, self.kernel, self.stride, 0.0)
        features: Tensor = self.norm(self.conv(x))
        return features
