"""Behavior Transformer (Shafiullah et al. 2022, arXiv 2206.11251).

A small GPT predicts a bin of whole actions and an offset from its centre. PTR's paper
compares with the reference implementation at default settings and windows of 1, 2 and 10
observations (Appendix D). The defaults here are those of its kitchen experiments. There an
action is drawn from the bins; here the policy takes the likeliest bin, so that a robot does
the same on the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.normalization import DataSpec
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig
from ptr_training.models.inference_policy import InferencePolicy
from ptr_training.models.policy import ACTION_SIZE, FeatureConcat
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
)
from ptr_training.models.transformer import Block

from .agent import Agent, AgentConfig, Metrics


@dataclass(frozen=True)
class BeTConfig(AgentConfig):
    """Hyper-parameters; the defaults are those of the reference's kitchen experiments."""

    # observations that the policy looks at
    window: int = 10
    # k-means clusters of the demonstrated actions
    bins: int = 64
    layers: int = 6
    heads: int = 6
    width: int = 120
    dropout: float = 0.1
    focal_gamma: float = 2.0
    # of the offset's squared error beside the focal loss
    offset_weight: float = 1000.0
    lr: float = 1e-4
    # of the transformer's matrices
    weight_decay: float = 0.1
    # largest length of the gradient; 0: not clipped
    max_gradient: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise TrainingError(
                f"agent.width is {self.width}; "
                f"it must be a multiple of agent.heads, {self.heads}"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            "window": AT_LEAST_ONE,
            "bins": AT_LEAST_ONE,
            "layers": AT_LEAST_ONE,
            "heads": AT_LEAST_ONE,
            "width": AT_LEAST_ONE,
            "dropout": BELOW_ONE,
            "focal_gamma": NOT_NEGATIVE,
            "offset_weight": NOT_NEGATIVE,
            "lr": POSITIVE,
            "weight_decay": NOT_NEGATIVE,
            "max_gradient": NOT_NEGATIVE,
        }

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return (
            f"Behavior Transformer: {self.bins} bins with offsets, window of {self.window}"
        )

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(history=self.window, next_observations=False)


class BeTPolicy(nn.Module):
    """GPT over a window of observations.

    Each token gives logits of the bins and an offset for every bin.
    """

    def __init__(
        self, config: BeTConfig, network: NetworkConfig, data_spec: DataSpec, latent: int
    ) -> None:
        super().__init__()
        self.bins = config.bins
        self.observation = FeatureConcat(network, data_spec, latent)
        self.embed = nn.Linear(self.observation.size, config.width)
        self.position = nn.Parameter(torch.zeros(1, config.window, config.width))
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList()
        for _ in range(config.layers):
            block = Block(config.width, config.heads, causal=True, dropout=config.dropout)
            self.blocks.append(block)
        self.norm = nn.LayerNorm(config.width)
        self.logits = nn.Linear(config.width, config.bins)
        self.offsets = nn.Linear(config.width, config.bins * ACTION_SIZE)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.centres: Tensor  # (bins, 7), in [-1, 1]
        self.register_buffer("centres", torch.zeros(config.bins, ACTION_SIZE))

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, bins) and offsets (B, T, bins, 7).

        Args:
            latent: Shape (B, T, Z).
            proprio: Shape (B, T, 7).
            task: One-hot ids, shape (B, T, N).
        """
        x = self.embed(self.observation(latent, proprio, task))
        x = self.drop(x + self.position)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.logits(x), self.offsets(x).unflatten(2, (self.bins, 7))

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action of the newest observation: the likeliest bin with its offset.

        Args:
            latent: Shape (B, T, Z), or (B, Z) for a window of one.
            proprio: Shape (B, T, 7), or (B, 7).
            task: One-hot ids, shape (B, T, N), or (B, N).

        Returns:
            The action (B, 7), and NaN (B, 7): there is no standard deviation.
        """
        if latent.dim() == 2:  # a window of one
            latent, proprio, task = latent[:, None], proprio[:, None], task[:, None]
        logits, offsets = self.forward(latent, proprio, task)
        best = logits[:, -1].argmax(1)
        chosen = offsets[:, -1].gather(1, best[:, None, None].expand(-1, 1, 7))[:, 0]
        action = (self.centres[best] + chosen).clamp(-1.0, 1.0)
        return action, torch.full_like(action, float("nan"))


