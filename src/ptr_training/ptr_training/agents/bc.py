"""Behaviour cloning: the baseline with the actor's networks and a squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ptr_training.networks import Deployed
from ptr_training.replay import Batch

from .agent import Agent, Metrics, adam


@dataclass(frozen=True)
class BCConfig:
    """Hyper-parameters of behaviour cloning."""

    lr: float = 3e-4
    decay_steps: int = 0  # cosine decay to a tenth over as many steps, an option of the official code; 0: none

    @property
    def summary(self) -> str:
        """What is trained, in a line for reports."""
        return "behaviour cloning by squared error to the demonstrated action"


class BC(Agent):
    """Regression to the demonstrated action with a deterministic policy without tanh (paper, Appendix D).

    The official code takes a Gaussian of unit variance, whose loss has the same gradient up to a
    constant factor, and an encoder with batch norm and spatial softmax; here, as the paper says, it
    is the actor's own architecture.
    """

    Config = BCConfig
    config: BCConfig

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"actor": adam([*self.encoder.parameters(), *self.policy.parameters()], self.config.lr)}

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step on the squared error."""
        if self.config.decay_steps:
            self._decay("actor", self.config.lr, self.config.decay_steps)
        task = self._one_hot(batch.task)
        latent = self._encode(self.encoder, self._augment(batch.images), task)
        mean, _ = self.policy(latent, batch.proprio, task)
        loss = self._imitation_error(mean, batch)
        self._step(loss, "actor")
        self.steps += 1
        return {"loss": loss.detach(), "bc_error": loss.detach()}

    def deployed(self) -> Deployed:
        return Deployed(self.problem, self.encoder, self.policy, squashed=False)
