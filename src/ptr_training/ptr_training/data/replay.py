"""Replay: random batches from prior and target transitions.

Sampling is uniform over transitions with replacement within prior and within target data,
so long episodes weigh more (as in the official code).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ptr_training.errors import TrainingError

from .batch import Batch, BatchArrays, Sampling
from .distributed import DistributedContext
from .transitions import Transitions


class Replay:
    """Draws batches from prior and target data.

    Args:
        prior: Transitions of the prior data.
        target: Transitions of the target demonstrations.
        mix: Fraction of prior transitions in a batch (paper §4.1: τ).
        batch_size: Transitions in a batch.
        seed: Of the draws.
        sampling: The batches that the agent needs [single transitions].

    Raises:
        TrainingError: If a batch needs transitions of a kind that is not given.
    """

    def __init__(
        self,
        prior: Sequence[Transitions],
        target: Sequence[Transitions],
        *,
        mix: float,
        batch_size: int,
        seed: int,
        sampling: Sampling | None = None,
    ) -> None:
        self.sampling = sampling or Sampling()
        self.generator = torch.Generator().manual_seed(seed)
        # rounded on the whole batch; the official code rounds per device and so changes the
        # ratio
        n_prior = int(batch_size * mix + 1e-9)
        self.parts: list[Transitions] = []
        self.validation_tasks: list[int] = []  # ids of tasks that are not learnt from
        self._shares: list[_Share] = []
        for kind, transitions, count in (
            ("prior", prior, n_prior),
            ("target", target, batch_size - n_prior),
        ):
            if not count:
                continue
            if not transitions:
                raise TrainingError(
                    f"mix {mix} asks for {count} {kind} transitions a batch, "
                    f"but no {kind} store is given"
                )
            by_task = self.sampling if kind == "prior" else Sampling()
            share = _Share(len(self.parts), transitions, count, by_task, seed)
            self.validation_tasks += share.validation_tasks
            self._shares.append(share)
            self.parts += transitions

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw a batch.

        Returns:
            The part that each row comes from, shape (B,), in order, and its position there,
            shape (B,).
        """
        parts, positions = [], []
        for share in self._shares:
            part, position = share.draw(self.generator)
            parts.append(part)
            positions.append(position)
        return np.concatenate(parts), np.concatenate(positions)

    def gather(self, part: np.ndarray, index: np.ndarray) -> Batch:
        """Return the batch of a draw, or of some rows of it.

        Args:
            part: The part that each row comes from, shape (B,), rows of a part together.
            index: Position in the part, shape (B,).

        Returns:
            B transitions; the images are on the device of `to_device`, if that was called.
        """
        out = self._arrays(len(part))
        runs = _runs(part)
        for number, rows in runs:
            self.parts[number].fill(index[rows], self.sampling, out.part(rows))
        if out.frames is not None:
            images = torch.from_numpy(out.frames)
            if not self.sampling.next_observations:
                return out.batch(images[:, 0], images[:0, 0])
            return out.batch(images[:, 0], images[:, 1])

        current, following = [], []
        for number, rows in runs:
            transitions = self.parts[number]
            store_rows = transitions.rows_at(index[rows], self.sampling.history)
            current.append((transitions, store_rows))
            following.append((transitions, store_rows + 1))

        images = _on_device(current)
        if not self.sampling.next_observations:
            return out.batch(images, images[:0])
        return out.batch(images, _on_device(following))

    def _arrays(self, size: int) -> BatchArrays:
        """Return empty arrays for a batch of this size.

        Args:
            size: Rows of the batch; the frames are left out where a device holds them.
        """
        history = self.sampling.history
        window = () if history == 1 else (history,)
        frames = self.parts[0].frames
        frames_out = None
        if isinstance(frames, np.ndarray):
            count = 2 if self.sampling.next_observations else 1
            shape = (size, count, *window, *frames.shape[1:])
            frames_out = np.empty(shape, frames.dtype)

        return BatchArrays(
            frames=frames_out,
            steps=np.empty((size, *window, 21), np.float32),
            labels=np.empty((size, 4), np.float32),
            task=np.empty(size, int),
            chunk=np.empty(self.sampling.chunk_shape(size), np.float32),
        )

    def sample(self, context: DistributedContext | None = None) -> Batch:
        """Draw one batch, its prior part first, and return this process's rows of it.

        Args:
            context: The processes that share the batch [one].
        """
        context = context or DistributedContext()
        part, index = self.draw()
        own = context.slice(len(part))
        return self.gather(part[own], index[own])

    def batches(
        self, device: torch.device, context: DistributedContext, ahead: int
    ) -> Generator[tuple[Batch, Tensor], None, None]:
        """Yield batches on a device without end.

        Args:
            device: Where the batches are needed.
            context: The processes that share each batch.
            ahead: Batches that a thread gathers in advance; they are copied to a GPU while
                it works.

        Yields:
            A batch, and the state of the generator after its draw.
        """
        if not ahead:
            while True:
                batch = self.sample(context).to(device)
                yield batch, self.generator.get_state()
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[tuple[Future[Batch], Tensor]] = deque()
            while True:
                while len(waiting) <= ahead:
                    part, index = self.draw()
                    own = context.slice(len(part))
                    future = pool.submit(self._fetch, part[own], index[own], device)
                    waiting.append((future, self.generator.get_state()))
                future, state = waiting.popleft()
                yield future.result(), state

    def _fetch(self, part: np.ndarray, index: np.ndarray, device: torch.device) -> Batch:
        """Return the batch of a draw on a GPU.

        Args:
            part: The part that each row comes from, shape (B,).
            index: Position in the part, shape (B,).
            device: The GPU.
        """
        return self.gather(part, index).pinned().to(device)

    @property
    def bytes(self) -> int:
        """Size of all frames [bytes], to decide whether they fit on a device."""
        sizes = {}
        for part in self.parts:
            sizes[id(part.store)] = part.store.frames.nbytes
        return sum(sizes.values())

    @property
    def resident(self) -> bool:
        """Whether frames are gathered from a device's memory."""
        return all(isinstance(part.frames, Tensor) for part in self.parts)

    def to_device(self, device: torch.device) -> None:
        """Keep the frames of all parts on a device."""
        for part in self.parts:
            part.to_device(device)


