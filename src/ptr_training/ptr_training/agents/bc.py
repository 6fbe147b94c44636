"""Behaviour cloning: the baseline with the actor's networks and a squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptr_training.data.batch import Batch, Sampling

from .agent import Agent, AgentConfig, Metrics, adam


@dataclass(frozen=True)
class BCConfig(AgentConfig):
    """Hyper-parameters of behaviour cloning."""

    lr: float = 3e-4
    decay_steps: int = 0  # cosine decay to a tenth over as many steps, an option of the official code; 0: none

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return "behaviour cloning by squared error to the demonstrated action"

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(next_observations=False)


class BC(Agent):
    """Regression to the demonstrated action with a deterministic policy without tanh (paper, Appendix D).

    The official code takes a Gaussian of unit variance, whose loss has the same gradient up
    to a constant factor, and an encoder with batch norm and spatial softmax; here, as the
    paper says, it is the actor's own architecture.
    """

    Config = BCConfig
    config: BCConfig

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        parameters = [*self.encoder.parameters(), *self.policy.parameters()]
        return {
            "actor": adam(
                [each for each in parameters if each.requires_grad], self.config.lr
            )
        }

    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step on the squared error."""
        if self.config.decay_steps:
            self._decay("actor", self.config.lr, self.config.decay_steps)
        loss, metrics = self._loss(
            batch, self._augment(batch.images), self._one_hot(batch.task)
        )
        self._step(loss, "actor")
        self.steps += 1
        return {"loss": loss.detach(), **metrics}

    def _loss(self, batch: Batch, images: Tensor, task: Tensor) -> tuple[Tensor, Metrics]:
        """Return the loss and what else to log."""
        mean, _ = self.policy(self._encode(self.encoder, images, task), batch.proprio, task)
        error = self._imitation_error(mean, batch)
        return error, {"bc_error": error.detach()}
