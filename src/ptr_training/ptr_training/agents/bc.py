"""Behaviour cloning: the baseline with the actor's networks and a squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptr_training.data.batch import Batch, Sampling
from ptr_training.models.ranges import NOT_NEGATIVE, POSITIVE, Range

from .agent import Agent, AgentConfig, Metrics, adam, learnt_parameters


@dataclass(frozen=True)
class BCConfig(AgentConfig):
    """Hyper-parameters of behaviour cloning."""

    lr: float = 3e-4
    # an option of the official code: cosine decay to a tenth over as many steps; 0: none
    decay_steps: int = 0

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {"lr": POSITIVE, "decay_steps": NOT_NEGATIVE}

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return "behaviour cloning by squared error to the demonstrated action"

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(next_observations=False)


class BC(Agent):
    """Regression to the demonstrated action (paper, Appendix D).

    The policy is deterministic and has no tanh. The official code takes a Gaussian of unit
    variance, whose loss has the same gradient up to a constant factor, and an encoder with
    batch norm and spatial softmax; here, as the paper says, it is the actor's own
    architecture.
    """

    Config = BCConfig
    config: BCConfig

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        parameters = [*learnt_parameters(self.encoder), *learnt_parameters(self.policy)]
        return {"actor": adam(parameters, self.config.lr)}

    def begin_step(self) -> None:
        """See `Agent`."""
        if self.config.decay_steps:
            self._decay("actor", self.config.lr, self.config.decay_steps)

    def learn(self, batch: Batch) -> Metrics:
        """Take one gradient step on the loss of this kind of cloning."""
        images, task = self._augment(batch.images), self._one_hot(batch.task)
        loss, metrics = self._loss(batch, images, task)
        self._step(loss, "actor")
        return {"loss": loss.detach(), **metrics}

    def _loss(self, batch: Batch, images: Tensor, task: Tensor) -> tuple[Tensor, Metrics]:
        """Return the loss and further values to log.

        Args:
            batch: Transitions.
            images: Augmented, shape (B, 3, H, W), in [0, 1].
            task: One-hot ids, shape (B, N).
        """
        mean, _ = self.policy(self._encode(self.encoder, images, task), batch.proprio, task)
        error = self._imitation_error(mean, batch)
        return error, {"bc_error": error.detach()}