def _runs(part: np.ndarray) -> list[tuple[int, slice]]:
    """Return the part that each stretch of a draw's rows comes from, and the stretch.

    Args:
        part: The part that each row comes from, shape (B,), rows of a part together.
    """
    if (part == part[0]).all():
        return [(int(part[0]), slice(0, len(part)))]
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    runs = []
    for begin, end in itertools.pairwise(bounds):
        runs.append((int(part[begin]), slice(begin, end)))
    return runs


def _on_device(positions: Sequence[tuple[Transitions, np.ndarray]]) -> Tensor:
    """Return the frames at rows of stores, in order, that a device holds.

    Args:
        positions: Transitions whose frames are on the device, and rows of their store.

    Returns:
        Frames of all rows one after the other, on the device.
    """
    pieces = []
    for part, rows in positions:
        assert isinstance(part.frames, Tensor)
        pieces.append(part.frames[torch.from_numpy(rows).to(part.frames.device)])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


class _Share:
    """The prior or the target rows of every batch.

    Args:
        first_part: Number of the first of `parts` in the replay.
        parts: Transitions that are drawn from.
        count: Rows of a batch.
        sampling: Whether and how the rows are shared out to tasks.
        seed: Of the choice of the tasks that are not learnt from.

    Raises:
        TrainingError: If no task is left to learn from.
    """

    def __init__(
        self,
        first_part: int,
        parts: Sequence[Transitions],
        count: int,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self._first_part = first_part
        self._count = count
        self._sampling = sampling
        self._ends = np.cumsum([len(part) for part in parts])
        self.validation_tasks: list[int] = []  # ids
        self._learnt: list[np.ndarray] = []  # transitions of each task
        self._validation: list[np.ndarray] = []
        if sampling.tasks:
            self._group(np.concatenate([part.task for part in parts]), seed)

    def _group(self, task: np.ndarray, seed: int) -> None:
        """Group the transitions by their tasks, and hold some tasks out.

        Args:
            task: Ids of all transitions, shape (len,).
            seed: Of the choice.
        """
        ids, wanted = np.unique(task), self._sampling.validation_tasks
        if wanted >= len(ids):
            raise TrainingError(
                f"agent.validation_tasks is {wanted}, but the prior data have {len(ids)} tasks; "
                f"it must be less than that"
            )
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
        self.validation_tasks = sorted(ids[order[:wanted].numpy()].tolist())
        for number in ids.tolist():
            held_out = number in self.validation_tasks
            groups = self._validation if held_out else self._learnt
            groups.append(np.flatnonzero(task == number))

    def draw(self, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows: the part of each, and its position there, both of shape (count,)."""
        if self._sampling.tasks:
            drawn = self._of_tasks(generator)
        else:
            total = int(self._ends[-1])
            drawn = torch.randint(total, (self._count,), generator=generator).numpy()

        if len(self._ends) == 1:
            return np.full(len(drawn), self._first_part), drawn
        part = np.searchsorted(self._ends, drawn, side="right")
        if not self._sampling.tasks:  # rows of a part together, to be gathered at once
            order = np.argsort(part, kind="stable")
            drawn, part = drawn[order], part[order]

        starts = np.concatenate([[0], self._ends[:-1]])
        return part + self._first_part, drawn - starts[part]

    def _of_tasks(self, generator: torch.Generator) -> np.ndarray:
        """Draw tasks, then equally many transitions of each, shape (count,).

        The share of a task that is not learnt from is the last one.
        """
        tasks = self._sampling.tasks
        shares = tasks + (1 if self._validation else 0)
        if self._count % shares:
            raise TrainingError(
                f"{self._count} rows of a batch cannot be shared by {shares} tasks; "
                "change batch_size"
            )

        groups = _drawn_groups(self._learnt, tasks, generator)
        if self._validation:
            groups += _drawn_groups(self._validation, 1, generator)
        size = self._count // shares
        consecutive = size // 2 if self._sampling.contiguous else 0
        rows = []
        for choices in groups:
            if consecutive:
                start = int(torch.randint(len(choices), (1,), generator=generator))
                run = np.arange(start, start + consecutive) % len(choices)
                rows.append(choices[run])
            others = (size - consecutive,)
            drawn = torch.randint(len(choices), others, generator=generator).numpy()
            rows.append(choices[drawn])

        return np.concatenate(rows)


def _drawn_groups(
    groups: Sequence[np.ndarray], count: int, generator: torch.Generator
) -> list[np.ndarray]:
    """Draw groups of transitions; one is drawn twice only where there are fewer than asked for."""
    orders = []
    for _ in range(-(-count // len(groups))):
        orders.append(torch.randperm(len(groups), generator=generator))
    return [groups[number] for number in torch.cat(orders)[:count].tolist()]
