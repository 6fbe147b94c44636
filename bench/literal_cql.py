"""PTR's update as the official code computes it, for comparison.

It takes 19 passes of an encoder where 9 suffice: observations are tiled before the encoder,
once for every sampled action, and a DR3 term is computed with coefficient 0 (`Asap7772/PTR`,
commit a389d83, `jaxrl2/agents/cql_encodersep_parallel`). Networks, random numbers and their
order are those of `ptr_training.agents.CQL`, so that from one seed both have the same losses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptr_training.agents import CQL, Metrics
from ptr_training.agents.cql_sampling import uniform_log_density
from ptr_training.agents.cql_terms import (
    backup,
    conservative_gap,
    td_loss,
    temperature_loss,
)
from ptr_training.data.batch import Batch
from ptr_training.models.policy import sample_actions


class LiteralCQL(CQL):
    """One update of CQL without sharing of passes; group norm and separate encoders only."""

    def _improve(self, batch: Batch) -> Metrics:
        c, task = self.config, self._one_hot(batch.task)
        images, next_images = self._augment(batch.images), self._augment(batch.next_images)
        with torch.no_grad():
            target = self._tiled_target(batch, next_images, task)  # 5 passes
            sampled, log_pi = self._tiled_actions(
                images, batch.proprio, task, c.n_policy_actions
            )  # 4
            uniform = 2.0 * self.rng.uniform((len(task), c.n_random_actions, 7)) - 1.0
            self.rng.integers(1, len(task), (len(task), 0))
        latent = self._encode(self.critic_encoder, images, task)  # 1, and 2 backwards
        q_data = self.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0]
        q_sampled = self.critic(latent, batch.proprio, task, sampled)
        q_uniform = self.critic(latent, batch.proprio, task, uniform)
        log_uniform = torch.full_like(uniform[:, :, 0], uniform_log_density(self.n_active))
        gap = conservative_gap(
            q_data,
            torch.cat([q_sampled, q_uniform], 2),
            torch.cat([log_pi, log_uniform], 1),
            c.n_policy_actions,
        )
        next_latent = self._encode(self.critic_encoder, next_images, task)  # 1, 2 backwards
        dr3 = (latent * next_latent).sum(1).mean()
        critic_loss = td_loss(q_data, target) + c.alpha * gap + 0.0 * dr3
        self._step(critic_loss, "critic")
        self._move_targets()
        actor_latent = self._encode(self.encoder, images, task)  # 1, and 2 backwards
        mean, log_std = self.policy(actor_latent, batch.proprio, task)
        with torch.no_grad():
            latent = self._encode(self.critic_encoder, images, task)  # 1
        loss, entropy, metrics = self._actor_loss(batch, mean, log_std, latent, task)
        self._step(loss, "actor")
        self._step(
            temperature_loss(self.log_temperature, entropy, self.target_entropy),
            "temperature",
        )
        return {"loss": critic_loss.detach(), **metrics}

    def _tiled_target(self, batch: Batch, next_images: Tensor, task: Tensor) -> Tensor:
        """Return the TD targets (B,), the policy's encoder run once for every action."""
        c = self.config
        actions, _ = self._tiled_actions(
            next_images, batch.next_proprio, task, c.n_backup_actions
        )
        latent = self._encode(self.target_encoder, next_images, task)
        q_next = self.target_critic(latent, batch.next_proprio, task, actions)
        rewards = c.reward_scale * batch.rewards + c.reward_shift
        return backup(q_next, rewards, 1.0 - batch.rewards, c.discount)

    def _tiled_actions(
        self, images: Tensor, proprio: Tensor, task: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Draw actions after encoding every image as often as there are actions.

        Args:
            images: Shape (B, 3, H, W).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
            count: K.

        Returns:
            Actions (B, K, 7) and their log densities (B, K).
        """
        tiled_task = task.repeat_interleave(count, 0)
        latent = self._encode(self.encoder, images.repeat_interleave(count, 0), tiled_task)
        mean, log_std = self.policy(latent, proprio.repeat_interleave(count, 0), tiled_task)
        # a state's copies have the same mean, and so its random numbers are those of
        # `sample_actions` from the first
        first_mean = mean.view(len(task), count, -1)[:, 0]
        first_log_std = log_std.view(len(task), count, -1)[:, 0]
        return sample_actions(first_mean, first_log_std, self.active, count, self.rng)
