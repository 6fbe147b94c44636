"""Trunks of image encoders: images (B, 3, H, W) in [0, 1] to feature maps (B, C, H', W').

Every trunk also takes the one-hot task ids (B, N); only the small one uses them.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from .config import NetworkConfig
from .layers import SameConv, make_norm, same_pad, truncated_normal_

RESNET_BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}
"""Residual blocks of every stage."""


class Trunk(nn.Module):
    """Base of the trunks; a subclass has the number of its feature maps as `channels`."""

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the feature map of an image [pixels]."""
        return math.ceil(height / 8), math.ceil(width / 8)


def make_trunk(config: NetworkConfig, n_tasks: int) -> Trunk:
    """Return the trunk that `config.encoder` names; `n_tasks` is the width of the task id."""
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
    """Four 3x3 convolutions of total stride 8, for training on a CPU.

    The task id may modulate two of them (FiLM). Pixels are centred, which the ResNets leave
    to their first norm: it halves the steps until an object is found.
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
            # a task without data leaves the features as they are
            nn.init.zeros_(layer.weight)
        self.film = film
        # on weights that start at zero, so that Adam's small steps move the modulation quickly
        self.film_gain = 3.0
        self.convs = nn.ModuleList(convs)
        self.modulation = nn.ModuleList(modulation)
        self.norms = nn.ModuleList([make_norm(norm, o) for _, o, _ in sizes])

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """Return (B, 64, H/8, W/8)."""
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
    """The paper's "Small" network (Appendix E): 3x3 convolutions of 32 channels, no padding.

    The first has stride 2. Source: official code, `jaxrl2/networks/encoders/networks.py`,
    which has four of them; the paper's text says three.
    """

    channels = 32

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.count = layers
        convs: list[nn.Module] = []
        for index in range(layers):
            inputs, stride = (32, 1) if index else (3, 2)
            conv = nn.Conv2d(inputs, 32, 3, stride)
            nn.init.orthogonal_(conv.weight, math.sqrt(2.0))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            convs += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*convs)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """See `Trunk`."""
        return self._side(height), self._side(width)

    def _side(self, pixels: int) -> int:
        """Return the side of the feature map: stride 2 first, then two pixels less a layer."""
        return (pixels - 3) // 2 + 1 - 2 * (self.count - 1)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """Return (B, 32, H', W')."""
        features: Tensor = self.layers(x)  # `cast` is unknown to TorchScript
        return features


class ImpalaTrunk(Trunk):
    """The IMPALA residual network: 15 convolutions in three stacks, no norm.

    Source: official code, `impala_encoder.py`.
    """

    channels = 32

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16), (16, 32), (32, 32))
        self.stacks = nn.ModuleList([ImpalaStack(i, o) for i, o in sizes])

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """Return (B, 32, H/8, W/8)."""
        for stack in self.stacks:
            x = stack(x)
        return F.relu(x)


class ImpalaStack(nn.Module):
    """A convolution, a max-pool that halves the size, and two residual blocks.

    A block is ReLU-conv-ReLU-conv.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        sizes = (inputs, outputs, outputs, outputs, outputs)
        self.convs = nn.ModuleList([nn.Conv2d(i, outputs, 3, padding=1) for i in sizes])
        for conv in self.convs:
            nn.init.xavier_uniform_(conv.weight)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, ceil(H / 2), ceil(W / 2)) from (B, inputs, H, W)."""
        x = self.convs[0](x)
        x = F.max_pool2d(same_pad(x, 3, 2, -float("inf")), 3, 2)
        x = x + self.convs[2](F.relu(self.convs[1](F.relu(x))))
        return x + self.convs[4](F.relu(self.convs[3](F.relu(x))))


class ResNet(Trunk):
    """ResNet-18, 34 or 50 with strides 2, 2, 2, 1, 1 (stem, pool, stages 2, 3, 4).

    The total stride is 8. Source: official code,
    `jaxrl2/networks/encoders/resnet_encoderv1.py`. The paper does not mention that the last
    two stages keep their size; it multiplies the cost by almost five against the usual
    strides.
    """

    def __init__(
        self, blocks: tuple[int, ...], *, bottleneck: bool = False, norm: str = "group"
    ) -> None:
        super().__init__()
        self.stem = SameConv(3, 64, 7, 2, padding=3, norm=norm)
        block_type = Bottleneck if bottleneck else BasicBlock
        layers: list[nn.Module] = []
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            for block in range(count):
                stride = 2 if stage == 1 and block == 0 else 1
                layers.append(block_type(inputs, width, stride, norm))
                inputs = 4 * width if bottleneck else width
        self.channels = inputs
        self.blocks = nn.Sequential(*layers)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """Return (B, channels, H/8, W/8)."""
        x = F.relu(self.stem(x))
        x = F.max_pool2d(same_pad(x, 3, 2, -float("inf")), 3, 2)
        features: Tensor = self.blocks(x)
        return features


class BasicBlock(nn.Module):
    """Residual block conv-norm-ReLU-conv-norm, added to its input, then ReLU."""

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.first = SameConv(inputs, width, 3, stride, norm=norm)
        self.second = SameConv(width, width, 3, 1, norm=norm)
        self.shortcut = _shortcut(inputs, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H', W') from (B, inputs, H, W)."""
        y = F.relu(self.first(x))
        return F.relu(self.shortcut(x) + self.second(y))


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3 (with the stride), 1x1 to four times the width.

    Its last norm starts at scale 0.
    """

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.first = SameConv(inputs, width, 1, 1, padding=0, norm=norm)
        self.second = SameConv(width, width, 3, stride, norm=norm)
        self.third = SameConv(width, 4 * width, 1, 1, padding=0, norm=norm)
        nn.init.zeros_(self.third.norm.weight)  # type: ignore[arg-type]
        self.shortcut = _shortcut(inputs, 4 * width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 width, H', W') from (B, inputs, H, W)."""
        y = F.relu(self.first(x))
        y = F.relu(self.second(y))
        return F.relu(self.shortcut(x) + self.third(y))


def _shortcut(inputs: int, outputs: int, stride: int, norm: str) -> nn.Module:
    """Return what a block adds its output to: its input, projected where the shape changes."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return SameConv(inputs, outputs, 1, stride, padding=0, norm=norm)
