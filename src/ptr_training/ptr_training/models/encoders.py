"""Image encoders: pixels and task id to a latent vector.

Letters in shapes: B batch, C channels, N width of the task id, Z latent size.
Everything here can be compiled by `torch.jit.script`, so that a bundle holds exactly these
modules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError

GROUPS = 4
RESNET_BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}
FROZEN = ("r3m", "mae")
_CHOICES = {
    "encoder": ("small", "cnn", "impala", *RESNET_BLOCKS, *FROZEN),
    "norm": ("group", "batch"),
    "aggregation": ("", "embedding", "softmax", "average", "flatten"),
    "refeed": ("action+latent", "action", "nothing"),
}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and kinds of the networks; the defaults are the official code's launch settings."""

    encoder: str = "resnet34"  # small (ours, for a CPU), cnn (the paper's "Small"), impala, resnet18/34/50, r3m, mae
    weights: str = ""  # r3m and mae: file of the pre-trained encoder, which stays as it is
    film: bool = False  # small encoder only: the task id scales and shifts its features
    norm: str = (
        "group"  # of the small encoder and the ResNets: group, or batch (paper, Table 13)
    )
    aggregation: str = ""  # embedding, softmax, average, flatten (paper, Table 11); empty: the encoder's usual one
    spatial_features: int = 0  # of the embedding, per channel of the feature map; 0: 4 for a ResNet-50, 8 for others
    cnn_layers: int = 4  # as in the official code; the paper's text says 3
    latent: int = 256
    hidden: tuple[int, ...] = (256, 256, 256)
    dropout: float = 0.0  # between the layers of the policy
    heads: int = 2
    refeed: str = "action+latent"  # what enters the critic again at every layer; paper's figure 2: action
    standardize_proprio: bool = (
        False  # by the mean and deviation of the first training data
    )

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise TrainingError(
                    f"network.{name} is {value!r}; it must be one of {', '.join(filter(None, allowed))}"
                )
        if (self.encoder in FROZEN) != bool(self.weights):
            raise TrainingError(
                f"network.weights is {self.weights!r} with encoder {self.encoder}; the encoders {' and '.join(FROZEN)} "
                "need the file of their weights, the others take none"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise TrainingError(f"network.dropout is {self.dropout}; it must be in [0, 1)")


def truncated_normal_(tensor: Tensor, variance: float) -> Tensor:
    """Fill with a normal distribution cut at two deviations and of exactly this variance, as flax does."""
    deviation = math.sqrt(variance) / 0.87962566103423978
    return nn.init.trunc_normal_(tensor, std=deviation, a=-2 * deviation, b=2 * deviation)


def make_encoder(
    config: NetworkConfig, problem: DataSpec, pretrained: nn.Module | None = None
) -> nn.Module:
    """Return an encoder: images (B, 3, H, W) in [0, 1] and one-hot task ids (B, N) to (B, `latent`).

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
                f"network.encoder r3m takes images of at most {R3MNetwork.largest} pixels each way, those of the store "
                f"have {problem.width}x{problem.height}; make the store with a smaller --image-size"
            )
        if pretrained is None:
            raise ValueError(f"encoder {config.encoder} needs its pre-trained network")
        return FrozenEncoder(pretrained)
    return ImageEncoder(config, problem)


class ImageEncoder(nn.Module):
    """Convolutions, aggregation over the picture, linear, layer norm, tanh."""

    def __init__(self, config: NetworkConfig, problem: DataSpec) -> None:
        super().__init__()
        self.trunk = _make_trunk(config, problem.n_tasks)
        rows, columns = self.trunk.map_size(problem.height, problem.width)
        channels = int(self.trunk.channels)  # type: ignore[arg-type]
        usual = "flatten" if config.encoder in ("cnn", "impala") else "embedding"
        kind = config.aggregation or usual
        features = config.spatial_features or (4 if config.encoder == "resnet50" else 8)
        self.spatial: nn.Module
        if kind == "embedding":
            self.spatial = SpatialEmbedding(channels, rows, columns, features)
            inputs = channels * features
        elif kind == "softmax":
            self.spatial = SpatialSoftmax(rows, columns)
            inputs = 2 * channels
        elif kind == "average":
            self.spatial = Average()
            inputs = channels
        else:
            self.spatial = nn.Flatten()
            inputs = channels * rows * columns
        self.latent = config.latent
        self.linear = nn.Linear(inputs, config.latent)
        nn.init.xavier_normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(config.latent, eps=1e-6)

    def forward(self, image: Tensor, task: Tensor) -> Tensor:
        """Return (B, Z) from images (B, 3, H, W) in [0, 1] and one-hot task ids (B, N)."""
        return torch.tanh(self.norm(self.linear(self.spatial(self.trunk(image, task)))))


class EncoderEnsemble(nn.Module):
    """Encoders side by side, one for each critic head (paper, Appendix D; the official code shares one)."""

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.latent = int(encoders[0].latent)  # type: ignore[arg-type]

    def forward(self, image: Tensor, task: Tensor) -> Tensor:
        """Return (E, B, Z)."""
        return torch.stack([encoder(image, task) for encoder in self.encoders])


# Trunks: images (B, 3, H, W) to feature maps (B, C, H', W')
# -----------------------------------------


class Trunk(nn.Module):
    """What trunks have in common: the size of their feature maps; `channels` is how many there are."""

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the feature map of an image."""
        return math.ceil(height / 8), math.ceil(width / 8)


def _make_trunk(config: NetworkConfig, n_tasks: int) -> Trunk:
    if config.encoder == "small":
        return SmallTrunk(n_tasks, config.film, config.norm)
    if config.encoder == "cnn":
        return CnnTrunk(config.cnn_layers)
    if config.encoder == "impala":
        return ImpalaTrunk()
    return ResNet(
        RESNET_BLOCKS[config.encoder],
        bottleneck=config.encoder == "resnet50",
        norm=config.norm,
    )


class SmallTrunk(Trunk):
    """Four 3x3 convolutions, total stride 8, for training on a CPU; the task id may modulate two of them (FiLM).

    Pixels are centred, which the ResNets leave to their first norm: it halves the steps
    until an object is found.
    """

    channels = 64

    def __init__(self, n_tasks: int, film: bool, norm: str = "group") -> None:
        super().__init__()
        sizes = ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1))
        convs = [nn.Conv2d(i, o, 3, s, padding=1, bias=False) for i, o, s in sizes]
        modulation = [nn.Linear(n_tasks, 2 * o, bias=False) for _, o, _ in sizes[1:3]]
        for conv in convs:
            truncated_normal_(conv.weight, 2.0 / (conv.in_channels * 9))
        for layer in modulation:
            nn.init.zeros_(
                layer.weight
            )  # a task without data leaves the features as they are
        self.film = film
        self.film_gain = 3.0  # on weights that start at zero, so that Adam's small steps move the modulation quickly
        self.convs, self.modulation = nn.ModuleList(convs), nn.ModuleList(modulation)
        self.norms = nn.ModuleList([_make_norm(norm, o) for _, o, _ in sizes])

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        film = [self.film_gain * layer(task)[:, :, None, None] for layer in self.modulation]
        x = 4.0 * (x - 0.5)
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms)):  # noqa: B905
            x = norm(conv(x))
            if self.film and 1 <= index <= 2:
                scale, shift = film[index - 1].chunk(2, dim=1)
                x = x * (1.0 + scale) + shift
            x = F.relu(x)
        return x


