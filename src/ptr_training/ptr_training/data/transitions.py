"""The transitions of episodes: rows of a store, or all of one episode as a batch.

The official buffer keeps s and s' apart; here every frame is stored once, in mapped memory,
and a batch gathers frames t and t + 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ptr_training.errors import TrainingError

from .batch import Batch, BatchArrays, Sampling
from .episode import DatasetInfo, Episode, EpisodeEntry
from .normalization import normalize_actions
from .store import EpisodeStore
from .task_ids import TaskIds


class Transitions:
    """The transitions of some episodes of one store.

    Args:
        store: The data.
        task_ids: Ids of the tasks.
        episodes: Indices of episodes of the store; None: all. Episodes with another outcome
            than success or failure are left out.
        rewarded_steps: Transitions at the end that earn the reward; 0: as many as the store
            says.
        target: Whether these are the demonstrations of the target task.
        failures: Use failed episodes as well, which earn no reward.

    Raises:
        TrainingError: If no episode can be used, a task has no id, or a value is not finite.
    """

    def __init__(
        self,
        store: EpisodeStore,
        task_ids: TaskIds,
        episodes: Sequence[int] | None = None,
        rewarded_steps: int = 0,
        *,
        target: bool = False,
        failures: bool = False,
    ) -> None:
        entries = _usable(store, episodes, failures=failures)
        self.store = store
        # (N, H, W, 3) uint8; with a frozen encoder its features (N, Z)
        self.frames: np.ndarray | Tensor = np.asarray(store.frames)
        rows, starts, remaining, task, succeeded = [], [], [], [], []
        for entry in entries:
            rows.append(np.arange(entry.start, entry.start + entry.length))
            starts.append(np.full(entry.length, entry.start))
            remaining.append(np.arange(entry.length, 0, -1))
            task.append(np.full(entry.length, task_ids.id(entry.task)))
            succeeded.append(np.full(entry.length, entry.outcome == "success"))

        _check_finite(store, entries)
        self.rows = np.concatenate(rows)  # of the store (len,)
        # transitions left in the episode, the own one included (len,)
        self._remaining = np.concatenate(remaining)
        self.task = np.concatenate(task)  # (len,)
        self._starts = np.concatenate(
            starts
        )  # row of the episode's first observation (len,)
        info = store.info
        proprio = store.steps["proprio"]
        actions = normalize_actions(store.actions, info.action_low, info.action_high)
        next_proprio = np.roll(proprio, -1, 0)
        # of all rows of the store (N, 21)
        self._steps = np.concatenate([proprio, next_proprio, actions], 1)
        self._labels = _labels(
            self._remaining,
            rewarded_steps or info.last_n,
            np.concatenate(succeeded),
            target=target,
        )
        self.failures = sum(entry.outcome == "failure" for entry in entries)  # episodes

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def actions(self) -> np.ndarray:
        """Actions of all transitions, scaled to [-1, 1], shape (len, 7)."""
        return self._steps[self.rows, 14:]

    def to_device(self, device: torch.device) -> None:
        """Copy the frames to a device, where batches are then gathered."""
        self.frames = torch.from_numpy(np.array(self.frames)).to(device)

    def rows_at(self, index: np.ndarray, history: int) -> np.ndarray:
        """Return the rows of the store that transitions look at.

        Args:
            index: Transitions, shape (B,).
            history: Observations up to and including s.

        Returns:
            Rows, shape (B,), or (B, history) where that is more than 1.
        """
        return _with_history(self.rows[index], self._starts[index], history)

    def fill(self, index: np.ndarray, sampling: Sampling, out: BatchArrays) -> None:
        """Write the transitions `index`, shape (B,), into the arrays of a batch."""
        rows = self.rows_at(index, sampling.history)
        np.take(self._steps, rows, 0, out.steps, "clip")  # other modes copy once more
        np.take(self._labels, index, 0, out.labels, "clip")
        np.take(self.task, index, 0, out.task, "clip")
        if sampling.chunk > 1:
            actions = self._steps[:, 14:]
            _fill_chunk(actions, self.rows[index], self._remaining[index], out.chunk)
        if out.frames is None:
            return
        assert isinstance(self.frames, np.ndarray)
        count = out.frames.shape[1]
        if sampling.history == 1:  # s and s' are side by side in the store, and in `out`
            for position, row in enumerate(rows.tolist()):
                out.frames[position] = self.frames[row : row + count]
        else:
            for step in range(count):
                out.frames[:, step] = self.frames[rows + step]


def episode_batch(
    episode: Episode,
    info: DatasetInfo,
    task_ids: TaskIds,
    rewarded_steps: int,
    sampling: Sampling | None = None,
) -> Batch:
    """Return all transitions of one episode in order, as those of a target demonstration.

    Args:
        episode: The episode.
        info: The data set it is from: which command counts, and its bounds.
        task_ids: Ids of the tasks.
        rewarded_steps: Transitions at the end that earn the reward.
        sampling: The history and the chunk that the agent needs [single transitions]; all
            images are part of the batch.
    """
    sampling = sampling or Sampling()
    length = len(episode)
    index, remaining = np.arange(length), np.arange(length, 0, -1)
    rows = _with_history(index, np.zeros(length, int), sampling.history)
    frames = np.asarray(episode.frames)
    proprio = np.asarray(episode.proprio, np.float32)
    command = getattr(episode, info.command)
    actions = normalize_actions(command, info.action_low, info.action_high)
    succeeded = np.full(length, episode.success)
    labels = _labels(remaining, rewarded_steps, succeeded, target=True)
    steps = np.concatenate([proprio[rows], proprio[rows + 1], actions[rows]], -1)
    task = np.full(length, task_ids.id(episode.task))
    chunk = np.empty(sampling.chunk_shape(length), np.float32)
    if sampling.chunk > 1:
        _fill_chunk(actions, index, remaining, chunk)
    images, next_images = torch.from_numpy(frames[rows]), torch.from_numpy(frames[rows + 1])
    return BatchArrays(None, steps, labels, task, chunk).batch(images, next_images)


def _usable(
    store: EpisodeStore, episodes: Sequence[int] | None, *, failures: bool
) -> list[EpisodeEntry]:
    """Return the successes, and maybe the failures, among some episodes of a store, or all."""
    outcomes = ("success", "failure") if failures else ("success",)
    chosen = range(len(store)) if episodes is None else episodes
    entries = []
    for index in chosen:
        entry = store.entries[index]
        if entry.outcome in outcomes:
            entries.append(entry)

    if not entries:
        raise TrainingError(f"{store.path} holds no successful episode to learn from")
    return entries


def _labels(
    remaining: np.ndarray, rewarded_steps: int, succeeded: np.ndarray, *, target: bool
) -> np.ndarray:
    """Return reward, steps_to_reward, last and target of transitions, shape (len, 4) float32.

    Args:
        remaining: Transitions left in the episode, the own one included, shape (len,).
        rewarded_steps: Transitions at the end of an episode that earn the reward.
        succeeded: Whether their episode succeeded, shape (len,).
        target: Whether they are of a target demonstration.
    """
    steps_to_reward = np.where(succeeded, np.maximum(remaining - rewarded_steps, 0), np.inf)
    columns = [
        steps_to_reward == 0,
        steps_to_reward,
        remaining == 1,
        np.full(len(remaining), target),
    ]
    return np.stack(columns, 1).astype(np.float32)


def _with_history(rows: np.ndarray, starts: np.ndarray, history: int) -> np.ndarray:
    """Return rows with those before them, an episode's first one repeated.

    Args:
        rows: Shape (B,).
        starts: First row of the episode of each row, shape (B,).
        history: Rows up to and including the given ones.

    Returns:
        Rows, shape (B,), or (B, history) where that is more than 1.
    """
    if history == 1:
        return rows
    before = rows[:, None] + np.arange(1 - history, 1)
    return np.maximum(before, starts[:, None])


def _fill_chunk(
    actions: np.ndarray, rows: np.ndarray, remaining: np.ndarray, out: np.ndarray
) -> None:
    """Write the actions from each row on, an episode's last one repeated after its end.

    Args:
        actions: Of all rows, shape (N, 7).
        rows: Where the chunks begin, shape (B,).
        remaining: Actions of the episode from there on, shape (B,), each at least 1.
        out: Actions and whether they are of the episode, shape (B, K, 8).
    """
    ahead = np.arange(out.shape[1])
    last = remaining[:, None] - 1
    out[..., :7] = actions[rows[:, None] + np.minimum(ahead, last)]
    out[..., 7] = ahead <= last


def _check_finite(store: EpisodeStore, entries: Sequence[EpisodeEntry]) -> None:
    """Raise TrainingError naming the first step of these episodes with a value not finite."""
    for name in ("proprio", store.info.command):
        bad = ~np.isfinite(store.steps[name]).all(1)
        if not bad.any():
            continue
        for entry in entries:
            steps = np.flatnonzero(bad[entry.start : entry.start + entry.length + 1])
            if len(steps):
                value = store.steps[name][entry.start + steps[0]].tolist()
                raise TrainingError(
                    f"{store.path}: episode {entry.id}, step {steps[0]}: {name} is {value}; "
                    "expected finite numbers "
                    f"(`ptr review {store.path} --bad {entry.id}` leaves it out)"
                )
