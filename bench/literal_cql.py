"""PTR's update as the official code computes it, for comparison: 19 passes of an encoder where 9 suffice.

Observations are tiled before the encoder, once for every sampled action, and a DR3 term is
computed with coefficient 0 (`Asap7772/PTR`, commit a389d83,
`jaxrl2/agents/cql_encodersep_parallel`). Networks, draws and order are those of
`ptr_training.agents.CQL`, so that from one seed both have the same losses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptr_training.agents import CQL, Metrics
from ptr_training.agents.cql import backup, conservative_gap
from ptr_training.data.batch import Batch
from ptr_training.models.networks import sample_actions


class LiteralCQL(CQL):
    """One update of CQL without any sharing of passes; group norm and separate encoders only."""

    def _improve(self, batch: Batch) -> Metrics:
        c, task = self.config, self._one_hot(batch.task)
        images, following = self._augment(batch.images), self._augment(batch.next_images)
        with torch.no_grad():
            actions, _ = self._tiled_actions(
                following, batch.next_proprio, task, c.n_backup_actions
            )  # 4 passes
            latent = self._encode(self.target_encoder, following, task)  # 1
            q_next = self.target_critic(latent, batch.next_proprio, task, actions)
            rewards = c.reward_scale * batch.rewards + c.reward_shift
            target = backup(q_next, rewards, 1.0 - batch.rewards, c.discount)
            sampled, log_pi = self._tiled_actions(
                images, batch.proprio, task, c.n_policy_actions
            )  # 4
            uniform = 2.0 * self.draws.uniform((len(task), c.n_random_actions, 7)) - 1.0
            self.draws.integers(1, len(task), (len(task), 0))
        latent = self._encode(self.critic_encoder, images, task)  # 1, and 2 backwards
        q_data = self.critic(latent, batch.proprio, task, batch.actions[:, None])[:, :, 0]
        q_actions = torch.cat(
            [self.critic(latent, batch.proprio, task, each) for each in (sampled, uniform)],
            2,
        )
        log_uniform = torch.full_like(
            log_pi[:, :1], -math.log(2.0) * float(self.active.sum())
        )
        densities = torch.cat([log_pi, log_uniform.expand(-1, c.n_random_actions)], 1)
        gap = conservative_gap(q_data, q_actions, densities, c.n_policy_actions)
        dr3 = (
            (latent * self._encode(self.critic_encoder, following, task)).sum(1).mean()
        )  # 1, and 2 backwards
        critic_loss = ((q_data - target) ** 2).mean() + c.alpha * gap + 0.0 * dr3
        self._step(critic_loss, "critic")
        self._move_targets()
        mean, log_std = self.policy(
            self._encode(self.encoder, images, task), batch.proprio, task
        )  # 1, and 2 backwards
        with torch.no_grad():
            latent = self._encode(self.critic_encoder, images, task)  # 1
        actor_loss, entropy, metrics = self._actor_loss(batch, mean, log_std, latent, task)
        self._step(actor_loss, "actor")
        self._step(
            self.log_temperature.exp() * (entropy - self.target_entropy), "temperature"
        )
        return {"loss": critic_loss.detach(), **metrics}

    def _tiled_actions(
        self, images: Tensor, proprio: Tensor, task: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Draw actions after encoding every image as often as there are actions; (B, K, 7) and (B, K)."""
        tiled = [each.repeat_interleave(count, 0) for each in (images, proprio, task)]
        mean, log_std = self.policy(
            self._encode(self.encoder, tiled[0], tiled[2]), tiled[1], tiled[2]
        )
        # a state's copies have the same mean, and so its draws are those of
        # `sample_actions` from the first
        size = len(task)
        first = [each.view(size, count, -1)[:, 0] for each in (mean, log_std)]
        return sample_actions(first[0], first[1], self.active, count, self.draws)
