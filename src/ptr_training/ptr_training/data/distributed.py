"""One batch shared by several processes: their draws and gradients are those of one process with the whole batch.

`torchrun --nproc-per-node N -m ptr_common.cli pretrain …` starts N processes, each of which
takes an equal slice of every batch. Source: the official code averages gradients over
devices (`jaxrl2`, `flax.jax_utils`); there each device draws for itself, so that the number
of devices changes the run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from ptr_training.errors import TrainingError


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a run; by default there is one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def slice(self, length: int) -> slice:
        """Return this process's part of a batch.

        Raises:
            TrainingError: If the batch cannot be shared out equally.
        """
        if length % self.size:
            raise TrainingError(
                f"batch_size is {length}; it must be a multiple of the {self.size} processes"
            )
        share = length // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the processes, in one transfer."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        if self.size > 1 and gradients:
            self._average(gradients)

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the means over the processes of tensors."""
        copies = [each.detach().clone() for each in tensors]
        if self.size > 1:
            self._average(copies)
        return copies

    def average(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the means over the processes of values without dimensions."""
        if self.size == 1:
            return values
        return dict(
            zip(
                values,
                self.averaged([each.float() for each in values.values()]),
                strict=True,
            )
        )

    def _average(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([each.flatten() for each in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for each, mean in zip(
            tensors, flat.split([each.numel() for each in tensors]), strict=True
        ):
            each.copy_(mean.view_as(each))

    def join(self, part: Tensor) -> Tensor:
        """Return the whole batch of which every process holds a slice."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=device)
        dist.all_reduce(value)
        return bool(value.item() > 0)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_group(device: torch.device) -> Iterator[DistributedContext]:
    """Join the processes started by `torchrun` while the block runs; without it there is one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield DistributedContext()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield DistributedContext(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()  # its threads must not outlive the interpreter


@dataclass
class BatchRng:
    """Random numbers for a batch: every process draws those of the whole batch and keeps its own rows."""

    generator: torch.Generator = field(default_factory=torch.Generator)
    group: DistributedContext = field(default_factory=DistributedContext)
    host: torch.Generator = field(
        init=False
    )  # of what the CPU needs to know, so that it need not wait for a GPU

    def __post_init__(self) -> None:
        self.host = self.generator
        if self.device.type != "cpu":
            self.host = torch.Generator().manual_seed(self.generator.initial_seed())

    def state(self) -> list[Tensor]:
        """Return the states of the generators."""
        return [self.generator.get_state(), self.host.get_state()]

    def set_state(self, state: Sequence[Tensor]) -> None:
        """Take over what `state` returned."""
        self.generator.set_state(state[0].cpu())
        if self.host is not self.generator:
            self.host.set_state(state[1].cpu())

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.generator.device

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Return standard normal numbers; the first dimension is the batch."""
        return self._mine(
            torch.randn(self._whole(shape), generator=self.generator, device=self.device),
            shape,
        )

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Return numbers in [0, 1); the first dimension is the batch."""
        return self._mine(
            torch.rand(self._whole(shape), generator=self.generator, device=self.device),
            shape,
        )

    def integers(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Return integers in [low, high); the first dimension is the batch."""
        whole = torch.randint(
            low, high, self._whole(shape), generator=self.generator, device=self.device
        )
        return self._mine(whole, shape)

    def permutation(self, length: int) -> list[int]:
        """Return an order of `length` things, the same in every process."""
        return torch.randperm(length, generator=self.host).tolist()

    def _whole(self, shape: Sequence[int]) -> list[int]:
        return [shape[0] * self.group.size, *shape[1:]]

    def _mine(self, whole: Tensor, shape: Sequence[int]) -> Tensor:
        return whole[self.group.rank * shape[0] : (self.group.rank + 1) * shape[0]]
