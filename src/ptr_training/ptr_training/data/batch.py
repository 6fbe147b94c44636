"""Batches of transitions as agents learn from them, and how an agent asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Transitions (s, a, r, s') with their task ids.

    With a history of T, s and a are (B, T, …), the newest last.
    """

    images: Tensor  # (B, H, W, 3) uint8; with a frozen encoder its features (B, Z)
    next_images: Tensor  # the same, one step later
    proprio: Tensor  # (B, 7)
    next_proprio: Tensor  # (B, 7)
    task: Tensor  # (B,) int64
    actions: Tensor  # (B, 7) in [-0.99, 0.99]
    rewards: Tensor  # (B,) 0 or 1
    steps_to_reward: (
        Tensor  # (B,) transitions before the first rewarded one; 0 from there on, infinite
        # in a failed episode
    )
    last: Tensor  # (B,) 1 on an episode's last transition, else 0
    target: Tensor  # (B,) 1 on transitions of the target demonstrations, 0 on prior ones
    chunk: Tensor  # (B, K, 7) actions of s and of the steps after it; (0, 1, 7) if not asked for
    inside: Tensor  # (B, K) 1 on actions of the episode, 0 on its last one repeated after its end

    @property
    def succeeded(self) -> Tensor:
        """1 on transitions of successful episodes, 0 on those of failed ones, (B,)."""
        return torch.isfinite(self.steps_to_reward).float()

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return self._apply(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Return the batch in memory that a GPU can read while the CPU works."""
        return self._apply(_pinned)

    def clone(self) -> Batch:
        """Return a copy that shares no memory with this batch."""
        return self._apply(torch.clone)

    def copy_(self, other: Batch) -> None:
        """Overwrite the tensors with those of a batch of the same shapes."""
        for field in fields(self):
            own, new = getattr(self, field.name), getattr(other, field.name)
            own.copy_(new, non_blocking=True)

    def _apply(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        return Batch(*(change(getattr(self, field.name)) for field in fields(self)))


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_cuda else tensor.pin_memory()


@dataclass(frozen=True)
class Sampling:
    """The batches that an agent needs."""

    history: int = (
        1  # observations up to and including s; an episode's first one is repeated
    )
    # prior rows of so many tasks in equal shares, one after the other (MACAW); 0: any mix
    tasks: int = 0
    # so many tasks are in none of these shares; one further share is of one of them
    validation_tasks: int = 0
    # the first half of a share are consecutive transitions
    contiguous: bool = False
    next_observations: bool = True  # whether the images of s' are part of the batch
    chunk: int = 1  # K, actions from that of s on; with 1 they are left out of the batch

    def chunk_shape(self, size: int) -> tuple[int, int, int]:
        """Return the shape of `BatchArrays.chunk` for a batch of this size."""
        return (size if self.chunk > 1 else 0, self.chunk, 8)


@dataclass(frozen=True)
class BatchArrays:
    """A batch that is being gathered, in a few wide arrays: each array costs time."""

    frames: np.ndarray | None  # (B, 1 or 2, …) of s and s'; None where a device holds them
    steps: np.ndarray  # (B, 21): proprio, next proprio, action; (B, T, 21) with a history
    labels: np.ndarray  # (B, 4): reward, steps_to_reward, last, target
    task: np.ndarray  # (B,) int64
    chunk: np.ndarray  # (B, K, 8): actions, and whether they are of the episode; (0, 1, 8)

    def part(self, rows: slice) -> BatchArrays:
        """Return a view of some rows."""
        frames = None if self.frames is None else self.frames[rows]
        return BatchArrays(
            frames, self.steps[rows], self.labels[rows], self.task[rows], self.chunk[rows]
        )

    def batch(self, images: Tensor, next_images: Tensor) -> Batch:
        """Return the batch; its tensors share the memory of the arrays."""
        from_numpy = torch.from_numpy  # slices of arrays cost less than those of tensors
        return Batch(
            images=images,
            next_images=next_images,
            proprio=from_numpy(self.steps[..., :7]),
            next_proprio=from_numpy(self.steps[..., 7:14]),
            task=from_numpy(self.task),
            actions=from_numpy(self.steps[..., 14:]),
            rewards=from_numpy(self.labels[:, 0]),
            steps_to_reward=from_numpy(self.labels[:, 1]),
            last=from_numpy(self.labels[:, 2]),
            target=from_numpy(self.labels[:, 3]),
            chunk=from_numpy(self.chunk[..., :7]),
            inside=from_numpy(self.chunk[..., 7]),
        )
