"""Pre-trained encoders that are not learnt: R3M (Nair et al. 2022), or a masked autoencoder's.

They see no augmentation, and every frame is encoded once, before training begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ptr_training.data.augment import to_network
from ptr_training.data.transitions import Transitions

CHUNK = 64
"""Frames encoded at a time."""


class FrozenEncoder(nn.Module):
    """Features of a frozen network, normalised to mean 0 and variance 1.

    It takes the place of an `ImageEncoder`. Given features (B, Z) in place of images it only
    normalises them.

    Args:
        network: The pre-trained network: images (B, 3, H, W) in [0, 1] to features (B, `latent`).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.latent = int(self.network.latent)  # type: ignore[arg-type]

    def forward(self, image: Tensor, task: Tensor) -> Tensor:
        """Return features (B, Z) from images (B, 3, H, W) in [0, 1], or from features (B, Z)."""
        features = self.network(image) if image.dim() == 4 else image
        return F.layer_norm(features, [self.latent])

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stay in evaluation mode: batch norm uses the statistics it came with."""
        return super().train(False)


@torch.no_grad()
def encode_frames(
    encoder: nn.Module, parts: Sequence[Transitions], device: torch.device
) -> None:
    """Replace the frames of all parts by their features, each frame encoded once.

    Args:
        encoder: A `FrozenEncoder`.
        parts: Their frames (N, H, W, 3) uint8 become features (N, Z) float32; those that no
            transition uses become 0.
        device: Where the encoder is.
    """
    assert isinstance(encoder, FrozenEncoder)
    for part in parts:
        used = np.unique(np.concatenate([part.rows, part.rows + 1]))
        features = np.zeros((len(part.frames), encoder.latent), np.float32)
        chunks = np.array_split(used, -(-len(used) // CHUNK))
        title, unit = f"encode {part.store.info.name}", f"x{CHUNK} frames"
        for rows in tqdm(chunks, desc=title, unit=unit, disable=None):
            frames = torch.from_numpy(np.asarray(part.store.frames[rows]))
            images = to_network(frames.to(device))
            features[rows] = encoder.network(images).cpu().numpy()
        part.frames = features


class R3MNetwork(nn.Module):
    """ResNet-50 of the usual strides with batch norm, up to the mean features.

    Its parameters are named as in torchvision. Preprocessing is as R3M documents it: resize
    to 256, centre crop of 224, normalise by ImageNet's mean and standard deviation.
    """

    latent = 2048
    largest = 256
    """Largest height and width of its images [pixels]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs, stages = 64, []
        for stage, count in enumerate((3, 4, 6, 3)):
            width = 64 * 2**stage
            blocks = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(_R3MBlock(inputs, width, stride))
                inputs = 4 * width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.mean: Tensor
        self.std: Tensor
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, 2048) from images (B, 3, H, W) in [0, 1]."""
        # to at most as many pixels this would be the same with antialias, which an exported
        # program cannot hold
        x = F.interpolate(image, size=[256, 256], mode="bilinear", align_corners=False)
        x = (x[:, :, 16:240, 16:240] - self.mean) / self.std
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


class _R3MBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        projection = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        changed = inputs != outputs or stride != 1
        self.downsample = projection if changed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 width, H', W') from (B, inputs, H, W)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))