class CnnTrunk(Trunk):
    """The paper's "Small" network (Appendix E): 3x3 convolutions of 32 channels, the first of stride 2, no padding.

    Source: official code, `jaxrl2/networks/encoders/networks.py`, which has four of them;
    the paper's text says three.
    """

    channels = 32

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.count = layers
        convs: list[nn.Module] = []
        for index in range(layers):
            conv = nn.Conv2d(32 if index else 3, 32, 3, 1 if index else 2)
            nn.init.orthogonal_(conv.weight, math.sqrt(2.0))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            convs += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*convs)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """See `Trunk`."""
        rows, columns = (
            (size - 3) // 2 + 1 - 2 * (self.count - 1) for size in (height, width)
        )
        return rows, columns

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        features: Tensor = self.layers(x)  # `cast` is unknown to TorchScript
        return features


class ImpalaTrunk(Trunk):
    """The IMPALA residual network: 15 convolutions in three stacks, no norm (official `impala_encoder.py`)."""

    channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(
            [ImpalaStack(i, o) for i, o in ((3, 16), (16, 32), (32, 32))]
        )

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        for stack in self.stacks:
            x = stack(x)
        return F.relu(x)


class ImpalaStack(nn.Module):
    """A convolution, a max-pool that halves the size, and two residual blocks of ReLU-conv-ReLU-conv."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(o, outputs, 3, padding=1) for o in (inputs, *[outputs] * 4)]
        )
        for conv in self.convs:
            nn.init.xavier_uniform_(conv.weight)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](x)
        x = F.max_pool2d(same_pad(x, 3, 2, -float("inf")), 3, 2)
        x = x + self.convs[2](F.relu(self.convs[1](F.relu(x))))
        return x + self.convs[4](F.relu(self.convs[3](F.relu(x))))


class ResNet(Trunk):
    """ResNet-18, 34 or 50 with strides 2, 2, 2, 1, 1 (stem, pool, stages 2, 3, 4): total stride 8.

    Source: official code, `jaxrl2/networks/encoders/resnet_encoderv1.py`. The paper does
    not mention that the last two stages keep their size; it multiplies the cost by almost
    five against the usual strides.
    """

    def __init__(
        self, blocks: tuple[int, ...], *, bottleneck: bool = False, norm: str = "group"
    ) -> None:
        super().__init__()
        self.stem = SameConv(3, 64, 7, 2, padding=3, norm=norm)
        layers: list[nn.Module] = []
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            for block in range(count):
                stride = 2 if stage == 1 and block == 0 else 1
                layers.append(
                    (Bottleneck if bottleneck else BasicBlock)(inputs, width, stride, norm)
                )
                inputs = 4 * width if bottleneck else width
        self.channels = inputs
        self.blocks = nn.Sequential(*layers)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.max_pool2d(same_pad(x, 3, 2, -float("inf")), 3, 2)
        features: Tensor = self.blocks(x)
        return features


class BasicBlock(nn.Module):
    """Residual block conv-norm-ReLU-conv-norm, added to its input (projected where the shape changes), ReLU."""

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.first = SameConv(inputs, width, 3, stride, norm=norm)
        self.second = SameConv(width, width, 3, 1, norm=norm)
        changed = inputs != width or stride != 1
        self.shortcut = (
            SameConv(inputs, width, 1, stride, padding=0, norm=norm)
            if changed
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.second(F.relu(self.first(x))))


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3 (with the stride), 1x1 to four times the width; its last norm starts at scale 0."""

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.first = SameConv(inputs, width, 1, 1, padding=0, norm=norm)
        self.second = SameConv(width, width, 3, stride, norm=norm)
        self.third = SameConv(width, 4 * width, 1, 1, padding=0, norm=norm)
        nn.init.zeros_(self.third.norm.weight)  # type: ignore[arg-type]
        changed = inputs != 4 * width or stride != 1
        self.shortcut = (
            SameConv(inputs, 4 * width, 1, stride, padding=0, norm=norm)
            if changed
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(
            self.shortcut(x) + self.third(F.relu(self.second(F.relu(self.first(x)))))
        )


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
            padding = kernel // 2  # the same both sides
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=max(padding, 0), bias=False
        )
        truncated_normal_(self.conv.weight, 2.0 / (inputs * kernel * kernel))
        self.norm = _make_norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.padding < 0:
            x = same_pad(x, self.kernel, self.stride, 0.0)
        features: Tensor = self.norm(self.conv(x))
        return features


