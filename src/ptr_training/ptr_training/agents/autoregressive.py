"""Autoregressive behaviour cloning: action dimensions in bins, each given those before it (paper, Appendix D)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.batch import Batch
from ptr_training.data.normalization import DataSpec
from ptr_training.models.encoders import NetworkConfig
from ptr_training.models.networks import FeatureConcat, linear, perceptron

from .agent import Metrics
from .bc import BC, BCConfig


@dataclass(frozen=True)
class AutoregressiveConfig(BCConfig):
    """Hyper-parameters beside those of cloning."""

    bins: int = 100  # of each dimension, over [-1, 1]
    beam: int = 20  # width of the search for the likeliest action

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return f"autoregressive behaviour cloning, {self.bins} bins a dimension, beam search of width {self.beam}"


class AutoregressivePolicy(nn.Module):
    """A perceptron for each learnt dimension on [latent, proprio, task id, dimensions before], giving logits of bins.

    Source: official code, `ARPolicy`: a bin stands for its centre, and the last layers
    start near zero.
    """

    def __init__(
        self, network: NetworkConfig, problem: DataSpec, latent: int, bins: int, beam: int
    ) -> None:
        super().__init__()
        self.bins, self.beam = bins, beam
        self.observation = FeatureConcat(network, problem, latent)
        self.learnt: Tensor
        self.places: Tensor  # one-hot rows: which dimension of an action each learnt one is
        learnt = [index for index, active in enumerate(problem.action_active) if active]
        self.register_buffer("learnt", torch.tensor(learnt))
        self.register_buffer("places", torch.eye(len(problem.action_active))[learnt])
        heads = []
        for before in range(len(learnt)):
            hidden = perceptron(
                (self.observation.size + before, *network.hidden), network.dropout
            )
            heads.append(nn.Sequential(*hidden, linear(network.hidden[-1], bins, 1e-4)))
        self.heads = nn.ModuleList(heads)

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor, actions: Tensor
    ) -> Tensor:
        """Return logits (B, learnt dimensions, bins), those of a dimension given the true ones before it."""
        observation = self.observation(latent, proprio, task)
        known = self.centre(self.bin(actions[:, self.learnt]))
        logits = [
            head(torch.cat([observation, known[:, :i]], 1))
            for i, head in enumerate(self.heads)
        ]
        return torch.stack(logits, 1)

    def bin(self, values: Tensor) -> Tensor:
        """Return the bins that values in [-1, 1] fall into."""
        return ((values + 1.0) * (0.5 * self.bins)).long().clamp(0, self.bins - 1)

    def centre(self, bins: Tensor) -> Tensor:
        """Return the values that bins stand for."""
        return (bins.to(torch.float32) + 0.5) * (2.0 / self.bins) - 1.0

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest action that a beam search finds (B, 7), and no deviation (B, 7), NaN."""
        observation = self.observation(latent, proprio, task)
        size = observation.shape[0]
        chosen = torch.zeros(
            (size, 1, 0), device=latent.device
        )  # (B, beams, dimensions so far)
        score = torch.zeros((size, 1), device=latent.device)
        for head in self.heads:
            seen = torch.cat(
                [observation[:, None].expand(-1, chosen.shape[1], -1), chosen], 2
            )
            total = score[:, :, None] + F.log_softmax(head(seen), 2)  # (B, beams, bins)
            score, best = total.flatten(1).topk(
                min(self.beam, total.shape[1] * self.bins), dim=1
            )
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
        return AutoregressivePolicy(self.network, self.problem, self.latent, c.bins, c.beam)

    def _loss(self, batch: Batch, images: Tensor, task: Tensor) -> tuple[Tensor, Metrics]:
        logits = self.policy(
            self._encode(self.encoder, images, task), batch.proprio, task, batch.actions
        )
        true = self.policy.bin(batch.actions[:, self.policy.learnt])
        loss = F.cross_entropy(logits.flatten(0, 1), true.flatten())
        right = (logits.argmax(2) == true).float().mean()
        return loss, {"accuracy": right}
