"""Implicit Q-learning: no action is judged that the data do not hold.

Source: Kostrikov et al. 2021, "Offline Reinforcement Learning with Implicit Q-Learning".

| paper | here |
|---|---|
| L_V = E[L2^τ(Q̄(s, a) - V(s))], equation 5 | `expectile_loss` |
| L_Q = E[(r + γ V(s') - Q(s, a))²], equation 6 | `_target`, `td_loss` |
| L_π = -E[exp(β (Q̄(s, a) - V(s))) log π(a|s)], equ. 7 | `advantage_weights`, `_squared_error` |

Q̄ is the lower head of the target critic. The Gaussian has a fixed width here, so that its
log density is the squared error of its mode to the demonstrated action; a binary gripper has the
squared error of its expected command, as in `weighted.py`. All transitions count, those of failed
episodes too: their advantage weighs them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ptr_training.data.augment import to_network
from ptr_training.data.batch import Batch
from ptr_training.errors import TrainingError
from ptr_training.models.critic import Value
from ptr_training.models.policy import snap_gripper
from ptr_training.models.ranges import INSIDE_ONE, POSITIVE, Range

from .actor_critic import ActorCritic
from .agent import Metrics
from .cql_terms import td_loss
from .critic_config import CriticConfig
from .weighted import advantage_weights


@dataclass(frozen=True)
class IQLConfig(CriticConfig):
    """Hyper-parameters; the defaults are those of the paper's locomotion tasks."""

    discount: float = 0.99
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    # τ of the value: 0.5 is the mean over the data's actions, towards 1 their best
    expectile: float = 0.7
    # β of the actor's weights exp(β A): 0 clones; the paper takes 0.5 to 10
    inverse_temperature: float = 3.0
    largest_weight: float = 100.0
    # of the policy's Gaussian before tanh; its mean alone is learnt
    policy_std: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.independent_encoders:
            raise TrainingError(
                "agent.independent_encoders is true; agent iql has one for all heads"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            **super().ranges(),
            "expectile": INSIDE_ONE,
            "inverse_temperature": POSITIVE,
            "largest_weight": POSITIVE,
            "policy_std": POSITIVE,
        }

    @property
    def summary(self) -> str:
        """See `AgentConfig`."""
        weight = f"exp({self.inverse_temperature:g} A)"
        return (
            f"implicit Q-learning (τ = {self.expectile:g}); actor's loss: squared error to the "
            f"demonstrated action, weighted by {weight} (A = Q - V){self.act_summary}"
        )


class IQL(ActorCritic):
    """Twin Q functions, an expectile of their values, and an actor that clones by advantage."""

    Config = IQLConfig
    config: IQLConfig

    def __init__(self, config: IQLConfig, *arguments: Any) -> None:
        super().__init__(config, *arguments)
        self.value = Value(self.network, self.data_spec, self.latent)

    def _make_policy(self) -> nn.Module:
        return self._fixed_std_policy(self.config.policy_std)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self._cloning_optimizers(self.value)

    def begin_step(self) -> None:
        """See `Agent`."""
        self._decay_rates(since=0)

    def learn(self, batch: Batch) -> Metrics:
        """Take one gradient step of value, critic and actor."""
        if self.binary_gripper:
            batch = replace(batch, actions=snap_gripper(batch.actions))
        c, task = self.config, self._one_hot(batch.task)
        images = self._augment(batch.images)
        latent, mean, _ = self._act(images, batch.proprio, task)
        if self.critic_encoder is not self.encoder:
            latent = self._encode(self.critic_encoder, images, task)
        target = self._target(batch, self._augment(batch.next_images), task)
        q = self.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0]
        advantage = self._judged(batch, images, task) - self.value(
            latent, batch.proprio, task
        )
        td, value_loss = td_loss(q, target), expectile_loss(advantage, c.expectile)
        weight = advantage_weights(
            advantage.detach(), "exp", 1.0 / c.inverse_temperature, c.largest_weight
        )
        error = self._squared_error(self._expected(mean), batch)
        loss = td + value_loss + (weight * error).mean()
        self._step(loss, "critic", "actor")
        self._move_targets()
        return {
            "loss": loss.detach(),
            "td_loss": td.detach(),
            "value_loss": value_loss.detach(),
            "bc_error": error.detach().mean(),
            "q_data": q.detach().mean(),
            "weight": weight.mean(),
            "advantage_std": advantage.detach().std(correction=0),
        }

    @torch.no_grad()
    def _target(self, batch: Batch, next_images: Tensor, task: Tensor) -> Tensor:
        """Return the targets r + γ V(s'), (B,).

        Args:
            batch: Transitions.
            next_images: Images at s', shape (B, 3, H, W), in [0, 1].
            task: One-hot ids, shape (B, N).
        """
        latent = self._encode(self.critic_encoder, next_images, task, learn=False)
        self.value.eval()
        value = self.value(latent, batch.next_proprio, task)
        self.value.train()
        return self._td_target(batch, value[None, :, None])

    @torch.no_grad()
    def _judged(self, batch: Batch, images: Tensor, task: Tensor) -> Tensor:
        """Return the lower head's target Q of the demonstrated actions, (B,)."""
        latent = self._encode(self.target_encoder, images, task, learn=False)
        q = self.target_critic(latent, batch.proprio, task, batch.actions[:, None])
        return q[:, :, 0].amin(0)

    @property
    def critic_steps(self) -> int:
        """See `Agent`."""
        return self.steps

    @torch.no_grad()
    def td_errors(self, batch: Batch) -> Tensor:
        """Return the squared TD errors (B,) without augmentation, mean over heads."""
        task = self._one_hot(batch.task)
        target = self._target(batch, to_network(batch.next_images), task)
        latent = self._encode(
            self.critic_encoder, to_network(batch.images), task, learn=False
        )
        q = self.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0]
        return ((q - target) ** 2).mean(0)


def expectile_loss(advantage: Tensor, expectile: float) -> Tensor:
    """Return the mean of |τ - 1(u < 0)| u²; with τ = 1/2 it is half the mean squared error.

    Args:
        advantage: u = Q - V, shape (B,).
        expectile: τ.
    """
    weight = torch.where(advantage < 0.0, 1.0 - expectile, expectile)
    return (weight * advantage**2).mean()
