"""Conservative Q-learning as PTR uses it (paper §4.1).

Source: official code, `jaxrl2/agents/cql_encodersep_parallel`. With its defaults `CQLConfig`
trains what the official launch scripts train. Where they disagree with the paper's text the
scripts are followed; the fields say which. What neither does is off by default and marked
"departure": it is what makes the method work within minutes on a CPU (`docs/learning.md`).

| paper §4.1 | here | formula in `cql_terms.py` |
|---|---|---|
| Q̄, "a delayed copy" | `_move_targets` | `models/critic.py` `polyak_` |
| r + γ Q̄(s', a') | `_target`, `_td_target` | `backup` |
| (Q - r - γ Q̄)² | `_critic_loss` | `td_loss` |
| α (E_π[Q] - E_D[Q]) | `_candidates`, `_critic_loss` | `ConservativeTerm` |
| max E_π[Q] + β H(π) | `_actor_loss` | `actor_loss` |
| β | `_improve` | `temperature_loss` |

Every image is encoded once per network: augmentation happens before the encoder and group
norm does not couple a batch, so the samples of a state can share its latent. The official
code tiles images instead, for 19 forward-equivalents an update where 9 suffice; the losses
are the same.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ptr_training.data.augment import to_network
from ptr_training.data.batch import Batch
from ptr_training.models.encoders import EncoderEnsemble
from ptr_training.models.policy import (
    GRIPPER,
    sample_actions,
    snap_gripper,
    with_both_grippers,
)

from .actor_critic import ActorCritic
from .agent import Metrics, adam, learnt_parameters
from .cql_config import CQLConfig
from .cql_sampling import SampledActions, draw_demonstrated, draw_uniform, join_actions
from .cql_terms import (
    ConservativeTerm,
    actor_loss,
    hybrid_actor_loss,
    normalized,
    temperature_loss,
)


class CQL(ActorCritic):
    """Conservative twin Q functions, and an actor that climbs them at an automatic temperature."""

    Config = CQLConfig
    config: CQLConfig

    def __init__(self, config: CQLConfig, *arguments: Any) -> None:
        super().__init__(config, *arguments)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(config.initial_temperature))
        )
        self.target_entropy = -float(self.n_active - self.binary_gripper)
        self.conservative = ConservativeTerm(config)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        policy = list(self.policy.parameters())
        seeing_policy = [*learnt_parameters(self.encoder), *policy]
        seeing_critic = [
            *learnt_parameters(self.critic_encoder),
            *self.critic.parameters(),
        ]
        return {
            "cloning": adam(seeing_policy, c.clone_lr),
            "critic": adam(seeing_critic, c.critic_lr),
            "actor": adam(policy if c.shared_encoder else seeing_policy, c.actor_lr),
            "temperature": adam([self.log_temperature], c.temperature_lr),
            **self.conservative.optimizers(),
        }

    @property
    def phase(self) -> int:
        """See `Agent`: 0 during the warm start, 1 afterwards."""
        return int(self.steps >= self.config.clone_steps)

    def begin_step(self) -> None:
        """See `Agent`."""
        c = self.config
        if self.phase:
            self._decay_rates(since=c.clone_steps)
            self.conservative.begin_step(self.critic_steps)
        else:
            self._decay("cloning", c.clone_lr, c.clone_steps)

    def learn(self, batch: Batch) -> Metrics:
        """Take one gradient step: of cloning during the warm start, of CQL afterwards."""
        if self.binary_gripper:
            batch = replace(batch, actions=snap_gripper(batch.actions))
        return self._improve(batch) if self.phase else self._clone(batch)

    def end_step(self) -> None:
        """See `Agent`."""
        super().end_step()
        if self.steps == self.config.clone_steps:
            self._end_warm_start()

    # Warm start
    # -----------------------------------------------------------------------------------

    def _clone(self, batch: Batch) -> Metrics:
        task = self._one_hot(batch.task)
        latent = self._encode(self.encoder, self._augment(batch.images), task)
        mean, _ = self.policy(latent, batch.proprio, task)
        loss = self._imitation_error(self._expected(mean), batch)
        self._step(loss, "cloning")
        return {"loss": loss.detach(), "bc_error": loss.detach()}

    def _end_warm_start(self) -> None:
        """Copy the cloned encoder to the critic and to its target."""
        cloned = self.encoder.state_dict()
        for encoder in (self.critic_encoder, self.target_encoder):
            members = (
                encoder.encoders if isinstance(encoder, EncoderEnsemble) else [encoder]
            )
            for member in members:
                member.load_state_dict(cloned)

    # CQL
    # -----------------------------------------------------------------------------------

    def _improve(self, batch: Batch) -> Metrics:
        """Update critic, target, actor and temperature once, in the official order."""
        images = self._augment(batch.images)
        task = self._one_hot(batch.task)
        latent, mean, log_std = self._act(images, batch.proprio, task)
        target, next_actions = self._learning_target(batch, task)
        # the actor has not changed: its forward pass serves its loss and the samples alike
        sampled = (mean, log_std)
        if self.mode_dependent:
            with torch.no_grad():
                sampled = self._act(images, batch.proprio, task, learn=False)[1:]
        candidates = self._candidates(batch, *sampled, next_actions)
        if self.config.shared_encoder:
            critic_loss, critic_metrics = self._critic_loss(
                batch, latent, task, target, candidates
            )
            # one backward pass through the encoder; the actor's loss uses the critic of
            # before this step
            loss, entropy, actor_metrics = self._actor_loss(
                batch, mean, log_std, latent.detach(), task
            )
            self._step(critic_loss + loss, "critic", "actor")
            self._move_targets()
        else:
            critic_latent = self._encode(self.critic_encoder, images, task)
            critic_loss, critic_metrics = self._critic_loss(
                batch, critic_latent, task, target, candidates
            )
            self._step(critic_loss, "critic")
            self._move_targets()
            with torch.no_grad():
                critic_latent = self._encode(self.critic_encoder, images, task, learn=False)
            loss, entropy, actor_metrics = self._actor_loss(
                batch, mean, log_std, critic_latent, task
            )
            self._step(loss, "actor")
        self._step(
            temperature_loss(self.log_temperature, entropy, self.target_entropy),
            "temperature",
        )
        self._move_alpha(critic_metrics["conservative_gap"])
        temperature = self.log_temperature.detach().exp()
        metrics = {**critic_metrics, **actor_metrics}
        return {**metrics, "temperature": temperature, "entropy": entropy}

    def _move_alpha(self, gap: Tensor) -> None:
        """Step a learnt α after an update with this conservative gap."""
        if self.conservative.is_learnt:
            self._step(self.conservative.alpha_loss(gap), "alpha")
            self.conservative.bound_alpha()

    def _learning_target(self, batch: Batch, task: Tensor) -> tuple[Tensor, SampledActions]:
        """Return the targets (B,), and actions of the policy at s' for the conservative term."""
        if self.config.bootstraps:
            return self._target(batch, self._augment(batch.next_images), task)
        none = SampledActions(batch.actions[:, None][:, :0], batch.actions[:, :0])
        return self._returns(batch), none

    @torch.no_grad()
    def _target(
        self, batch: Batch, next_images: Tensor, task: Tensor
    ) -> tuple[Tensor, SampledActions]:
        """Return the TD targets and some of the policy's actions at s'.

        Args:
            batch: Transitions.
            next_images: Images at s', shape (B, 3, H, W), in [0, 1].
            task: One-hot ids, shape (B, N).

        Returns:
            Targets (B,), and the `n_next_actions` actions of the conservative term.
        """
        c = self.config
        count = max(c.n_backup_actions, c.n_next_actions)
        _, mean, log_std = self._act(next_images, batch.next_proprio, task, learn=False)
        sampled = self._draw(mean, log_std, count)
        target_latent = self._encode(self.target_encoder, next_images, task, learn=False)
        next_actions = sampled.first(c.n_backup_actions).actions
        if self.binary_gripper:
            next_actions = with_both_grippers(next_actions)
        q_next = self.target_critic(target_latent, batch.next_proprio, task, next_actions)
        return self._td_target(batch, q_next), sampled.first(c.n_next_actions)

    @torch.no_grad()
    def _candidates(
        self, batch: Batch, mean: Tensor, log_std: Tensor, next_actions: SampledActions
    ) -> SampledActions:
        """Return the actions of the conservative term.

        Args:
            batch: Transitions.
            mean: Of the policy at s, before tanh, shape (B, 7).
            log_std: Of the policy at s, before tanh, shape (B, 7).
            next_actions: Of the policy at s'.

        Returns:
            In this order: `n_policy_actions` of the policy at s, `next_actions`,
            `n_random_actions` uniform ones, `n_batch_actions` demonstrated ones.
        """
        c = self.config
        of_policy = self._draw(mean, log_std, c.n_policy_actions)
        uniform = draw_uniform(
            len(mean),
            c.n_random_actions,
            self.n_active,
            self.rng,
            binary_gripper=self.binary_gripper,
        )
        demonstrated = draw_demonstrated(
            batch.actions, c.n_batch_actions, self.n_active, self.rng
        )
        return join_actions(of_policy, next_actions, uniform, demonstrated)

    def _critic_loss(
        self,
        batch: Batch,
        latent: Tensor,
        task: Tensor,
        target: Tensor,
        candidates: SampledActions,
    ) -> tuple[Tensor, Metrics]:
        """Return TD loss + α conservative gap, and what to log.

        Args:
            batch: Transitions.
            latent: Of the critic's encoder at s, shape (B, Z), or (E, B, Z).
            task: One-hot ids, shape (B, N).
            target: TD targets, shape (B,).
            candidates: Actions of the conservative term.
        """
        c = self.config
        # demonstrated and sampled actions in one call
        actions = torch.cat([batch.actions[:, None], candidates.actions], 1)
        q, td = self._values_and_td_loss(
            batch, latent, task, actions, target, self._td_weight(batch)
        )
        q_data, q_actions = q[:, :, 0], q[:, :, 1:]
        gap, gap_metrics = self.conservative.gap(
            q_data, q_actions, candidates.log_densities, self._returns(batch)
        )
        loss = td + self.conservative.alpha * gap
        first_random = c.n_policy_actions + c.n_next_actions
        q_random = q_actions[:, :, first_random : first_random + c.n_random_actions]
        metrics = {
            "loss": loss.detach(),
            "td_loss": td.detach(),
            "conservative_gap": gap.detach(),
            "q_data": q_data.detach().mean(),
            "q_policy": q_actions[:, :, : c.n_policy_actions].detach().mean(),
            "q_random": q_random.detach().mean(),
        }
        return loss, {**metrics, **gap_metrics}

    def _td_weight(self, batch: Batch) -> Tensor | None:
        """Return the weights (B,) of the TD errors; None: all equal."""
        return None

    def _actor_loss(
        self,
        batch: Batch,
        mean: Tensor,
        log_std: Tensor,
        critic_latent: Tensor,
        task: Tensor,
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Return the actor's loss, the entropy of the policy and what to log.

        Args:
            batch: Transitions.
            mean: Of the policy at s, before tanh, shape (B, 7).
            log_std: Of the policy at s, before tanh, shape (B, 7).
            critic_latent: Of the critic's encoder at s, shape (B, Z), or (E, B, Z); a
                constant.
            task: One-hot ids, shape (B, N).
        """
        loss, entropy = self._policy_loss(batch, mean, log_std, critic_latent, task)
        error = self._imitation_error(self._expected(mean), batch)
        loss = loss + self.config.bc_weight * error
        metrics = {
            "actor_loss": loss.detach(),
            "bc_error": error.detach(),
            "action_std": log_std.detach().exp().mean(),
        }
        return loss, entropy, metrics

    def _policy_loss(
        self,
        batch: Batch,
        mean: Tensor,
        log_std: Tensor,
        critic_latent: Tensor,
        task: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the actor's loss without cloning, and the policy's mean entropy, a constant.

        The arguments are those of `_actor_loss`.
        """
        temperature = self.log_temperature.detach().exp()
        if not self.binary_gripper:
            action, log_pi = sample_actions(mean, log_std, self.active, 1, self.rng)
            q = self._lower_q(critic_latent, batch.proprio, task, action)
            loss = actor_loss(log_pi, self._scaled(q, torch.ones_like(q)), temperature)
            return loss, -log_pi.detach().mean()
        motion = self.active.clone()
        motion[GRIPPER] = 0.0
        action, log_pi = sample_actions(mean, log_std, motion, 1, self.rng)
        both = with_both_grippers(action)
        q = self._lower_q(critic_latent, batch.proprio, task, both)
        logit = mean[:, GRIPPER]
        q = self._scaled(q, torch.stack([logit, -logit], 1).sigmoid())
        loss, entropy = hybrid_actor_loss(log_pi[:, 0], q, logit, temperature)
        return loss, entropy.detach().mean()

    def _scaled(self, q: Tensor, probability: Tensor) -> Tensor:
        """Return Q (B, K) of the policy's actions, normalised where `normalize_q` is set.

        Args:
            q: The lower head's values, shape (B, K).
            probability: Of these actions under the policy, shape (B, K).
        """
        if not self.config.normalize_q:
            return q
        size = (probability * q).detach().abs().sum(1).mean()
        return normalized(q, *self.rng.context.averaged([size]))

    # For reports and for the choice of a checkpoint
    # -----------------------------------------------------------------------------------

    @property
    def critic_steps(self) -> int:
        """See `Agent`."""
        return max(0, self.steps - self.config.clone_steps)

    @torch.no_grad()
    def td_errors(self, batch: Batch) -> Tensor:
        """Return the squared TD errors of transitions without augmentation, mean over heads.

        The sampled actions of the target come from this agent's random numbers.

        Returns:
            Shape (B,).
        """
        images, next_images = to_network(batch.images), to_network(batch.next_images)
        task = self._one_hot(batch.task)
        target, _ = self._target(batch, next_images, task)
        latent = self._encode(self.critic_encoder, images, task, learn=False)
        q = self.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0]
        return ((q - target) ** 2).mean(0)
