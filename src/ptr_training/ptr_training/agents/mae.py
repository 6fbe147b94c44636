"""Masked autoencoder on a store's own images (He et al. 2021, arXiv 2111.06377).

It makes the encoder of the baseline MAE + BC:

    ptr pretrain --config mae --data PRIOR --out RUN/mae
    ptr finetune --config mae_bc --set network.weights=RUN/mae --target DEMOS --out
    RUN/mae_bc

PTR's paper does not say how large its model was; the default has the size of a ViT-Tiny.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig
from ptr_training.models.inference_policy import InferencePolicy
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    INSIDE_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
)
from ptr_training.models.transformer import Block

from .agent import Agent, AgentConfig, Metrics


@dataclass(frozen=True)
class MAEConfig(AgentConfig):
    """Sizes and hyper-parameters of the masked autoencoder."""

    # side of a patch [pixels]
    patch: int = 16
    width: int = 192
    layers: int = 12
    heads: int = 3
    decoder_width: int = 96
    decoder_layers: int = 4
    # fraction of the patches that are hidden
    masked: float = 0.75
    lr: float = 1.5e-4
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.decoder_width % self.heads:
            raise TrainingError(
                f"agent.width is {self.width}, agent.decoder_width {self.decoder_width}; "
                f"both must be multiples of agent.heads, {self.heads}"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            "patch": AT_LEAST_ONE,
            "width": AT_LEAST_ONE,
            "layers": AT_LEAST_ONE,
            "heads": AT_LEAST_ONE,
            "decoder_width": AT_LEAST_ONE,
            "decoder_layers": AT_LEAST_ONE,
            "masked": INSIDE_ONE,
            "lr": POSITIVE,
            "weight_decay": NOT_NEGATIVE,
        }

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return f"masked autoencoder, {self.masked:.0%} of the patches hidden"

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(next_observations=False)


class VisionTransformer(nn.Module):
    """Patches, learnt positions, transformer blocks; features are the mean of the patches."""

    def __init__(self, config: MAEConfig, height: int, width: int) -> None:
        super().__init__()
        if height % config.patch or width % config.patch:
            raise TrainingError(
                f"images of {width} x {height} pixels cannot be cut into patches of "
                f"{config.patch}; set agent.patch"
            )
        self.latent = config.width
        self.patches = height * width // config.patch**2
        self.embed = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.position = nn.Parameter(torch.randn(1, self.patches, config.width) * 0.02)
        self.blocks = nn.ModuleList()
        for _ in range(config.layers):
            self.blocks.append(Block(config.width, config.heads))
        self.norm = nn.LayerNorm(config.width)

    def tokens(self, image: Tensor) -> Tensor:
        """Return the patches with their positions, (B, P, W), of images (B, 3, H, W) in [0, 1]."""
        patches = self.embed(4.0 * (image - 0.5))  # (B, W, rows, columns)
        return patches.flatten(2).transpose(1, 2) + self.position

    def encode(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, P, W) that have attended to each other, from tokens (B, P, W)."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, W) from images (B, 3, H, W) in [0, 1]."""
        return self.encode(self.tokens(image)).mean(1)


class MAE(Agent):
    """Reconstructs hidden patches from the visible ones.

    It has no policy; its encoder serves other agents.
    """

    Config = MAEConfig
    acts = False
    config: MAEConfig
    encoder: VisionTransformer

    def __init__(
        self,
        config: MAEConfig,
        network: NetworkConfig,
        problem: DataSpec,
        augmentation: Augmentation,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__(config, network, problem, augmentation, pretrained)
        c = config
        self.narrow = nn.Linear(c.width, c.decoder_width)
        self.hidden = nn.Parameter(torch.randn(1, 1, c.decoder_width) * 0.02)
        self.position = nn.Parameter(
            torch.randn(1, self.encoder.patches, c.decoder_width) * 0.02
        )
        blocks = [Block(c.decoder_width, c.heads) for _ in range(c.decoder_layers)]
        self.decoder = nn.Sequential(*blocks)
        self.pixels = nn.Sequential(
            nn.LayerNorm(c.decoder_width), nn.Linear(c.decoder_width, 3 * c.patch**2)
        )

    def _make_encoder(self, pretrained: nn.Module | None) -> nn.Module:
        return VisionTransformer(self.config, self.data_spec.height, self.data_spec.width)

    def _make_policy(self) -> nn.Module:
        return nn.Identity()

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        betas, decay = (0.9, 0.95), c.weight_decay
        optimizer = torch.optim.AdamW(
            self.parameters(), c.lr, betas, weight_decay=decay, fused=True
        )
        return {"mae": optimizer}

    def deployed(self) -> InferencePolicy:
        """See `Agent`.

        Raises:
            TrainingError: Always.
        """
        raise TrainingError(
            "a masked autoencoder acts on nothing; "
            "name its run as network.weights of another agent"
        )

    def learn(self, batch: Batch) -> Metrics:
        """Take one gradient step on the squared error of the hidden patches (He et al., §4)."""
        images = self._augment(batch.images)
        size, count = len(images), self.encoder.patches
        order = self.rng.uniform((size, count)).argsort(1)
        visible = order[:, : max(1, round(count * (1.0 - self.config.masked)))]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            predicted = self._reconstruct(images, visible)
        true = self._normalized_patches(images)
        hidden = torch.ones((size, count), device=images.device).scatter(1, visible, 0.0)
        error = ((predicted - true) ** 2).mean(2)
        loss = (error * hidden).sum() / hidden.sum()
        self._step(loss, "mae")
        return {"loss": loss.detach()}

    def _reconstruct(self, images: Tensor, visible: Tensor) -> Tensor:
        """Return the pixels of every patch (B, P, 3 patch²), from the visible ones alone.

        Args:
            images: Shape (B, 3, H, W), in [0, 1].
            visible: Indices of the visible patches, shape (B, V).
        """
        tokens = self.encoder.tokens(images)
        encoded = self.narrow(self.encoder.encode(_pick(tokens, visible)))
        whole = self.hidden.to(encoded.dtype)
        whole = whole.expand(len(images), self.encoder.patches, -1)
        places = visible[:, :, None].expand(-1, -1, encoded.shape[2])
        whole = whole.scatter(1, places, encoded)
        return cast(Tensor, self.pixels(self.decoder(whole + self.position))).float()

    def _normalized_patches(self, images: Tensor) -> Tensor:
        """Return the pixels of every patch (B, P, 3 patch²), with mean 0 and variance 1."""
        patches = F.pixel_unshuffle(images, self.config.patch).flatten(2).transpose(1, 2)
        mean, variance = patches.mean(2, keepdim=True), patches.var(2, keepdim=True)
        return (patches - mean) / (variance + 1e-6).sqrt()


def _pick(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens (B, V, W) at the indices (B, V) of tokens (B, P, W)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
