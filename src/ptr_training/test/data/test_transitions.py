"""Transitions: rows of a store and of one episode, history, rewards, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.episode import Episode, EpisodeWriter
from ptr_training.data.normalization import (
    normalize_actions,
)
from ptr_training.data.replay import Replay
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions, episode_batch
from ptr_training.errors import TrainingError

MakeStore = Callable[..., Path]


def replay_of(
    path: Path, sampling: Sampling, batch_size: int = 12, **changes: Any
) -> Replay:
    part = Transitions(
        EpisodeStore.open(path), TaskIds.for_tasks(["a", "b", "c"], 0), **changes
    )
    return Replay([part], [], mix=1.0, batch_size=batch_size, seed=0, sampling=sampling)


def test_only_successes_are_learnt_from(tmp_path: Path, make_store: MakeStore) -> None:
    first = EpisodeStore.open(make_store("s", tasks=("a",), per_task=2))
    failed = [Episode(**{**vars(episode), "outcome": "failure"}) for episode in first]
    with EpisodeWriter(tmp_path / "failed", first.info) as writer:
        for episode in failed:
            writer.add(episode)
    with pytest.raises(TrainingError, match="no successful episode"):
        Transitions(EpisodeStore.open(tmp_path / "failed"), TaskIds.for_tasks(["a"], 0))


def test_history_repeats_the_first_observation_and_ends_with_s(
    make_store: MakeStore,
) -> None:
    replay = replay_of(make_store("s"), Sampling(history=3))
    part = replay.parts[0]
    batch = replay.gather(np.zeros(8, int), np.arange(8))  # the first episode
    episode = next(iter(part.store))
    assert batch.images.shape[:2] == batch.actions.shape[:2] == (8, 3)
    for t in range(8):
        window = np.maximum([t - 2, t - 1, t], 0)
        np.testing.assert_array_equal(batch.images[t], episode.frames[window])
        np.testing.assert_array_equal(batch.next_images[t], episode.frames[window + 1])
        np.testing.assert_array_equal(batch.proprio[t], episode.proprio[window])


def test_rewarded_steps_may_differ_from_the_store(make_store: MakeStore) -> None:
    replay = replay_of(make_store("s"), Sampling(), rewarded_steps=1, target=True)
    batch = replay.gather(np.zeros(8, int), np.arange(8))
    assert batch.rewards.tolist() == batch.last.tolist() == [0] * 7 + [1]
    assert batch.steps_to_reward.tolist() == list(range(7, -1, -1))
    assert batch.target.tolist() == [1] * 8


def test_one_episode_as_a_batch_is_what_the_store_gives(make_store: MakeStore) -> None:
    store, task_ids = EpisodeStore.open(make_store("s")), TaskIds.for_tasks(["a", "b"], 0)
    replay = Replay([Transitions(store, task_ids)], [], mix=1.0, batch_size=1, seed=0)
    expected = replay.gather(np.zeros(8, int), np.arange(8))
    found = episode_batch(next(iter(store)), store.info, task_ids, store.info.last_n)
    for name in set(Batch.__dataclass_fields__) - {"target"}:
        np.testing.assert_array_equal(
            getattr(found, name), getattr(expected, name), err_msg=name
        )


def test_values_that_are_not_finite_are_refused_with_episode_and_step(
    make_store: MakeStore,
) -> None:
    store = EpisodeStore.open(make_store("s"))
    store.steps["proprio"][store.entries[1].start + 4, 2] = np.nan
    with pytest.raises(
        TrainingError,
        match=r"s: episode b-1, step 4: proprio is \[.*nan.*`ptr review .* --bad b-1`",
    ):
        Transitions(store, TaskIds.for_tasks(["a", "b"], 0))
    Transitions(store, TaskIds.for_tasks(["a", "b"], 0), [0, 2])  # the others are fine


def test_next_observation_is_the_row_after(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s"))
    transitions = Transitions(store, TaskIds.for_tasks(["a", "b"], 0))
    assert len(transitions) == sum(entry.length for entry in store.entries)
    replay = Replay([transitions], [], mix=1.0, batch_size=1, seed=0)
    batch = replay.gather(np.zeros(len(transitions), int), np.arange(len(transitions)))
    position = 0
    for entry, episode in zip(store.entries, store, strict=True):
        part = slice(position, position + entry.length)
        np.testing.assert_array_equal(batch.images[part], episode.frames[:-1])
        np.testing.assert_array_equal(batch.next_images[part], episode.frames[1:])
        np.testing.assert_allclose(batch.next_proprio[part], episode.proprio[1:])
        assert batch.rewards[part].tolist() == [0] * (entry.length - 3) + [1] * 3
        assert set(batch.task[part].tolist()) == {"ab".index(entry.task)}
        position += entry.length


def test_unknown_task_and_episodes_are_checked(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s"))
    with pytest.raises(TrainingError, match="unknown task 'b'"):
        Transitions(store, TaskIds.for_tasks(["a"], 0))
    only_a = Transitions(store, TaskIds.for_tasks(["a"], 0), [0, 2])
    assert only_a.rows.tolist() == [*range(8), *range(18, 26)]
    assert only_a.task.tolist() == [0] * 16


def test_actions_are_those_of_the_transitions_scaled(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s"))
    transitions = Transitions(store, TaskIds.for_tasks(["a", "b"], 0), [1])
    raw = store.episode(1).executed
    expected = normalize_actions(raw, ACTION_LOW, ACTION_HIGH)
    np.testing.assert_array_equal(transitions.actions, expected)


@pytest.mark.parametrize("target", [False, True])
def test_only_transitions_of_the_target_are_marked_as_such(
    make_store: MakeStore, target: bool
) -> None:
    replay = replay_of(make_store("s"), Sampling(), target=target)
    assert replay.sample().target.tolist() == [float(target)] * 12
    default = replay_of(make_store("t"), Sampling())
    assert default.sample().target.tolist() == [0.0] * 12


def test_rewarded_steps_are_those_of_the_store_by_default(make_store: MakeStore) -> None:
    batch = replay_of(make_store("s"), Sampling()).gather(np.zeros(8, int), np.arange(8))
    assert batch.rewards.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert batch.steps_to_reward.tolist() == [5, 4, 3, 2, 1, 0, 0, 0]
    assert batch.last.tolist() == [0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(history=3), Sampling(chunk=5)], ids=str
)
def test_one_episode_is_what_the_store_gives(
    make_store: MakeStore, sampling: Sampling
) -> None:
    path, task_ids = make_store("s"), TaskIds.for_tasks(["a", "b", "c"], 0)
    replay = replay_of(path, sampling, target=True)
    expected = replay.gather(np.zeros(8, int), np.arange(8, 16))
    store = EpisodeStore.open(path)
    found = episode_batch(store.episode(1), store.info, task_ids, 3, sampling)
    for name in Batch.__dataclass_fields__:
        np.testing.assert_array_equal(
            getattr(found, name), getattr(expected, name), err_msg=name
        )
        assert getattr(found, name).dtype == getattr(expected, name).dtype


def test_chunk_repeats_the_last_action_and_marks_it(make_store: MakeStore) -> None:
    replay = replay_of(make_store("s"), Sampling(chunk=4))
    part = replay.parts[0]
    batch = replay.gather(np.zeros(8, int), np.arange(8, 16))  # the second episode of 8
    actions = part.actions[8:16]
    assert batch.chunk.shape == (8, 4, 7)
    for t in range(8):
        ahead = np.minimum(t + np.arange(4), 7)
        np.testing.assert_array_equal(batch.chunk[t], actions[ahead])
        assert batch.inside[t].tolist() == [float(t + k < 8) for k in range(4)]
    np.testing.assert_array_equal(batch.chunk[:, 0], batch.actions)
    assert batch.images.shape[:2] == (8, 16)  # no image of the steps ahead


def test_chunk_that_is_not_needed_is_left_out(make_store: MakeStore) -> None:
    batch = replay_of(make_store("s"), Sampling()).sample()
    assert (batch.chunk.shape, batch.inside.shape) == ((0, 1, 7), (0, 1))


def test_history_stays_inside_the_episode(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s"))
    transitions = Transitions(store, TaskIds.for_tasks(["a", "b"], 0))
    rows = transitions.rows_at(np.array([8, 9, 15]), 4)
    assert rows.tolist() == [[9, 9, 9, 9], [9, 9, 9, 10], [13, 14, 15, 16]]
    assert transitions.rows_at(np.array([8, 9, 15]), 1).tolist() == [9, 10, 16]


def test_action_that_is_not_finite_is_refused_at_the_last_row_too(
    make_store: MakeStore,
) -> None:
    store = EpisodeStore.open(make_store("s"))
    task_ids = TaskIds.for_tasks(["a", "b"], 0)
    entry = store.entries[2]
    store.steps["executed"][entry.start, 0] = np.inf
    with pytest.raises(TrainingError, match="episode a-2, step 0: executed is"):
        Transitions(store, task_ids)
    store.steps["executed"][entry.start, 0] = 0
    store.steps["proprio"][entry.start + entry.length, 6] = np.nan
    with pytest.raises(
        TrainingError, match=f"episode a-2, step {entry.length}: proprio is"
    ):
        Transitions(store, task_ids)
    Transitions(store, task_ids, [0, 1, 3])


def test_first_bad_step_is_named(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s"))
    store.steps["proprio"][store.entries[1].start + 2, 0] = np.nan
    store.steps["proprio"][store.entries[1].start + 5, 0] = np.inf
    with pytest.raises(TrainingError, match=r"b-1, step 2: proprio is \[nan"):
        Transitions(store, TaskIds.for_tasks(["a", "b"], 0))
