"""Behavior Transformer (Shafiullah et al. 2022, arXiv 2206.11251): bins of whole actions and offsets, by a small GPT.

The paper compares with its reference implementation at default settings and windows of 1, 2
and 10 observations (Appendix D). The defaults here are those of its kitchen experiments.
There an action is drawn from the bins; a robot that must do the same on the same picture
takes the likeliest bin.
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
from ptr_training.models.encoders import NetworkConfig
from ptr_training.models.networks import ACTION_SIZE, FeatureConcat, InferencePolicy
from ptr_training.models.transformer import Block

from .agent import Agent, AgentConfig, Metrics


@dataclass(frozen=True)
class BeTConfig(AgentConfig):
    """Hyper-parameters; the defaults are those of the reference implementation's kitchen experiments."""

    window: int = 10  # observations that the policy looks at
    bins: int = 64  # k-means clusters of the demonstrated actions
    layers: int = 6
    heads: int = 6
    width: int = 120
    dropout: float = 0.1
    focal_gamma: float = 2.0
    offset_weight: float = 1000.0  # of the offset's squared error beside the focal loss
    lr: float = 1e-4
    weight_decay: float = 0.1  # of the transformer's matrices
    max_gradient: float = 1.0

    def __post_init__(self) -> None:
        for name in ("window", "bins", "layers", "heads"):
            if (value := getattr(self, name)) < 1:
                raise TrainingError(f"agent.{name} is {value}; it must be at least 1")
        if self.width % self.heads:
            raise TrainingError(
                f"agent.width is {self.width}; it must be a multiple of agent.heads, {self.heads}"
            )

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
    """GPT over a window of observations; each token gives logits of the bins and an offset for every bin."""

    def __init__(
        self, config: BeTConfig, network: NetworkConfig, problem: DataSpec, latent: int
    ) -> None:
        super().__init__()
        self.bins = config.bins
        self.observation = FeatureConcat(network, problem, latent)
        self.embed = nn.Linear(self.observation.size, config.width)
        self.position = nn.Parameter(torch.zeros(1, config.window, config.width))
        self.drop = nn.Dropout(config.dropout)
        blocks = [
            Block(config.width, config.heads, causal=True, dropout=config.dropout)
            for _ in range(config.layers)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        self.logits = nn.Linear(config.width, config.bins)
        self.offsets = nn.Linear(config.width, config.bins * ACTION_SIZE)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(config.bins, ACTION_SIZE))

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, T, bins) and offsets (B, T, bins, 7); the arguments are (B, T, Z), (B, T, 7), (B, T, N)."""
        x = self.drop(self.embed(self.observation(latent, proprio, task)) + self.position)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.logits(x), self.offsets(x).unflatten(2, (self.bins, 7))

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest bin with its offset (B, 7), of the newest observation, and no deviation, NaN."""
        if latent.dim() == 2:  # a window of one
            latent, proprio, task = latent[:, None], proprio[:, None], task[:, None]
        logits, offsets = self.forward(latent, proprio, task)
        best = logits[:, -1].argmax(1)
        chosen = offsets[:, -1].gather(1, best[:, None, None].expand(-1, 1, 7))[:, 0]
        action = (self.centres[best] + chosen).clamp(-1.0, 1.0)
        return action, torch.full_like(action, float("nan"))


class BeT(Agent):
    """Focal loss of the demonstrated action's bin and squared error of its offset, over the whole window."""

    Config = BeTConfig
    config: BeTConfig
    policy: BeTPolicy

    def _make_policy(self) -> nn.Module:
        return BeTPolicy(self.config, self.network, self.problem, self.latent)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        matrices = [
            each.weight for each in self.policy.modules() if isinstance(each, nn.Linear)
        ]
        decayed = {id(each) for each in matrices}
        others = [
            each
            for each in self.parameters()
            if each.requires_grad and id(each) not in decayed
        ]
        groups = [
            {"params": matrices, "weight_decay": c.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return {"actor": torch.optim.AdamW(groups, lr=c.lr, betas=(0.9, 0.95), fused=True)}

    def deployed(self) -> InferencePolicy:
        """See `Agent`."""
        return InferencePolicy(
            self.problem, self.encoder, self.policy, history=self.config.window
        )

    def prepare(self, data: Sequence[Transitions], *, finetuning: bool) -> None:
        """Find the bins' centres among the demonstrated actions; a pre-trained agent keeps its own."""
        if self.steps:
            return
        actions = np.concatenate([part.actions for part in data])
        seed = int(self.draws.generator.initial_seed())
        self.policy.centres.copy_(
            torch.from_numpy(k_means(actions, self.config.bins, seed))
        )

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step."""
        size, window = len(batch.task), self.config.window
        task = self._one_hot(batch.task)[:, None].expand(-1, window, -1)
        images = self._augment(batch.images.flatten(0, 1) if window > 1 else batch.images)
        latent = self._encode(self.encoder, images, task.flatten(0, 1)).unflatten(
            0, (size, window)
        )
        logits, offsets = self.policy(latent, batch.proprio.view(size, window, -1), task)
        actions = batch.actions.view(size, window, 1, ACTION_SIZE)
        difference = (actions - self.policy.centres) * self.active  # (B, T, bins, 7)
        nearest = (difference**2).sum(3).argmin(2)
        pick = nearest[:, :, None, None].expand(-1, -1, 1, ACTION_SIZE)
        wrong = (offsets.gather(2, pick) - difference.gather(2, pick)) * self.active
        offset_loss = (wrong**2).sum(3).mean() / self.active.sum()
        bin_loss = focal_loss(
            logits.flatten(0, 1), nearest.flatten(), self.config.focal_gamma
        )
        loss = bin_loss + self.config.offset_weight * offset_loss
        self._step(loss, "actor", clip=self.config.max_gradient)
        self.steps += 1
        right = (logits.argmax(2) == nearest).float().mean()
        values = {
            "loss": loss,
            "bin_loss": bin_loss,
            "offset_loss": offset_loss,
            "accuracy": right,
        }
        return {name: value.detach() for name, value in values.items()}


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return the mean of (1 - p)^γ times the cross-entropy, p the probability of the true class."""
    log_p = F.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
    return -((1.0 - log_p.exp()) ** gamma * log_p).mean()


def k_means(points: np.ndarray, clusters: int, seed: int, rounds: int = 50) -> np.ndarray:
    """Return cluster centres (clusters, D) of points (N, D) by Lloyd's iterations from k-means++ starts.

    Raises:
        TrainingError: If there are fewer distinct points than clusters.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) < clusters:
        raise TrainingError(
            f"agent.bins is {clusters}, but the data hold only {len(distinct)} distinct actions"
        )
    rng = np.random.default_rng(seed)
    centres = distinct[rng.integers(len(distinct))][None]
    distance = ((distinct - centres[0]) ** 2).sum(1)
    while len(centres) < clusters:
        new = distinct[rng.choice(len(distinct), p=distance / distance.sum())]
        centres = np.concatenate([centres, new[None]])
        distance = np.minimum(distance, ((distinct - new) ** 2).sum(1))
    for _ in range(rounds):
        nearest = _nearest(points, centres)
        counts = np.bincount(nearest, minlength=clusters)
        sums = np.stack([np.bincount(nearest, column, clusters) for column in points.T], 1)
        moved = np.where(
            counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres
        )  # empty ones stay
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres.astype(np.float32)


def _nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    products = points @ centres.T
    return ((centres**2).sum(1) - 2.0 * products).argmin(1)
