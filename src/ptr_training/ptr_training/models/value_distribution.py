"""A value as a categorical distribution over bins, and its loss by classification (HL-Gauss).

The network gives a logit for each of N equal bins; the value is the expectation. What is learnt
is the cross entropy to a Gaussian around the target, as probabilities of the bins (Imani and
White 2018, "Improving Regression Performance with Distributional Losses"; Farebrother et al.
2024, "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SIGMA = 0.75
"""Standard deviation of the Gaussian, in widths of a bin (Farebrother et al., §4.1)."""

MARGIN = 3
"""Bins beyond each end of the values: four standard deviations, so that a Gaussian at an end is
not cut off and its expectation stays right."""

LEAST_BINS = 2 * MARGIN + 3


class ValueDistribution(nn.Module):
    """Equal bins over a range of values. Letters in shapes: N bins.

    Args:
        low: Lowest value that can occur.
        high: Highest value that can occur.
        count: N, with `MARGIN` bins beyond each end.
    """

    def __init__(self, low: float, high: float, count: int) -> None:
        super().__init__()
        self.low, self.high, self.count = low, high, count
        width = (high - low) / (count - 2 * MARGIN)
        self.scale = SIGMA * width * math.sqrt(2.0)
        edges = low + width * (torch.arange(count + 1, dtype=torch.float64) - MARGIN)
        centers = (edges[1:] + edges[:-1]) / 2.0
        self.edges: Tensor  # (N + 1,)
        self.centers: Tensor  # (N,)
        self.register_buffer("edges", edges.float(), persistent=False)
        self.register_buffer("centers", centers.float(), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the expectations, shape (…), of logits, shape (…, N)."""
        return (logits.softmax(-1) * self.centers).sum(-1)

    def probabilities(self, values: Tensor) -> Tensor:
        """Return the bins' probabilities, shape (…, N), under Gaussians around values, shape (…).

        Values outside of the range count as its ends.
        """
        inside = values.clamp(self.low, self.high)[..., None]
        below = torch.erf((self.edges - inside) / self.scale)  # (…, N + 1)
        mass = below[..., 1:] - below[..., :-1]
        return mass / (below[..., -1:] - below[..., :1])

    def loss(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean over heads and batch of the cross entropy, weighted if asked for.

        Args:
            logits: Of the demonstrated actions, shape (E, B, N).
            target: TD targets, shape (B,); constants.
            weight: Of the transitions, shape (B,); the mean is taken over the weights.
        """
        goal = self.probabilities(target)
        entropy = -(goal * logits.log_softmax(-1)).sum(-1)  # (E, B)
        if weight is None:
            return entropy.mean()
        return (entropy * weight).mean() / weight.mean()
