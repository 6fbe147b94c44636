"""CQL's update against a literal version of the official code, which tiles images."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from small_agents import ACTIVE, DATA_SPEC, make_agent, make_batch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ptr_training.agents import CQL
from ptr_training.agents.cql_config import CQLConfig
from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch
from ptr_training.data.distributed import BatchRng
from ptr_training.models.config import NetworkConfig


class LiteralLosses:
    """Critic and actor loss as the official code writes them: one forward pass per purpose."""

    def __init__(self, agent: CQL, batch: Batch, seed: int) -> None:
        self.agent, self.batch, self.config = agent, batch, agent.config
        self.generator = torch.Generator().manual_seed(seed)
        rng = BatchRng(self.generator)
        self.images = agent.augmentation(batch.images, rng)
        self.next_images = agent.augmentation(batch.next_images, rng)
        self.task = F.one_hot(batch.task, 4).float()

    def policy(self, images: Tensor, proprio: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return actions (B * count, 7) and their log densities (B * count,)."""
        agent, tiled = self.agent, partial(torch.repeat_interleave, repeats=count, dim=0)
        latent = agent.encoder(tiled(images), tiled(self.task))
        mean, log_std = agent.policy(latent, tiled(proprio), tiled(self.task))
        noise = torch.randn((len(images), count, 7), generator=self.generator).flatten(0, 1)
        u = mean + noise * log_std.exp()
        log_pi = torch.distributions.Normal(mean, log_std.exp()).log_prob(u)
        log_pi = log_pi - torch.log(1 - torch.tanh(u) ** 2)
        return torch.tanh(u), (log_pi * agent.active).sum(1)

    def q(
        self,
        encoder: nn.Module,
        critic: nn.Module,
        images: Tensor,
        actions: Tensor,
        count: int,
    ) -> Tensor:
        """Return values (2, B, count); proprioception is no input under these settings."""
        tiled = partial(torch.repeat_interleave, repeats=count, dim=0)
        task, proprio = tiled(self.task), tiled(self.batch.proprio)
        values = critic(encoder(tiled(images), task), proprio, task, actions[:, None])
        return values[:, :, 0].unflatten(1, (len(self.task), count))

    def target(self) -> Tensor:
        """Return the TD targets (B,)."""
        c, agent, batch = self.config, self.agent, self.batch
        count = c.n_backup_actions
        actions, _ = self.policy(self.next_images, batch.next_proprio, count)
        encoder, critic = agent.target_encoder, agent.target_critic
        q_next = self.q(encoder, critic, self.next_images, actions, count)
        best = torch.minimum(q_next[0], q_next[1]).max(1).values
        rewards = c.reward_scale * batch.rewards + c.reward_shift
        return rewards + c.discount * (1 - batch.rewards) * best

    def critic_loss(self) -> Tensor:
        """Return the mean of both heads' losses."""
        c, agent, batch, images = self.config, self.agent, self.batch, self.images
        size, n_policy, n_random = len(images), c.n_policy_actions, c.n_random_actions
        with torch.no_grad():
            y = self.target()
            policy_actions, log_pi = self.policy(images, batch.proprio, n_policy)
            uniform = torch.rand((size, n_random, 7), generator=self.generator)
            uniform = uniform.flatten(0, 1) * 2 - 1
            torch.randint(1, size, (size, 0), generator=self.generator)
        q = partial(self.q, agent.critic_encoder, agent.critic, images)
        q_data = q(batch.actions, 1)[:, :, 0]
        of_policy = q(policy_actions, n_policy) - log_pi.unflatten(0, (-1, n_policy))
        of_uniform = q(uniform, n_random) - math.log(0.5 ** sum(ACTIVE))
        lse = torch.logsumexp(torch.cat([of_policy, of_uniform], 2), 2)
        losses = []
        for head in (0, 1):
            gap = (lse[head] - q_data[head]).mean()
            losses.append(F.mse_loss(q_data[head], y) + c.alpha * gap)
        return (losses[0] + losses[1]) / 2

    def actor_loss(self) -> Tensor:
        """Return the loss of one action a state."""
        agent, batch, images = self.agent, self.batch, self.images
        action, log_pi = self.policy(images, batch.proprio, 1)
        q = self.q(agent.critic_encoder, agent.critic, images, action, 1)[:, :, 0]
        return (agent.log_temperature.exp() * log_pi - q.min(0).values).mean()


def test_encoding_once_gives_the_losses_of_the_tiled_form() -> None:
    # the critic hardly moves before the actor's loss
    agent, batch = make_agent({"name": "cql", "critic_lr": 1e-30}), make_batch()
    assert isinstance(agent, CQL)
    agent.rng.generator.manual_seed(5)
    literal = LiteralLosses(agent, batch, 5)
    critic_loss = literal.critic_loss().detach()
    actor_loss = literal.actor_loss().detach()
    metrics = agent.update(batch)
    torch.testing.assert_close(metrics["loss"], critic_loss, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(metrics["actor_loss"], actor_loss, atol=1e-4, rtol=1e-5)


def test_update_of_a_resnet34_needs_at_most_102_gflop_a_sample() -> None:
    data_spec = replace(DATA_SPEC, height=128, width=128)
    torch.manual_seed(0)
    agent = CQL(CQLConfig(), NetworkConfig(), data_spec, Augmentation(4, jitter=True))
    agent.start(torch.device("cpu"), 0)
    small = make_batch(size=2)
    images = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        agent.update(replace(small, images=images, next_images=images))
    # nine passes of 11.3; the official code needs 214.6
    assert 100.0 < counter.get_total_flops() / 2 / 1e9 <= 102.0
