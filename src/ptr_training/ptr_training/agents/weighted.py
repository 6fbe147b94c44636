"""A conservative critic, and an actor that clones: all demonstrated actions, or those it approves.

The actor's loss is the squared error to the demonstrated action. It can be weighted by the
advantage A(s, a) = Q(s, a) - V(s), so that wrong moves, pauses and misses of a demonstrator weigh
little or nothing (AWAC, Nair et al. 2020; CRR, Wang et al. 2020; the paper's AW-BC, `awbc.py`,
weighs by a critic that is learnt before). With all weights 1 the actor is a clone, and the critic
has its say where the policy acts: `act: best_of_n`. `docs/learning.md` has the measurements.

Cloning comes first, alone. Then the critic begins with the cloned encoder, and both go on, each
through an encoder of its own unless they share one: what a critic needs of an image costs an actor
precision. Failed episodes teach the critic alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_common.action_space import RELEASED
from ptr_training.data.batch import Batch
from ptr_training.errors import TrainingError
from ptr_training.models.critic import Value
from ptr_training.models.policy import GRIPPER
from ptr_training.models.ranges import NOT_NEGATIVE, POSITIVE, Range

from .agent import Metrics
from .cql import CQL
from .cql_config import CQLConfig

ADVANTAGES = ("binary", "exp", "none")
LARGEST_WEIGHT = 20.0


@dataclass(frozen=True)
class WeightedConfig(CQLConfig):
    """Hyper-parameters, beside those of conservative Q-learning."""

    # of the cloning loss beside the critic's
    bc_weight: float = 0.1
    # weights of demonstrated actions: binary: 1 where A > 0, else 0 (CRR); exp: exp(A / scale),
    # at most 20 (AWAC); none: 1, the critic has no say
    advantage: str = "binary"
    advantage_scale: float = 0.03
    # after as many updates of cloning alone the critic begins, with the cloned encoder
    clone_steps: int = 1500
    # and after as many of its own its weights count; before, every weight is 1
    judge_steps: int = 1000
    # weight of the TD error where an open gripper is told to close or a closed one to open: such
    # steps are rare, and decide; it changes how well Q is known there, not what it is
    change_weight: float = 1.0
    # of the policy's Gaussian before tanh; its mean alone is learnt
    policy_std: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.advantage not in ADVANTAGES:
            raise TrainingError(
                f"agent.advantage is {self.advantage!r}; it must be binary, exp or none"
            )
        if self.independent_encoders:
            raise TrainingError(
                "agent.independent_encoders is true; agent cql_weighted has one for all heads"
            )
        if self.normalize_q:
            raise TrainingError(
                "agent.normalize_q is true; the actor of agent cql_weighted clones and does not "
                "follow the gradient of Q: it must be false"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            **super().ranges(),
            "bc_weight": POSITIVE,
            "advantage_scale": POSITIVE,
            "judge_steps": NOT_NEGATIVE,
            "change_weight": POSITIVE,
            "policy_std": POSITIVE,
        }

    @property
    def judges_from(self) -> int:
        """The first update at which the critic weighs."""
        return self.clone_steps + self.judge_steps

    @property
    def summary(self) -> str:
        """See `AgentConfig`; it names every departure of the actor."""
        error = "actor's loss: squared error to the demonstrated action"
        if self.advantage != "none":
            scale = f"{self.advantage_scale:g}"
            weight = "A > 0" if self.advantage == "binary" else f"exp(A / {scale})"
            error += f", weighted by {weight} from step {self.judges_from} on (A = Q - V)"
        start = f"after {self.clone_steps} steps of cloning alone"
        return f"{self.critic_summary}, {start}; {error}{self.act_summary}"


class WeightedCQL(CQL):
    """CQL's critic, the value of its data's actions, and an actor that clones the better ones."""

    Config = WeightedConfig
    config: WeightedConfig

    def __init__(self, config: WeightedConfig, *arguments: Any) -> None:
        super().__init__(config, *arguments)
        self.value = Value(self.network, self.data_spec, self.latent)

    def _make_policy(self) -> nn.Module:
        return self._fixed_std_policy(self.config.policy_std)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {**self._cloning_optimizers(self.value), **self.conservative.optimizers()}

    @property
    def phase(self) -> int:
        """See `Agent`: 0 during the warm start, 1 with a critic, 2 once it weighs."""
        return super().phase + int(self.steps >= self.config.judges_from)

    def begin_step(self) -> None:
        """See `Agent`."""
        if self.phase:  # the warm start has no rate of its own
            super().begin_step()

    def _clone(self, batch: Batch) -> Metrics:
        """Take one gradient step of cloning alone."""
        task = self._one_hot(batch.task)
        _, mean, _ = self._act(self._augment(batch.images), batch.proprio, task)
        error, _ = self._weighted_error(batch, mean, mean.new_zeros(len(mean)))
        self._step(error, "critic", "actor")  # one of them has the encoder
        return {"loss": error.detach(), "bc_error": error.detach()}

    def _improve(self, batch: Batch) -> Metrics:
        """Take one gradient step of critic, value and actor."""
        task = self._one_hot(batch.task)
        images = self._augment(batch.images)
        latent, mean, log_std = self._act(images, batch.proprio, task)
        if self.critic_encoder is not self.encoder:
            latent = self._encode(self.critic_encoder, images, task)
        target, next_actions = self._learning_target(batch, task)
        candidates = self._candidates(batch, mean.detach(), log_std.detach(), next_actions)
        loss, metrics = self._critic_loss(batch, latent, task, target, candidates)
        value = self.value(latent, batch.proprio, task)
        q_data = self._mean_q(latent.detach(), batch, task)
        value_loss = F.mse_loss(value, q_data)
        advantage = q_data - value.detach()
        error, weight = self._weighted_error(batch, mean, advantage)
        loss = loss + value_loss + self.config.bc_weight * error
        self._step(loss, "critic", "actor")
        self._move_targets()
        self._move_alpha(metrics["conservative_gap"])
        return {
            **metrics,
            "loss": loss.detach(),
            "value_loss": value_loss.detach(),
            "bc_error": error.detach(),
            "weight": weight.mean(),
            "advantage_std": advantage.std(correction=0),
        }

    def _td_weight(self, batch: Batch) -> Tensor | None:
        """See `CQL`; the proprioception says whether the gripper is open."""
        if self.config.change_weight == 1.0:
            return None
        is_open = batch.proprio[:, GRIPPER] > RELEASED
        changes = is_open != (batch.actions[:, GRIPPER] > 0.0)
        return torch.where(changes, self.config.change_weight, 1.0)

    @torch.no_grad()
    def _mean_q(self, latent: Tensor, batch: Batch, task: Tensor) -> Tensor:
        """Return the heads' mean value (B,) of the demonstrated actions, a constant."""
        q: Tensor = self.critic(latent, batch.proprio, task, batch.actions[:, None])
        return q[:, :, 0].mean(0)

    def _weighted_error(
        self, batch: Batch, mean: Tensor, advantage: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted squared error, a mean over the weights, and the weights (B,).

        Args:
            batch: Transitions; those of failed episodes weigh nothing.
            mean: Of the policy at s, before tanh, shape (B, 7).
            advantage: Of the demonstrated actions, shape (B,).
        """
        kind = self.config.advantage
        if self.steps < self.config.judges_from:
            kind = "none"
        weight = advantage_weights(advantage, kind, self.config.advantage_scale)
        weight = weight * batch.succeeded
        error = self._squared_error(self._expected(mean), batch)
        return (weight * error).sum() / weight.sum().clamp(min=1.0), weight


def advantage_weights(
    advantage: Tensor, kind: str, scale: float, largest: float = LARGEST_WEIGHT
) -> Tensor:
    """Return the weights of demonstrated actions, of the shape of their advantages.

    Args:
        advantage: A = Q - V; a constant.
        kind: One of `ADVANTAGES`.
        scale: Of the advantage, for `exp`.
        largest: Weight, for `exp`.
    """
    if kind == "none":
        return torch.ones_like(advantage)
    if kind == "binary":
        return (advantage > 0.0).float()
    return (advantage / scale).exp().clamp(max=largest)
