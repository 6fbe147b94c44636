"""Hyper-parameters of MACAW (`macaw.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.data.batch import Sampling
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
)

from .agent import AgentConfig


@dataclass(frozen=True)
class MACAWConfig(AgentConfig):
    """Hyper-parameters: those of PTR's paper (Appendix D), or else of the reference.

    "Departure" marks what neither has.
    """

    # learnt from in a batch (PTR; reference: 5)
    tasks: int = 8
    # of the data, never learnt from: a further share of every batch is of one of them, and
    # says how well the agent adapts to a new task; 0: none
    validation_tasks: int = 0
    # the rows of an inner step are consecutive in the data, so of few demonstrations
    contiguous: bool = True

    # Inner steps
    # -----------

    # of value, then of policy, each on its part of the rows
    inner_steps: int = 1
    # at the start; every tensor's rate is learnt
    inner_lr: float = 1e-3
    # of the advantage head's squared error, at the start; learnt; 0: no such error
    advantage_weight: float = 0.01
    # latent size of the weight-transform layers; 0: plain layers
    transform: int = 100
    # departure: largest gradient of an inner step and of an outer one; 0: not limited, as in
    # the reference. With a learnt standard deviation gradients grow without end
    max_gradient: float = 0.0

    # Outer steps
    # -----------

    policy_lr: float = 1e-4
    value_lr: float = 1e-5
    # of the inner rates and of the advantage's weight, before softplus
    rate_lr: float = 1e-3

    # Advantages and policy
    # ---------------------

    # of a standardised advantage, whose exponential weighs a transition
    temperature: float = 1.0
    # largest weight
    max_weight: float = 20.0
    # standard deviation of the policy; 0: learnt
    std: float = 0.2

    # Returns
    # -------

    # (PTR; reference: 0.99)
    discount: float = 0.96
    # trained rewards as for PTR: -1 and +10
    reward_scale: float = 11.0
    reward_shift: float = -1.0

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            "tasks": AT_LEAST_ONE,
            "validation_tasks": NOT_NEGATIVE,
            "inner_steps": AT_LEAST_ONE,
            "inner_lr": POSITIVE,
            "advantage_weight": NOT_NEGATIVE,
            "transform": NOT_NEGATIVE,
            "max_gradient": NOT_NEGATIVE,
            "policy_lr": POSITIVE,
            "value_lr": POSITIVE,
            "rate_lr": POSITIVE,
            "temperature": POSITIVE,
            "max_weight": POSITIVE,
            "std": NOT_NEGATIVE,
            "discount": BELOW_ONE,
            "reward_scale": FINITE,
            "reward_shift": FINITE,
        }

    @property
    def shares(self) -> int:
        """Equal parts of a batch, each of one task; the last one is held out, if any is."""
        return self.tasks + (1 if self.validation_tasks else 0)

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        return (
            f"MACAW: meta-learnt advantage-weighted regression, {self.tasks} tasks a batch"
        )

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(
            tasks=self.tasks,
            validation_tasks=self.validation_tasks,
            contiguous=self.contiguous,
            next_observations=False,
        )
