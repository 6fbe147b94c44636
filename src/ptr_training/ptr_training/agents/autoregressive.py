"""Autoregressive behaviour cloning (paper, Appendix D).

Action dimensions are cut into bins, and each is predicted given those before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.batch import Batch
from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.layers import linear, mlp
from ptr_training.models.policy import FeatureConcat
from ptr_training.models.ranges import AT_LEAST_ONE, Range

from .agent import Metrics
from .bc import BC, BCConfig


@dataclass(frozen=True)
class AutoregressiveConfig(BCConfig):
    """Hyper-parameters beside those of cloning."""

    # of each dimension, over [-1, 1]
    bins: int = 100
    # width of the search for the likeliest action
    beam: int = 20

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {**super().ranges(), "bins": AT_LEAST_ONE, "beam": AT_LEAST_ONE}

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return (
            f"autoregressive behaviour cloning, {self.bins} bins a dimension, "
            f"beam search of width {self.beam}"
        )


class AutoregressivePolicy(nn.Module):
    """Linear layers for each learnt dimension, giving logits of its bins.

    Their input is [latent, proprio, task id, dimensions before]. Source: official code,
    `ARPolicy`: a bin stands for its centre, and the last layers start near zero.
    """

    def __init__(
        self, network: NetworkConfig, data_spec: DataSpec, latent: int, bins: int, beam: int
    ) -> None:
        super().__init__()
        self.bins, self.beam = bins, beam
        self.observation = FeatureConcat(network, data_spec, latent)
        active = data_spec.action_active
        learnt = [index for index, is_active in enumerate(active) if is_active]
        self.learnt: Tensor  # (D,) indices of the learnt dimensions
        self.places: Tensor  # (D, 7) the same as one-hot rows
        self.register_buffer("learnt", torch.tensor(learnt))
        self.register_buffer("places", torch.eye(len(active))[learnt])
        self.heads = nn.ModuleList()
        for before in range(len(learnt)):
            sizes = (self.observation.size + before, *network.hidden)
            hidden = mlp(sizes, network.dropout)
            last = linear(network.hidden[-1], bins, 1e-4)
            self.heads.append(nn.Sequential(*hidden, last))

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor, actions: Tensor
    ) -> Tensor:
        """Return logits of every learnt dimension, given the true ones before it.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
            actions: True ones, shape (B, 7).

        Returns:
            Shape (B, D, bins).
        """
        observation = self.observation(latent, proprio, task)
        known = self.centre(self.bin(actions[:, self.learnt]))
        logits = []
        for index, head in enumerate(self.heads):
            logits.append(head(torch.cat([observation, known[:, :index]], 1)))
        return torch.stack(logits, 1)

    def bin(self, values: Tensor) -> Tensor:
        """Return the bins that values in [-1, 1] fall into."""
        return ((values + 1.0) * (0.5 * self.bins)).long().clamp(0, self.bins - 1)

    def centre(self, bins: Tensor) -> Tensor:
        """Return the values that bins stand for."""
        return (bins.to(torch.float32) + 0.5) * (2.0 / self.bins) - 1.0

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest action that a beam search finds.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).

        Returns:
            The action (B, 7), and NaN (B, 7): there is no standard deviation.
        """
        observation = self.observation(latent, proprio, task)
        size = observation.shape[0]
        # (B, beams, dimensions so far)
        chosen = torch.zeros((size, 1, 0), device=latent.device)
        score = torch.zeros((size, 1), device=latent.device)
        for head in self.heads:
            repeated = observation[:, None].expand(-1, chosen.shape[1], -1)
            logits = head(torch.cat([repeated, chosen], 2))
            total = score[:, :, None] + F.log_softmax(logits, 2)  # (B, beams, bins)
            beams = min(self.beam, total.shape[1] * self.bins)
            score, best = total.flatten(1).topk(beams, dim=1)
            parent = torch.div(best, self.bins, rounding_mode="floor")
            before = chosen.gather(1, parent[:, :, None].expand(-1, -1, chosen.shape[2]))
            chosen = torch.cat([before, self.centre(best % self.bins)[:, :, None]], 2)
        action = torch.matmul(chosen[:, 0], self.places)
        return action, torch.full_like(action, float("nan"))


class AutoregressiveBC(BC):
    """Cross-entropy of the demonstrated bins; the rest is behaviour cloning."""

    Config = AutoregressiveConfig
    config: AutoregressiveConfig
    policy: AutoregressivePolicy

    def _make_policy(self) -> nn.Module:
        c = self.config
        return AutoregressivePolicy(
            self.network, self.data_spec, self.latent, c.bins, c.beam
        )

    def _loss(self, batch: Batch, images: Tensor, task: Tensor) -> tuple[Tensor, Metrics]:
        latent = self._encode(self.encoder, images, task)
        logits = self.policy(latent, batch.proprio, task, batch.actions)
        true = self.policy.bin(batch.actions[:, self.policy.learnt])
        loss = F.cross_entropy(logits.flatten(0, 1), true.flatten())
        right = (logits.argmax(2) == true).float().mean()
        return loss, {"accuracy": right}
