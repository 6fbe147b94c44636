"""Actions that CQL compares with the demonstrated ones, and the densities they are drawn from.

Letters in shapes: B batch, K actions per state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ptr_training.data.distributed import BatchRng
from ptr_training.models.policy import ACTION_SIZE, snap_gripper


@dataclass(frozen=True)
class SampledActions:
    """Actions of every state, with the density of the distribution that each was drawn from."""

    actions: Tensor  # (B, K, 7), in [-1, 1]
    log_densities: Tensor  # (B, K)

    def first(self, count: int) -> SampledActions:
        """Return the first actions of every state."""
        return SampledActions(self.actions[:, :count], self.log_densities[:, :count])


def join_actions(*parts: SampledActions) -> SampledActions:
    """Return all actions of every state, in this order."""
    actions = torch.cat([part.actions for part in parts], 1)
    log_densities = torch.cat([part.log_densities for part in parts], 1)
    return SampledActions(actions, log_densities)


def draw_uniform(
    size: int, count: int, n_active: int, rng: BatchRng, *, binary_gripper: bool = False
) -> SampledActions:
    """Draw actions uniformly from [-1, 1]^7.

    A binary gripper is open or closed with equal probability: 1/2, as a uniform density.

    Args:
        size: B.
        count: K.
        n_active: Learnt dimensions, the ones that count towards the density.
        rng: Source of the numbers.
        binary_gripper: The gripper has two values.
    """
    actions = 2.0 * rng.uniform((size, count, ACTION_SIZE)) - 1.0
    if binary_gripper:
        actions = snap_gripper(actions)
    return SampledActions(actions, _uniform_densities(actions, n_active))


def draw_demonstrated(
    demonstrated: Tensor, count: int, n_active: int, rng: BatchRng
) -> SampledActions:
    """Draw actions of other transitions of the batch.

    They are weighted as if they were uniform: their density is not known.

    Args:
        demonstrated: Actions of the transitions, shape (B, 7).
        count: K.
        n_active: Learnt dimensions, the ones that count towards the density.
        rng: Source of the numbers; its processes share the batch.
    """
    size = len(demonstrated)
    whole = rng.context.join(demonstrated)
    own = torch.arange(size, device=demonstrated.device) + rng.context.rank * size
    # from 1 on: never the action of the transition itself
    offsets = rng.integers(1, len(whole), (size, count))
    actions = whole[(own[:, None] + offsets) % len(whole)]
    return SampledActions(actions, _uniform_densities(actions, n_active))


def _uniform_densities(actions: Tensor, n_active: int) -> Tensor:
    """Return the log density (B, K) of the uniform distribution over [-1, 1]^n_active."""
    log_density = uniform_log_density(n_active)
    return torch.full(actions.shape[:2], log_density, device=actions.device)


def uniform_log_density(n_active: int) -> float:
    """Return the log density of the uniform distribution over [-1, 1]^n_active."""
    return -math.log(2.0) * float(n_active)
