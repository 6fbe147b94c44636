"""What agents with a critic share: encoders, Q functions with a delayed copy, and a policy."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from ptr_training.data.augment import to_network
from ptr_training.data.batch import Batch
from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig
from ptr_training.models.critic import Critic, polyak_
from ptr_training.models.encoders import EncoderEnsemble, make_encoder
from ptr_training.models.inference_policy import InferencePolicy
from ptr_training.models.policy import (
    GRIPPER,
    Policy,
    expected_actions,
    sample_actions,
    with_both_grippers,
)

from .agent import Agent, adam, learnt_parameters
from .cql_sampling import SampledActions
from .cql_terms import backup, monte_carlo_returns, td_loss
from .critic_config import CriticConfig


class ActorCritic(Agent):
    """Twin Q heads on one encoder and a tanh-Gaussian actor.

    The actor has an encoder of its own, or shares the critic's.
    """

    config: CriticConfig
    selection_rule = "q_trend"

    def __init__(
        self,
        config: CriticConfig,
        network: NetworkConfig,
        problem: DataSpec,
        augmentation: Any,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__(config, network, problem, augmentation, pretrained)
        self.critic_encoder = self._make_critic_encoder()
        self.value_distribution = config.value_distribution
        self.critic = Critic(network, problem, self.latent, self.value_distribution)
        self.target_encoder = self.encoder
        if not network.is_frozen:
            self.target_encoder = _constant_copy(self.critic_encoder)
        self.target_critic = _constant_copy(self.critic)
        self.n_active = sum(problem.action_active)
        self.binary_gripper = problem.binary_gripper

    def _make_policy(self) -> nn.Module:
        return Policy(self.network, self.data_spec, self.latent, squashed=True)

    def _fixed_std_policy(self, std: float) -> Policy:
        """Return a policy whose Gaussian has a fixed standard deviation before tanh."""
        bounds = (math.log(std), math.log(std))
        return Policy(
            self.network, self.data_spec, self.latent, squashed=True, log_std=bounds
        )

    def _cloning_optimizers(self, value: nn.Module) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers of an actor that clones, and of critic and value.

        An encoder that they share learns with the critic.
        """
        actor = list(self.policy.parameters())
        if self.critic_encoder is not self.encoder:
            actor = [*learnt_parameters(self.encoder), *actor]
        critic = [
            *learnt_parameters(self.critic_encoder),
            *self.critic.parameters(),
            *value.parameters(),
        ]
        return {
            "critic": adam(critic, self.config.critic_lr),
            "actor": adam(actor, self.config.actor_lr),
        }

    def _make_critic_encoder(self) -> nn.Module:
        if self.config.shared_encoder or self.network.is_frozen:
            return self.encoder
        if not self.config.independent_encoders:
            return make_encoder(self.network, self.data_spec)
        encoders = []
        for _ in range(self.network.heads):
            encoders.append(make_encoder(self.network, self.data_spec))
        return EncoderEnsemble(encoders)

    def deployed(self) -> InferencePolicy:
        """See `Agent`."""
        return InferencePolicy(
            self.data_spec,
            self.encoder,
            self.policy,
            critic_encoder=self.critic_encoder,
            critic=self.critic,
            candidates=self.config.act_samples if self.config.act == "best_of_n" else 0,
            gripper_temperature=self.config.gripper_temperature
            if self.draws_gripper
            else 0.0,
        )

    @property
    def draws_gripper(self) -> bool:
        """Whether a bundle's gripper is drawn: a binary one, if it is asked for."""
        return self.config.draw_gripper and self.binary_gripper

    def _act(
        self, images: Tensor, proprio: Tensor, task: Tensor, *, learn: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the actor's latent (B, Z), and mean and log std of its policy, (B, 7) each.

        Args:
            images: Shape (B, 3, H, W), in [0, 1].
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
            learn: Whether the loss of this pass is learnt from, see `Agent._encode`.
        """
        latent = self._encode(self.encoder, images, task, learn=learn)
        self.policy.train(learn)
        mean, log_std = self.policy(latent, proprio, task)
        self.policy.train()
        return latent, mean, log_std

    def _decay_rates(self, since: int) -> None:
        """Set the rates of actor and critic, which decay from step `since` on."""
        c = self.config
        if c.decay_steps:
            self._decay("actor", c.actor_lr, c.decay_steps, since)
            self._decay("critic", c.critic_lr, c.decay_steps, since)

    def _td_target(self, batch: Batch, q_next: Tensor) -> Tensor:
        """Return TD targets (B,), mixed and bounded as the configuration says.

        Args:
            batch: Transitions.
            q_next: Target Q of actions at s', or V there, shape (E, B, K).
        """
        c = self.config
        rewards = c.reward_scale * batch.rewards + c.reward_shift
        terminal = batch.rewards if c.terminal == "rewarded" else batch.last
        target = backup(q_next, rewards, 1.0 - terminal, c.discount)
        if c.mc_weight:
            target = target.lerp(self._returns(batch), c.mc_weight)
        if c.clamp_target:
            target = target.clamp(*c.possible_returns)
        return target

    def _returns(self, batch: Batch) -> Tensor:
        """Return what every transition's episode earned from it on, discounted, (B,)."""
        c = self.config
        return monte_carlo_returns(
            batch.steps_to_reward, c.reward_scale, c.reward_shift, c.discount
        )

    def _lower_q(
        self, latent: Tensor, proprio: Tensor, task: Tensor, actions: Tensor
    ) -> Tensor:
        """Return the lower head's values (B, K) of actions (B, K, 7), of constant weights."""
        q: Tensor = self.critic(latent, proprio, task, actions, frozen=True)
        return q.amin(0)

    def _values_and_td_loss(
        self,
        batch: Batch,
        latent: Tensor,
        task: Tensor,
        actions: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return Q (E, B, K) of actions, and the loss of the demonstrated ones to their targets.

        The loss is the squared error, or the cross entropy where values are distributions.

        Args:
            batch: Transitions.
            latent: Of the critic's encoder at s, shape (B, Z), or (E, B, Z).
            task: One-hot ids, shape (B, N).
            actions: Shape (B, K, 7), the demonstrated one first.
            target: TD targets, shape (B,).
            weight: Of the transitions, shape (B,).
        """
        distribution = self.value_distribution
        if distribution is None:
            q = self.critic(latent, batch.proprio, task, actions)
            return q, td_loss(q[:, :, 0], target, weight)
        logits = self.critic.outputs(latent, batch.proprio, task, actions)
        return distribution(logits), distribution.loss(logits[:, :, 0], target, weight)

    def _draw(self, mean: Tensor, log_std: Tensor, count: int) -> SampledActions:
        """Draw actions (B, `count`, 7) of the policy from its mean and log std, (B, 7) each."""
        drawn = sample_actions(
            mean,
            log_std,
            self.active,
            count,
            self.rng,
            binary_gripper=self.binary_gripper,
        )
        return SampledActions(*drawn)

    def _expected(self, mean: Tensor) -> Tensor:
        """Return the actions (B, 7) that the cloning term compares, from means (B, 7)."""
        return expected_actions(mean, binary_gripper=self.binary_gripper)

    @torch.no_grad()
    def judge_gripper(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return what critic and policy think of a binary gripper, without augmentation.

        Args:
            batch: Transitions.

        Returns:
            Min Q of an open and of a closed gripper at the motion of the policy's mode, and the
            probability that the policy opens it; (B,) each.
        """
        task = self._one_hot(batch.task)
        images = to_network(batch.images)
        latent, mean, _ = self._act(images, batch.proprio, task, learn=False)
        if self.critic_encoder is not self.encoder:
            latent = self._encode(self.critic_encoder, images, task, learn=False)
        both = with_both_grippers(torch.tanh(mean)[:, None])
        q = self._lower_q(latent, batch.proprio, task, both)
        return q[:, 0], q[:, 1], torch.sigmoid(mean[:, GRIPPER])

    def _move_targets(self) -> None:
        """Move the target networks by `polyak` towards the critic's."""
        if self.target_encoder is not self.encoder:
            polyak_(self.target_encoder, self.critic_encoder, self.config.polyak)
        polyak_(self.target_critic, self.critic, self.config.polyak)

    def warning(self, metrics: dict[str, float]) -> str:
        """Return a warning if Q of demonstrated actions is far outside the possible returns."""
        low, high = self.config.possible_returns
        margin, q = high - low, metrics.get("q_data", 0.0)
        if low - margin <= q <= high + margin:
            return ""
        return (
            f"Q diverges: its mean over demonstrated actions is {q:.3g}, "
            f"possible returns are {low:.3g} to {high:.3g}; "
            f"try {self.config.advice(above=q > high)}"
        )


def _constant_copy(module: nn.Module) -> nn.Module:
    """Return a copy that no gradient reaches."""
    return copy.deepcopy(module).requires_grad_(False)