class BeT(Agent):
    """Focal loss of the demonstrated action's bin and squared error of its offset.

    Both are means over the whole window.
    """

    Config = BeTConfig
    config: BeTConfig
    policy: BeTPolicy

    def _make_policy(self) -> nn.Module:
        return BeTPolicy(self.config, self.network, self.data_spec, self.latent)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        matrices = []
        for module in self.policy.modules():
            if isinstance(module, nn.Linear):
                matrices.append(module.weight)
        decayed = {id(matrix) for matrix in matrices}
        others = []
        for parameter in self.parameters():
            if parameter.requires_grad and id(parameter) not in decayed:
                others.append(parameter)
        groups = [
            {"params": matrices, "weight_decay": c.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return {"actor": torch.optim.AdamW(groups, lr=c.lr, betas=(0.9, 0.95), fused=True)}

    def deployed(self) -> InferencePolicy:
        """See `Agent`."""
        return InferencePolicy(
            self.data_spec, self.encoder, self.policy, history=self.config.window
        )

    def prepare(self, data: Sequence[Transitions], *, finetuning: bool) -> None:
        """Find the centres of the bins among the actions; a pre-trained agent keeps its own."""
        if self.steps:
            return
        actions = np.concatenate([part.actions for part in data])
        seed = int(self.rng.generator.initial_seed())
        centres = k_means(actions, self.config.bins, seed)
        self.policy.centres.copy_(torch.from_numpy(centres))

    def learn(self, batch: Batch) -> Metrics:
        """Take one gradient step."""
        size, window = len(batch.task), self.config.window
        task = self._one_hot(batch.task)[:, None].expand(-1, window, -1)
        images = self._augment(batch.images.flatten(0, 1) if window > 1 else batch.images)
        latent = self._encode(self.encoder, images, task.flatten(0, 1))
        latent = latent.unflatten(0, (size, window))
        logits, offsets = self.policy(latent, batch.proprio.view(size, window, -1), task)
        actions = batch.actions.view(size, window, 1, ACTION_SIZE)
        differences = (actions - self.policy.centres) * self.active  # (B, T, bins, 7)
        nearest = (differences**2).sum(3).argmin(2)  # (B, T)
        index = nearest[:, :, None, None].expand(-1, -1, 1, ACTION_SIZE)
        predicted, true = offsets.gather(2, index), differences.gather(2, index)
        error = (predicted - true) * self.active
        offset_loss = (error**2).sum(3).mean() / self.active.sum()
        bin_loss = focal_loss(
            logits.flatten(0, 1), nearest.flatten(), self.config.focal_gamma
        )
        loss = bin_loss + self.config.offset_weight * offset_loss
        self._step(loss, "actor", clip=self.config.max_gradient)
        return {
            "loss": loss.detach(),
            "bin_loss": bin_loss.detach(),
            "offset_loss": offset_loss.detach(),
            "accuracy": (logits.argmax(2) == nearest).float().mean(),
        }


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return the mean of (1 - p)^γ times the cross-entropy, p the probability of the true class.

    Args:
        logits: Shape (B, classes).
        target: True classes, shape (B,).
        gamma: γ; 0 gives the cross-entropy.
    """
    log_p = F.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
    return -((1.0 - log_p.exp()) ** gamma * log_p).mean()


def k_means(points: np.ndarray, clusters: int, seed: int, rounds: int = 50) -> np.ndarray:
    """Return cluster centres by Lloyd's iterations from k-means++ starts.

    Args:
        points: Shape (N, D).
        clusters: Number of centres.
        seed: Of the starts.
        rounds: Largest number of iterations.

    Returns:
        Shape (clusters, D), float32.

    Raises:
        TrainingError: If there are fewer distinct points than clusters.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) < clusters:
        raise TrainingError(
            f"agent.bins is {clusters}, "
            f"but the data hold only {len(distinct)} distinct actions"
        )
    centres = _starting_centres(distinct, clusters, np.random.default_rng(seed))
    for _ in range(rounds):
        nearest = _nearest(points, centres)
        counts = np.bincount(nearest, minlength=clusters)[:, None]
        sums = np.stack([np.bincount(nearest, column, clusters) for column in points.T], 1)
        # a cluster without points keeps its centre
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres.astype(np.float32)


def _starting_centres(
    distinct: np.ndarray, clusters: int, rng: np.random.Generator
) -> np.ndarray:
    """Return starts of k-means++: points far from those before are likelier."""
    centres = distinct[rng.integers(len(distinct))][None]
    distance = ((distinct - centres[0]) ** 2).sum(1)
    while len(centres) < clusters:
        new = distinct[rng.choice(len(distinct), p=distance / distance.sum())]
        centres = np.concatenate([centres, new[None]])
        distance = np.minimum(distance, ((distinct - new) ** 2).sum(1))
    return centres


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the index of the nearest centre of every point (N,)."""
    products = points @ centres.T
    return ((centres**2).sum(1) - 2.0 * products).argmin(1)
