"""The module that a bundle holds: raw camera images and arm state to actions in robot units.

It can be compiled by `torch.jit.script`. Letters in shapes: B batch, T observations that the
policy looks at.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.normalization import DataSpec

from .critic import Critic
from .policy import GRIPPER, with_both_grippers, with_gripper_logit

LEAST_SHARE = 0.05
"""Least probability that the policy gives a gripper value which the critic may choose.

What the data hardly ever show has a value that the critic had to guess (discrete BCQ: Fujimoto et
al. 2019, "Benchmarking Batch Deep Reinforcement Learning Algorithms").
"""


class InferencePolicy(nn.Module):
    """Encoder, policy and critic of an agent, with the scaling of images and actions.

    The interface is fixed in `docs/design.md` (section "Bundle").

    Args:
        data_spec: Shapes and ranges of the data.
        encoder: Images (B, 3, H, W) and one-hot ids to latents.
        policy: Has `mode(latent, proprio, task)`, which returns the action in [-1, 1] and
            its standard deviation, (B, 7) each, or (B, E, 7) where E actions are executed.
        critic_encoder: Of the critic, if there is one.
        critic: See `Critic`.
        candidates: Motions, the mode's and others drawn from the policy, among which the critic
            chooses; 0: the mode is executed. The draws are the same for every image.
        gripper_temperature: T > 0: a binary gripper's probabilities are the policy's times
            exp(min Q / T), which its mode and its standard deviation then say; 0: the value of
            the largest min Q is taken.
        history: T. With more than one, `act` and `q` take images (B, T, H, W, 3) and proprio
            (B, T, 7), the newest last.
    """

    def __init__(
        self,
        data_spec: DataSpec,
        encoder: nn.Module,
        policy: nn.Module,
        *,
        critic_encoder: nn.Module | None = None,
        critic: Critic | None = None,
        candidates: int = 0,
        gripper_temperature: float = 0.0,
        history: int = 1,
    ) -> None:
        super().__init__()
        if candidates and (critic is None or critic_encoder is None):
            raise ValueError("a policy without critic has nobody to choose candidates")
        self.n_tasks = data_spec.n_tasks
        self.history = history
        self.encoder, self.policy = encoder, policy
        self.critic_encoder, self.critic = critic_encoder, critic
        self.candidates, self.gripper_temperature = candidates, gripper_temperature
        self.shares_encoder = critic_encoder is encoder
        self.least_share, self.gripper = LEAST_SHARE, GRIPPER
        self.binary_gripper = bool(getattr(policy, "binary_gripper", False))
        self.noise: Tensor  # (K, 7) of the candidates, standard normal; the mode's is 0
        self.register_buffer("noise", _candidate_noise(candidates), persistent=False)
        self.low: Tensor  # (7,) [m, rad, 0..1]
        self.high: Tensor  # (7,) [m, rad, 0..1]
        self.rest: Tensor  # (7,) [m, rad, 0..1], of the dimensions that are not learnt
        self.active: Tensor  # (7,) whether a dimension is learnt
        self.register_buffer("low", torch.tensor(data_spec.action_low))
        self.register_buffer("high", torch.tensor(data_spec.action_high))
        self.register_buffer("rest", torch.tensor(data_spec.action_rest))
        self.register_buffer("active", torch.tensor(data_spec.action_active))

    @torch.jit.export
    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions and their standard deviations.

        Args:
            image: Shape (B, H, W, 3) or (B, T, H, W, 3), uint8.
            proprio: Shape (B, 7) or (B, T, 7).
            task: Ids, shape (B,).

        Returns:
            The action (B, 7) [m, rad, 0..1] and, to first order, its standard deviation
            (B, 7), NaN if the policy is deterministic; (B, E, 7) each, the next action first,
            where the policy plans E.
        """
        one_hot = F.one_hot(task, self.n_tasks).to(torch.float32)
        if self.history > 1:
            one_hot = one_hot[:, None].expand(-1, self.history, -1)
            latent = self.encoder(self._scaled(image.flatten(0, 1)), one_hot.flatten(0, 1))
            latent = latent.unflatten(0, (image.shape[0], self.history))
        else:
            latent = self.encoder(self._scaled(image), one_hot)
        mode, std = self.policy.mode(latent, proprio, one_hot)  # type: ignore[operator]
        if self.candidates > 0:
            mode, std = self._best(image, latent, proprio, one_hot, std)
        half = (self.high - self.low) / 2.0
        action = torch.where(self.active, self.low + (mode + 1.0) * half, self.rest)
        return action, torch.where(self.active, std * half, torch.zeros_like(std))

    def _best(
        self, image: Tensor, latent: Tensor, proprio: Tensor, task: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the candidate of the largest min Q and its standard deviation, in [-1, 1].

        Args:
            image: Shape (B, H, W, 3), uint8.
            latent: Of the policy's encoder, shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
            std: Of the policy, shape (B, 7).
        """
        assert self.critic is not None
        assert self.critic_encoder is not None
        mean, log_std = self.policy(latent, proprio, task)
        actions = torch.tanh(
            mean[:, None] + self.noise * log_std.exp()[:, None]
        )  # (B, K, 7)
        if self.binary_gripper:
            actions = with_both_grippers(actions)
        if not self.shares_encoder:
            latent = self.critic_encoder(self._scaled(image), task)
        values = self.critic(latent, proprio, task, actions).amin(0)  # (B, C)
        logit = mean[:, self.gripper]
        if self.binary_gripper:
            opens = torch.sigmoid(logit)[:, None]
            share = torch.where(actions[:, :, self.gripper] > 0.0, opens, 1.0 - opens)
            values = values.masked_fill(share < self.least_share, -1e9)
        best = values.argmax(1)
        action = actions.gather(1, best[:, None, None].expand(-1, 1, 7))[:, 0]
        if self.gripper_temperature > 0.0:
            # of the same motion, with an open and with a closed gripper
            motion = (best % self.candidates)[:, None]
            opened = values.gather(1, motion)[:, 0]
            closed = values.gather(1, motion + self.candidates)[:, 0]
            tilt = ((opened - closed) / self.gripper_temperature).clamp(-1e4, 1e4)
            action, std = with_gripper_logit(action, std, logit + tilt)
        return action, std

    @torch.jit.export
    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        """Return the Q values of an action, (B, 2); NaN if the agent has no critic.

        Args:
            image: Shape (B, H, W, 3), uint8.
            proprio: Shape (B, 7).
            task: Ids, shape (B,).
            action: Shape (B, 7) [m, rad, 0..1].
        """
        if self.critic is None or self.critic_encoder is None:
            return torch.full((image.shape[0], 2), float("nan"), device=image.device)
        return self.q_values(image, proprio, task, action[:, None])[:2, :, 0].t()

    def q_values(
        self, image: Tensor, proprio: Tensor, task: Tensor, actions: Tensor
    ) -> Tensor:
        """Return the values of several actions of each state, (E, B, K), of all heads.

        Args:
            image: Shape (B, H, W, 3), uint8; encoded once.
            proprio: Shape (B, 7).
            task: Ids, shape (B,).
            actions: Shape (B, K, 7) [m, rad, 0..1].
        """
        assert self.critic is not None
        assert self.critic_encoder is not None
        one_hot = F.one_hot(task, self.n_tasks).to(torch.float32)
        scaled = 2.0 * (actions - self.low) / (self.high - self.low) - 1.0
        latent = self.critic_encoder(self._scaled(image), one_hot)
        values: Tensor = self.critic(latent, proprio, one_hot, scaled.clamp(-0.99, 0.99))
        return values

    def _scaled(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2).to(torch.float32) / 255.0


def _candidate_noise(count: int) -> Tensor:
    """Return the noise (count, 7) of candidates; the first one is the mean itself.

    It is drawn once, so that a bundle acts alike on every computer.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((count, 7), generator=generator)
    noise[:1] = 0.0
    return noise
