"""Aggregation over the image: feature maps (B, C, H, W) to vectors (paper, Table 11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import truncated_normal_


class SpatialEmbedding(nn.Module):
    """Learned spatial embedding (paper §4.2, figure 2).

    out[c, f] = sum over h, w of x[h, w, c] K[h, w, c, f], as one matrix product per channel,
    (C, B, HW) x (C, HW, F), where the official code forms the product of size
    B x H x W x C x F.
    """

    def __init__(self, channels: int, height: int, width: int, features: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(channels, height * width, features))
        truncated_normal_(self.kernel.data, 1.0 / (height * width * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C * F), channel-major, from (B, C, H, W)."""
        by_channel = x.flatten(2).transpose(0, 1)  # (C, B, HW)
        features = torch.bmm(by_channel, self.kernel)  # (C, B, F)
        return features.transpose(0, 1).flatten(1)


class SpatialSoftmax(nn.Module):
    """Position of every channel's activity.

    It is the mean position under a softmax over the image, at a learned temperature.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        positions = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        self.grid: Tensor  # (2, HW): x and y of every pixel, in [-1, 1]
        self.register_buffer("grid", positions.flatten(1))
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 C): every channel's mean x, then every channel's mean y, in [-1, 1]."""
        weights = (x.flatten(2) / self.temperature).softmax(2)  # (B, C, HW)
        return torch.matmul(weights, self.grid.t()).transpose(1, 2).flatten(1)


class Average(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C) from (B, C, H, W)."""
        return x.mean((2, 3))
