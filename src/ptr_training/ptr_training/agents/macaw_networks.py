"""MACAW's heads: a Gaussian policy that also predicts advantages, and a value.

Letters in shapes: B batch, N width of the task id, Z latent size.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.policy import ACTION_SIZE, FeatureConcat

ADVANTAGE_WIDTH = 32
"""Width of the hidden layer that predicts advantages."""


class TransformedLinear(nn.Module):
    """A linear layer whose weights are a learnt affine function of a learnt vector.

    A gradient step on it can change its weights in more ways than one on the weights
    themselves (MACAW, §4.3). With 100 inputs the initial values are those of the reference,
    whose bounds do not depend on the layer's width.

    Args:
        inputs: I, width of the input.
        outputs: O, width of the output.
        size: Of the vector.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.vector = nn.Parameter(torch.randn(size) / outputs)
        count, bound = outputs * (inputs + 1), 1.0 / math.sqrt(inputs)
        self.matrix = nn.Parameter(torch.empty(count, size).uniform_(-bound, bound))
        self.offset = nn.Parameter(torch.empty(count).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, O) from (…, I)."""
        flat = self.offset + torch.mv(self.matrix, self.vector)
        weights = flat.view(self.outputs, self.inputs + 1)
        return F.linear(x, weights[:, :-1], weights[:, -1])


def _layer(inputs: int, outputs: int, transform: int) -> nn.Module:
    if transform:
        return TransformedLinear(inputs, outputs, transform)
    return nn.Linear(inputs, outputs)


def _layers(sizes: tuple[int, ...], transform: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [_layer(inputs, outputs, transform), nn.ReLU()]
    return nn.Sequential(*layers)


class MACAWPolicy(nn.Module):
    """Gaussian around a tanh, with a head that also predicts the advantage of an action.

    Args:
        network: Sizes.
        data_spec: Shapes and ranges of the data.
        latent: Z.
        transform: Latent size of the weight-transform layers; 0: plain layers.
        std: Standard deviation; 0: learnt.
    """

    def __init__(
        self,
        network: NetworkConfig,
        data_spec: DataSpec,
        latent: int,
        *,
        transform: int,
        std: float,
    ) -> None:
        super().__init__()
        self.observation = FeatureConcat(network, data_spec, latent)
        self.layers = _layers((self.observation.size, *network.hidden), transform)
        last = network.hidden[-1]
        self.mean = _layer(last, ACTION_SIZE, transform)
        log_std = torch.full((ACTION_SIZE,), math.log(std or 0.2))
        self.log_std = nn.Parameter(log_std, requires_grad=std == 0.0)
        head = _layers((last + ACTION_SIZE, ADVANTAGE_WIDTH), transform)
        self.advantage = nn.Sequential(*head, _layer(ADVANTAGE_WIDTH, 1, transform))

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, log standard deviation and predicted advantage.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
            action: Whose advantage is predicted, shape (B, 7).

        Returns:
            Shapes (B, 7), (7,) and (B,).
        """
        hidden = self.layers(self.observation(latent, proprio, task))
        advantage = self.advantage(torch.cat([hidden, action], 1))[:, 0]
        return torch.tanh(self.mean(hidden)), self.log_std.clamp(-5.0, 2.0), advantage

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean, in [-1, 1], and the standard deviation, (B, 7) each.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
        """
        hidden = self.layers(self.observation(latent, proprio, task))
        mean = torch.tanh(self.mean(hidden))
        return mean, self.log_std.exp().expand_as(mean)


class MACAWValue(nn.Module):
    """Value of a state, regressed to the returns of the data: there is no bootstrap.

    Args:
        network: Sizes.
        data_spec: Shapes and ranges of the data.
        latent: Z.
        transform: Latent size of the weight-transform layers; 0: plain layers.
    """

    def __init__(
        self, network: NetworkConfig, data_spec: DataSpec, latent: int, *, transform: int
    ) -> None:
        super().__init__()
        self.observation = FeatureConcat(network, data_spec, latent)
        sizes = (self.observation.size, *network.hidden)
        hidden = _layers(sizes, transform)
        self.layers = nn.Sequential(*hidden, _layer(sizes[-1], 1, transform))

    def forward(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        """Return values (B,) from (B, Z), (B, 7) and one-hot ids (B, N)."""
        return self.layers(self.observation(latent, proprio, task))[:, 0]
