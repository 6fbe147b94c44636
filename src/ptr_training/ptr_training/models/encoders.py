"""Image encoders: pixels and task id to a latent vector.

An encoder is a trunk (`trunks.py`), an aggregation over the image (`aggregation.py`) and a
linear layer. Letters in shapes: B batch, C channels, N width of the task id, Z latent size.
Everything here can be compiled by `torch.jit.script`, so that a bundle holds exactly these
modules.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError

from .aggregation import Average, SpatialEmbedding, SpatialSoftmax
from .config import FROZEN, NetworkConfig
from .trunks import make_trunk


def make_encoder(
    config: NetworkConfig, problem: DataSpec, pretrained: nn.Module | None = None
) -> nn.Module:
    """Return an encoder: images (B, 3, H, W) in [0, 1] and one-hot tasks (B, N) to (B, `latent`).

    Args:
        config: Kind and size of the encoder.
        problem: Size of the images, number of tasks.
        pretrained: The network of a frozen encoder, already opened.

    Raises:
        TrainingError: If the images are too large for R3M.
    """
    if config.encoder in FROZEN:
        from .frozen import FrozenEncoder, R3MNetwork

        if (
            config.encoder == "r3m"
            and max(problem.height, problem.width) > R3MNetwork.largest
        ):
            raise TrainingError(
                f"network.encoder r3m takes images of at most {R3MNetwork.largest} pixels "
                f"each way, those of the store have {problem.width}x{problem.height}; "
                "make the store with a smaller --image-size"
            )
        if pretrained is None:
            raise ValueError(f"encoder {config.encoder} needs its pre-trained network")
        return FrozenEncoder(pretrained)
    return ImageEncoder(config, problem)


class ImageEncoder(nn.Module):
    """Convolutions, aggregation over the image, linear, layer norm, tanh."""

    def __init__(self, config: NetworkConfig, data_spec: DataSpec) -> None:
        super().__init__()
        self.trunk = make_trunk(config, data_spec.n_tasks)
        rows, columns = self.trunk.map_size(data_spec.height, data_spec.width)
        channels = int(self.trunk.channels)  # type: ignore[arg-type]
        self.spatial, inputs = _make_aggregation(config, channels, rows, columns)
        self.latent = config.latent
        self.linear = nn.Linear(inputs, config.latent)
        nn.init.xavier_normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(config.latent, eps=1e-6)

    def forward(self, image: Tensor, task: Tensor) -> Tensor:
        """Return (B, Z) from images (B, 3, H, W) in [0, 1] and one-hot task ids (B, N)."""
        features = self.spatial(self.trunk(image, task))
        return torch.tanh(self.norm(self.linear(features)))


def _make_aggregation(
    config: NetworkConfig, channels: int, rows: int, columns: int
) -> tuple[nn.Module, int]:
    """Return the aggregation that the configuration asks for, and the size of its output.

    Args:
        config: Names the aggregation, or leaves it to the encoder.
        channels: C of the feature map.
        rows: H of the feature map.
        columns: W of the feature map.
    """
    usual = "flatten" if config.encoder in ("cnn", "impala") else "embedding"
    kind = config.aggregation or usual
    if kind == "embedding":
        usual_features = 4 if config.encoder == "resnet50" else 8
        features = config.spatial_features or usual_features
        return SpatialEmbedding(channels, rows, columns, features), channels * features
    if kind == "softmax":
        return SpatialSoftmax(rows, columns), 2 * channels
    if kind == "average":
        return Average(), channels
    return nn.Flatten(), channels * rows * columns


class EncoderEnsemble(nn.Module):
    """Encoders side by side, one for each critic head (paper, Appendix D).

    The official code shares one encoder between the heads.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.latent = int(encoders[0].latent)  # type: ignore[arg-type]

    def forward(self, image: Tensor, task: Tensor) -> Tensor:
        """Return (E, B, Z) from images (B, 3, H, W) in [0, 1] and one-hot task ids (B, N)."""
        return torch.stack([encoder(image, task) for encoder in self.encoders])