def _make_norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(GROUPS, channels)


def same_pad(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pad (B, C, H, W) so that a window of `kernel` with `stride` gives ceil(H / stride) rows."""
    height, width = x.shape[2], x.shape[3]
    down = max((math.ceil(height / stride) - 1) * stride + kernel - height, 0)
    right = max((math.ceil(width / stride) - 1) * stride + kernel - width, 0)
    if down == 0 and right == 0:
        return x
    return F.pad(
        x, [right // 2, right - right // 2, down // 2, down - down // 2], value=value
    )


# Aggregation: feature maps (B, C, H, W) to vectors
# ---------------------------------------------------


class SpatialEmbedding(nn.Module):
    """Learned spatial embedding: out[c, f] = sum over h, w of x[h, w, c] K[h, w, c, f] (paper §4.2, figure 2).

    One matrix product per channel, (C, B, HW) x (C, HW, F), where the official code forms
    the product of size B x H x W x C x F.
    """

    def __init__(self, channels: int, height: int, width: int, features: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(channels, height * width, features))
        truncated_normal_(self.kernel.data, 1.0 / (height * width * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C * F), channel-major, from (B, C, H, W)."""
        return (
            torch.bmm(x.flatten(2).transpose(0, 1), self.kernel).transpose(0, 1).flatten(1)
        )


class SpatialSoftmax(nn.Module):
    """Where each channel is active: the mean position under a softmax over the picture, at a learned temperature."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        self.grid: Tensor
        self.register_buffer(
            "grid", torch.stack(torch.meshgrid(columns, rows, indexing="xy")).flatten(1)
        )  # (2, HW)
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2 C): every channel's mean x, then every channel's mean y, in [-1, 1]."""
        weights = (x.flatten(2) / self.temperature).softmax(2)  # (B, C, HW)
        return torch.matmul(weights, self.grid.t()).transpose(1, 2).flatten(1)


class Average(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C)."""
        return x.mean((2, 3))
