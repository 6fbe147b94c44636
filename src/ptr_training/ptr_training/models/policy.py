"""The Gaussian policy behind the image encoder, and how actions are drawn from it.

Letters in shapes: B batch, N width of the task id, Z latent size, K actions per state. The
modules can be compiled by `torch.jit.script`, so that a bundle holds exactly these.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.distributed import BatchRng
from ptr_training.data.normalization import DataSpec

from .config import NetworkConfig
from .layers import linear, mlp

ACTION_SIZE = 7
PROPRIO_SIZE = 7
GRIPPER = 6
"""Index of the gripper in an action."""


class FeatureConcat(nn.Module):
    """Joins [latent, proprio, task id] to (…, Z + 7 + N).

    The proprioception is standardised if the configuration says so.
    """

    def __init__(self, config: NetworkConfig, data_spec: DataSpec, latent: int) -> None:
        super().__init__()
        self.size = latent + PROPRIO_SIZE + data_spec.n_tasks
        mean, std = torch.zeros(PROPRIO_SIZE), torch.ones(PROPRIO_SIZE)
        if config.standardize_proprio:
            mean = torch.tensor(data_spec.proprio_mean)
            std = torch.tensor(data_spec.proprio_std)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, latent: Tensor, proprio: Tensor, task: Tensor) -> Tensor:
        """Return (…, Z + 7 + N) from (…, Z), (…, 7) and one-hot ids (…, N)."""
        return torch.cat([latent, (proprio - self.mean) / self.std, task], -1)


class Policy(nn.Module):
    """Linear layers on [latent, proprio, task id] giving mean and log std of a Gaussian.

    With a binary gripper its dimension of the mean is the logit of "open"; its log std means
    nothing.

    Args:
        config: Sizes.
        data_spec: Shapes and ranges of the data.
        latent: Z.
        squashed: A tanh follows; otherwise the policy acts by its mean alone, clipped to
            [-1, 1].
        log_std: Lowest and highest log standard deviation.
    """

    def __init__(
        self,
        config: NetworkConfig,
        data_spec: DataSpec,
        latent: int,
        *,
        squashed: bool,
        log_std: tuple[float, float] = (-5.0, 2.0),
    ) -> None:
        super().__init__()
        self.observation = FeatureConcat(config, data_spec, latent)
        self.layers = mlp((self.observation.size, *config.hidden), config.dropout)
        self.mean = linear(config.hidden[-1], ACTION_SIZE, 0.01)
        self.log_std = linear(config.hidden[-1], ACTION_SIZE, 0.01)
        self.squashed = squashed
        self.binary_gripper = squashed and data_spec.binary_gripper
        self.lowest, self.highest = log_std

    def forward(
        self, latent: Tensor, proprio: Tensor, task: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean and the log standard deviation, (B, 7) each.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).
        """
        hidden = self.layers(self.observation(latent, proprio, task))
        return self.mean(hidden), self.log_std(hidden).clamp(self.lowest, self.highest)

    def mode(self, latent: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action to execute and its standard deviation.

        Args:
            latent: Shape (B, Z).
            proprio: Shape (B, 7).
            task: One-hot ids, shape (B, N).

        Returns:
            The action (B, 7), in [-1, 1], and to first order its standard deviation (B, 7);
            NaN for a policy that acts by its mean alone.
        """
        mean, log_std = self.forward(latent, proprio, task)
        if self.squashed:
            mode = torch.tanh(mean)
            std = log_std.exp() * (1.0 - mode * mode)
            if self.binary_gripper:
                return with_gripper_logit(mode, std, mean[:, 6])
            return mode, std
        return mean.clamp(-1.0, 1.0), torch.full_like(mean, float("nan"))


def gripper_of(is_open: Tensor) -> Tensor:
    """Return the scaled command of a binary gripper, 0.99 for open and -0.99 for closed."""
    return 0.99 * (2.0 * is_open.to(torch.float32) - 1.0)


def with_gripper_logit(action: Tensor, std: Tensor, logit: Tensor) -> tuple[Tensor, Tensor]:
    """Return actions with the likelier gripper, and the standard deviation of its Bernoulli.

    Args:
        action: In [-1, 1], shape (B, 7).
        std: Of it, shape (B, 7).
        logit: Of "open", shape (B,).
    """
    gripper = gripper_of(logit > 0.0)[:, None]
    # 2 x 0.99 sqrt(p (1 - p)); beyond 50 it is nothing, and cosh would overflow
    deviation = (0.99 / torch.cosh(0.5 * logit.clamp(-50.0, 50.0)))[:, None]
    return torch.cat([action[:, :6], gripper], 1), torch.cat([std[:, :6], deviation], 1)


def snap_gripper(actions: Tensor) -> Tensor:
    """Return actions (…, 7) with a gripper that is fully open or fully closed."""
    gripper = gripper_of(actions[..., GRIPPER:] > 0.0)
    return torch.cat([actions[..., :GRIPPER], gripper], -1)


def with_both_grippers(actions: Tensor) -> Tensor:
    """Return actions (B, K, 7) with an open gripper, then with a closed one, (B, 2 K, 7)."""
    motion, gripper = actions[..., :6], torch.full_like(actions[..., 6:], 0.99)
    opened, closed = torch.cat([motion, gripper], -1), torch.cat([motion, -gripper], -1)
    return torch.cat([opened, closed], 1)


def expected_actions(mean: Tensor, *, binary_gripper: bool) -> Tensor:
    """Return tanh of the mean (B, 7); of a binary gripper its expected command."""
    if not binary_gripper:
        return torch.tanh(mean)
    gripper = 0.99 * torch.tanh(0.5 * mean[:, GRIPPER:])  # 0.99 (2 p - 1)
    return torch.cat([torch.tanh(mean[:, :GRIPPER]), gripper], 1)


def sample_actions(
    mean: Tensor,
    log_std: Tensor,
    active: Tensor,
    count: int,
    rng: BatchRng,
    *,
    binary_gripper: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw `count` actions per state from a tanh-Gaussian, reparameterised.

    A binary gripper is drawn as a Bernoulli; it passes no gradient, and the logarithm of its
    probability stands in the place of a density.

    Args:
        mean: Before tanh, shape (B, 7).
        log_std: Before tanh, shape (B, 7).
        active: 1 for the dimensions that count towards the density, shape (7,).
        count: K.
        rng: Source of the noise.
        binary_gripper: The gripper's mean is the logit of "open".

    Returns:
        Actions (B, K, 7) in (-1, 1) and their log densities (B, K).
    """
    noise = rng.normal((len(mean), count, mean.shape[1]))
    u = mean[:, None] + noise * log_std.exp()[:, None]
    log_normal = -0.5 * noise**2 - log_std[:, None] - 0.5 * math.log(2 * math.pi)
    # log of the derivative of tanh
    log_slope = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))
    log_density = log_normal - log_slope
    actions = torch.tanh(u)
    if binary_gripper:
        logit = mean[:, None, GRIPPER:]
        is_open = rng.uniform((len(mean), count))[..., None] < torch.sigmoid(logit)
        actions = torch.cat([actions[..., :GRIPPER], gripper_of(is_open)], -1)
        log_probability = F.logsigmoid(torch.where(is_open, logit, -logit))
        log_density = torch.cat([log_density[..., :GRIPPER], log_probability], -1)
    return actions, (log_density * active).sum(-1)
