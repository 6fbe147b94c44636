"""One batch shared by several processes, with the random numbers and gradients of one process.

`torchrun --nproc-per-node N -m ptr_common.cli pretrain …` starts N processes, each of which
takes an equal slice of every batch. Source: the official code averages gradients over
devices (`jaxrl2`, `flax.jax_utils`); there each device draws for itself, so that the number
of devices changes the run.
"""

from __future__ import annotations

import contextlib
import hashlib
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

    rank: int = 0  # number of this process, from 0
    size: int = 1  # number of processes

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def slice(self, length: int) -> slice:
        """Return this process's part of a batch.

        Args:
            length: Rows of the whole batch.

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
        """Replace every gradient by its mean over the processes, in one transfer.

        Args:
            parameters: In the same order in every process; those without a gradient are skipped.
        """
        gradients = []
        for parameter in parameters:
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        if self.size > 1 and gradients:
            self._average(gradients)

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the means over the processes of tensors.

        Args:
            tensors: Of equal shapes in every process.

        Returns:
            New tensors, with the shapes of the given ones.
        """
        copies = [tensor.detach().clone() for tensor in tensors]
        if self.size > 1:
            self._average(copies)
        return copies

    def average(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the means over the processes of values without dimensions.

        Args:
            values: Scalars by name, in the same order in every process.
        """
        if self.size == 1:
            return values
        means = self.averaged([value.float() for value in values.values()])
        return dict(zip(values, means, strict=True))

    def _average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over the processes."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for tensor in tensors:
            mean = flat[start : start + tensor.numel()]
            tensor.copy_(mean.view_as(tensor))
            start += tensor.numel()

    def join(self, part: Tensor) -> Tensor:
        """Return the whole batch of which every process holds a slice.

        Args:
            part: Rows of this process, shape (B / size, …).

        Returns:
            Rows of all processes in the order of their ranks, shape (B, …).
        """
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process.

        Args:
            flag: Of this process.
            device: Where the processes exchange tensors.
        """
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
    """Join the processes started by `torchrun` while the block runs; without it there is one.

    Args:
        device: Decides how they communicate: NCCL on a GPU, Gloo on a CPU.

    Yields:
        The processes of the run.
    """
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
    """Random numbers for a batch.

    Every process draws those of the whole batch and keeps its own rows.
    """

    generator: torch.Generator = field(default_factory=torch.Generator)
    context: DistributedContext = field(default_factory=DistributedContext)

    def state(self) -> list[Tensor]:
        """Return the state of the generator, alone in a list."""
        return [self.generator.get_state()]

    def set_state(self, state: Sequence[Tensor]) -> None:
        """Continue from what `state` returned; what 0.1.0 wrote has a second entry.

        A GPU's generator is of another kind than the CPU's: a state from the other kind of
        device begins numbers of its own, the same ones every time.
        """
        set_generator(self.generator, state[0].cpu())

    def replace_generator(self, state: Sequence[Tensor]) -> None:
        """Continue from what `state` returned, with a generator that nothing else knows."""
        self.generator = torch.Generator(self.device)
        self.set_state(state)

    @property
    def device(self) -> torch.device:
        """Device of the numbers."""
        return self.generator.device

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Return standard normal numbers; the first dimension is the batch.

        Args:
            shape: Of this process's part.
        """
        size = self._whole(shape)
        return self._own(torch.randn(size, generator=self.generator, device=self.device))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Return numbers in [0, 1); the first dimension is the batch.

        Args:
            shape: Of this process's part.
        """
        size = self._whole(shape)
        return self._own(torch.rand(size, generator=self.generator, device=self.device))

    def integers(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Return integers in [low, high); the first dimension is the batch.

        Args:
            low: Smallest integer.
            high: The integer after the largest.
            shape: Of this process's part.
        """
        size, generator = self._whole(shape), self.generator
        whole = torch.randint(low, high, size, generator=generator, device=self.device)
        return self._own(whole)

    def permutation(self, length: int) -> Tensor:
        """Return the numbers below `length` in random order, the same in every process.

        Returns:
            Shape (length,), on the device.
        """
        if self.device.type == "cpu":
            return torch.randperm(length, generator=self.generator)
        drawn = torch.rand(length, generator=self.generator, device=self.device)
        return drawn.argsort()  # what a CUDA graph can surely hold

    def _whole(self, shape: Sequence[int]) -> list[int]:
        """Return the shape of the whole batch."""
        return [shape[0] * self.context.size, *shape[1:]]

    def _own(self, whole: Tensor) -> Tensor:
        """Return this process's rows."""
        return whole[self.context.slice(len(whole))]


def set_generator(generator: torch.Generator, state: Tensor) -> None:
    """Set a generator's state, or seed it from the state of another kind of generator."""
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
        return
    digest = hashlib.sha256(state.numpy().tobytes()).digest()
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
