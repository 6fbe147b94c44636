"""From episode stores to batches: frames stay in mapped memory, a batch gathers frames t and t + 1.

The official buffer keeps s and s' apart; here every frame is stored once. Sampling is
uniform over transitions with replacement within prior and within target data, so long
episodes weigh more (as there).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptr_training.errors import TrainingError

from .distributed import DistributedContext
from .episode import DatasetInfo, Episode, EpisodeEntry
from .normalization import normalize_actions
from .store import EpisodeStore
from .task_ids import TaskIds


@dataclass(frozen=True)
class Batch:
    """Transitions (s, a, r, s') with their task ids. With a history of T, s and a are (B, T, …), the newest last."""

    images: Tensor  # (B, H, W, 3) uint8; with a frozen encoder its features (B, Z)
    next_images: Tensor  # the same, one step later
    proprio: Tensor  # (B, 7)
    next_proprio: Tensor  # (B, 7)
    task: Tensor  # (B,) int64
    actions: Tensor  # (B, 7) in [-0.99, 0.99]
    rewards: Tensor  # (B,) 0 or 1
    steps_to_reward: (
        Tensor  # (B,) transitions before the first rewarded one; 0 on the rewarded ones
    )
    last: Tensor  # (B,) 1 on an episode's last transition, else 0
    target: Tensor  # (B,) 1 on transitions of the target demonstrations, 0 on prior ones

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(
            *(
                getattr(self, name).to(device, non_blocking=True)
                for name in self.__dataclass_fields__
            )
        )

    def pinned(self) -> Batch:
        """Return the batch in memory that a GPU can read while the CPU works."""
        parts = (getattr(self, name) for name in self.__dataclass_fields__)
        return Batch(*(part if part.is_cuda else part.pin_memory() for part in parts))


@dataclass(frozen=True)
class Sampling:
    """How an agent wants its batches."""

    history: int = 1  # observations up to and including s; before an episode's first one, that one is repeated
    tasks: int = 0  # a batch holds as many tasks in equal shares, one after the other (MACAW); 0: whatever is drawn
    successors: bool = True  # whether s' is looked at; otherwise its images are left out


class Transitions:
    """The transitions of some episodes of one store.

    Args:
        store: The data.
        registry: Ids of the tasks.
        episodes: Which of the store's; None: all. Only successes are learnt from.
        rewarded_steps: Transitions at the end that earn the reward; 0: as many as the store
            says.
        target: Whether these are the demonstrations of the target task.
    """

    def __init__(
        self,
        store: EpisodeStore,
        registry: TaskIds,
        episodes: Sequence[int] | None = None,
        rewarded_steps: int = 0,
        *,
        target: bool = False,
    ) -> None:
        chosen = range(len(store)) if episodes is None else episodes
        entries = [
            store.entries[index]
            for index in chosen
            if store.entries[index].outcome == "success"
        ]
        if not entries:
            raise TrainingError(f"{store.path} holds no successful episode to learn from")
        self.store = store
        self.frames: np.ndarray | Tensor = np.asarray(
            store.frames
        )  # or what a frozen encoder makes of them
        self.rows = np.concatenate(
            [np.arange(each.start, each.start + each.length) for each in entries]
        )
        self._starts = np.concatenate(
            [np.full(each.length, each.start) for each in entries]
        )
        remaining = np.concatenate(
            [np.arange(each.length, 0, -1) for each in entries]
        )  # this one included
        steps_to_reward = np.maximum(remaining - (rewarded_steps or store.card.last_n), 0)
        self.task = np.concatenate(
            [np.full(each.length, registry.id(each.task)) for each in entries]
        )
        _check_finite(store, entries)
        # few wide tables, since every array that a batch is gathered from costs time
        proprio = store.steps["proprio"]
        actions = normalize_actions(
            store.actions, store.card.action_low, store.card.action_high
        )
        self._steps = np.concatenate(
            [proprio, np.roll(proprio, -1, 0), actions], 1
        )  # of all rows (N, 21)
        marks = [
            steps_to_reward == 0,
            steps_to_reward,
            remaining == 1,
            np.full(len(remaining), target),
        ]
        self._marks = np.stack(marks, 1).astype(np.float32)  # of these transitions (len, 4)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def actions(self) -> np.ndarray:
        """Actions of all transitions, scaled to [-1, 1], shape (len, 7)."""
        return self._steps[self.rows, 14:]

    def reside(self, device: torch.device) -> None:
        """Copy the frames to a device, where batches are then gathered."""
        self.frames = torch.from_numpy(np.array(self.frames)).to(device)

    def rows_at(self, index: np.ndarray, history: int) -> np.ndarray:
        """Return the rows of the store that transitions `index` (B,) look at: (B,), or (B, history)."""
        rows = self.rows[index]
        if history > 1:
            rows = np.maximum(
                rows[:, None] + np.arange(1 - history, 1), self._starts[index, None]
            )
        return rows

    def fill(self, index: np.ndarray, sampling: Sampling, out: _Arrays) -> None:
        """Write the transitions `index` into the arrays of a batch."""
        rows = self.rows_at(index, sampling.history)
        np.take(self._steps, rows, 0, out.steps, "clip")  # any other mode copies once more
        np.take(self._marks, index, 0, out.marks, "clip")
        np.take(self.task, index, 0, out.task, "clip")
        if out.frames is None:
            return
        assert isinstance(self.frames, np.ndarray)
        if sampling.history == 1:  # s and s' lie side by side in the store, and in `out`
            count = out.frames.shape[1]
            for place, row in enumerate(rows.tolist()):
                out.frames[place] = self.frames[row : row + count]
        else:
            for which in range(out.frames.shape[1]):
                out.frames[:, which] = self.frames[rows + which]


@dataclass(frozen=True)
class _Arrays:
    """A batch that is being gathered."""

    frames: (
        np.ndarray | None
    )  # (B, 1 or 2, …): of s, and of s' if wanted; None where a device holds them
    steps: np.ndarray  # (B, 21): proprio, next proprio, action; (B, T, 21) with a history
    marks: np.ndarray  # (B, 4): reward, steps_to_reward, last, target
    task: np.ndarray  # (B,)

    def part(self, rows: slice) -> _Arrays:
        frames = None if self.frames is None else self.frames[rows]
        return _Arrays(frames, self.steps[rows], self.marks[rows], self.task[rows])

    def batch(self, images: Tensor, next_images: Tensor) -> Batch:
        tensor, steps, marks = (
            torch.from_numpy,
            self.steps,
            self.marks,
        )  # slices of arrays cost less than of tensors
        return Batch(
            images=images,
            next_images=next_images,
            proprio=tensor(steps[..., :7]),
            next_proprio=tensor(steps[..., 7:14]),
            task=tensor(self.task),
            actions=tensor(steps[..., 14:]),
            rewards=tensor(marks[:, 0]),
            steps_to_reward=tensor(marks[:, 1]),
            last=tensor(marks[:, 2]),
            target=tensor(marks[:, 3]),
        )


def _check_finite(store: EpisodeStore, entries: Sequence[EpisodeEntry]) -> None:
    """Raise TrainingError naming the first step of these episodes that holds a value that is not finite."""
    for name in ("proprio", store.card.command):
        bad = ~np.isfinite(store.steps[name]).all(1)
        for each in entries if bad.any() else ():
            steps = np.flatnonzero(bad[each.start : each.start + each.length + 1])
            if len(steps):
                value = store.steps[name][each.start + steps[0]].tolist()
                raise TrainingError(
                    f"{store.path}: episode {each.id}, step {steps[0]}: {name} is {value}; expected finite numbers "
                    f"(`ptr review {store.path} --bad {each.id}` leaves it out)"
                )


def episode_batch(
    episode: Episode,
    card: DatasetInfo,
    registry: TaskIds,
    rewarded_steps: int,
    history: int = 1,
) -> Batch:
    """Return all transitions of one episode in order."""
    length = len(episode)
    rows = (
        np.arange(length)
        if history == 1
        else np.maximum(np.arange(length)[:, None] + np.arange(1 - history, 1), 0)
    )
    frames, proprio = np.asarray(episode.frames), np.asarray(episode.proprio, np.float32)
    actions = normalize_actions(
        getattr(episode, card.command), card.action_low, card.action_high
    )
    steps_to_reward = np.maximum(np.arange(length, 0, -1) - rewarded_steps, 0)
    return Batch(
        images=torch.from_numpy(frames[rows]),
        next_images=torch.from_numpy(frames[rows + 1]),
        proprio=torch.from_numpy(proprio[rows]),
        next_proprio=torch.from_numpy(proprio[rows + 1]),
        task=torch.full((length,), registry.id(episode.task)),
        actions=torch.from_numpy(actions[rows]),
        rewards=torch.from_numpy((steps_to_reward == 0).astype(np.float32)),
        steps_to_reward=torch.from_numpy(steps_to_reward.astype(np.float32)),
        last=(torch.arange(length) == length - 1).float(),
        target=torch.ones(length),
    )


class Replay:
    """Draws batches from prior and target data, with `mix` the fraction of prior transitions (paper §4.1: τ)."""

    def __init__(
        self,
        prior: Sequence[Transitions],
        target: Sequence[Transitions],
        *,
        mix: float,
        batch_size: int,
        seed: int,
        sampling: Sampling = Sampling(),
    ) -> None:
        # rounded on the whole batch; the official code rounds per device and so changes the
        # ratio
        n_prior = int(batch_size * mix + 1e-9)
        self.parts: list[Transitions] = []
        self._shares: list[_Share] = []
        for kind, group, count in (
            ("prior", prior, n_prior),
            ("target", target, batch_size - n_prior),
        ):
            if count and not group:
                raise TrainingError(
                    f"mix {mix} asks for {count} {kind} transitions a batch, but no {kind} store is given"
                )
            if count:
                self._shares.append(_Share(len(self.parts), group, count, sampling.tasks))
                self.parts += group
        self.sampling = sampling
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw a batch: which part each row comes from (B,), in order, and its position there (B,)."""
        draws = [share.draw(self.generator) for share in self._shares]
        return np.concatenate([part for part, _ in draws]), np.concatenate(
            [index for _, index in draws]
        )

    def gather(self, part: np.ndarray, index: np.ndarray) -> Batch:
        """Return the batch of a draw, or of some rows of it."""
        out, runs = self._arrays(len(part)), _runs(part)
        for which, rows in runs:
            self.parts[which].fill(index[rows], self.sampling, out.part(rows))
        if out.frames is not None:
            images = torch.from_numpy(out.frames)
            return out.batch(
                images[:, 0], images[:, 1] if images.shape[1] > 1 else images[:0, 0]
            )
        places = [
            (
                self.parts[which],
                self.parts[which].rows_at(index[rows], self.sampling.history),
            )
            for which, rows in runs
        ]
        images = _on_device(places)
        successors = [(each, rows + 1) for each, rows in places]
        return out.batch(
            images, _on_device(successors) if self.sampling.successors else images[:0]
        )

    def _arrays(self, size: int) -> _Arrays:
        """Return arrays for a batch of this size."""
        sampling, frames = self.sampling, self.parts[0].frames
        window = () if sampling.history == 1 else (sampling.history,)
        count = 2 if sampling.successors else 1
        return _Arrays(
            np.empty((size, count, *window, *frames.shape[1:]), frames.dtype)
            if isinstance(frames, np.ndarray)
            else None,
            np.empty((size, *window, 21), np.float32),
            np.empty((size, 4), np.float32),
            np.empty(size, int),
        )

    def sample(self, group: DistributedContext = DistributedContext()) -> Batch:  # noqa: B008
        """Draw one batch, its prior part first, and return this process's rows of it."""
        part, index = self.draw()
        mine = group.slice(len(part))
        return self.gather(part[mine], index[mine])

    def batches(
        self, device: torch.device, group: DistributedContext, ahead: int
    ) -> Generator[tuple[Batch, Tensor], None, None]:
        """Yield batches on a device for ever, each with the state of the generator after its draw.

        Args:
            device: Where to.
            group: The processes that share each batch.
            ahead: Batches that a thread gathers in advance; on a GPU they cross over while
            it works.
        """
        if not ahead:
            while True:
                batch = self.sample(group).to(device)
                yield batch, self.generator.get_state()

        def fetch(part: np.ndarray, index: np.ndarray) -> Batch:
            return self.gather(part, index).pinned().to(device)

        with ThreadPoolExecutor(1) as pool:
            waiting: deque[tuple[Future[Batch], Tensor]] = deque()
            while True:
                while len(waiting) <= ahead:
                    part, index = self.draw()
                    mine = group.slice(len(part))
                    waiting.append(
                        (
                            pool.submit(fetch, part[mine], index[mine]),
                            self.generator.get_state(),
                        )
                    )
                future, state = waiting.popleft()
                yield future.result(), state

    @property
    def bytes(self) -> int:
        """Size of all frames, to decide whether they fit on a device."""
        return sum(
            part.store.frames.nbytes
            for part in {id(each.store): each for each in self.parts}.values()
        )

    @property
    def resident(self) -> bool:
        """Whether frames are gathered from a device's memory."""
        return all(isinstance(part.frames, Tensor) for part in self.parts)

    def reside(self, device: torch.device) -> None:
        """Keep the frames of all parts on a device."""
        for part in self.parts:
            part.reside(device)


def _runs(part: np.ndarray) -> list[tuple[int, slice]]:
    """Return which part each stretch of a draw's rows comes from."""
    if (part == part[0]).all():
        return [(int(part[0]), slice(0, len(part)))]
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    return [
        (int(part[begin]), slice(begin, end)) for begin, end in itertools.pairwise(bounds)
    ]


def _on_device(positions: Sequence[tuple[Transitions, np.ndarray]]) -> Tensor:
    """Return frames that a device holds."""
    pieces = []
    for part, rows in positions:
        assert isinstance(part.frames, Tensor)
        pieces.append(part.frames[torch.from_numpy(rows).to(part.frames.device)])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


class _Share:
    """The prior or the target rows of every batch."""

    def __init__(
        self, first_part: int, group: Sequence[Transitions], count: int, tasks: int
    ) -> None:
        self._first_part, self._count, self._n_tasks = first_part, count, tasks
        self._ends = np.cumsum([len(each) for each in group])
        task = np.concatenate([each.task for each in group])
        self._by_task = (
            [np.flatnonzero(task == each) for each in np.unique(task)] if tasks else []
        )

    def draw(self, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self._n_tasks:
            drawn = self._of_tasks(generator)
        else:
            drawn = torch.randint(
                int(self._ends[-1]), (self._count,), generator=generator
            ).numpy()
        if len(self._ends) == 1:
            return np.full(len(drawn), self._first_part), drawn
        part = np.searchsorted(self._ends, drawn, side="right")
        if not self._n_tasks:  # rows of a part together, to be gathered at once
            order = np.argsort(part, kind="stable")
            drawn, part = drawn[order], part[order]
        starts = np.concatenate([[0], self._ends[:-1]])
        return part + self._first_part, drawn - starts[part]

    def _of_tasks(self, generator: torch.Generator) -> np.ndarray:
        """Draw tasks, with replacement only if there are too few, and equally many transitions of each."""
        n, available = self._n_tasks, len(self._by_task)
        if self._count % n:
            raise TrainingError(
                f"{self._count} rows of a batch cannot be shared by {n} tasks; change batch_size"
            )
        chosen = torch.cat(
            [
                torch.randperm(available, generator=generator)
                for _ in range(-(-n // available))
            ]
        )[:n]
        rows = []
        for each in chosen.tolist():
            choices = self._by_task[each]
            draw = torch.randint(
                len(choices), (self._count // n,), generator=generator
            ).numpy()
            rows.append(choices[draw])
        return np.concatenate(rows)
