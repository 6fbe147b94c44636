"""Replay: scaling, mixing, successors, splits, and data that do not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.distributed import DistributedContext
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.normalization import (
    check_alike,
    check_compatible,
    fit_spec,
    normalize_actions,
    split_episodes,
)
from ptr_training.data.replay import Replay
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions, episode_batch
from ptr_training.errors import TrainingError


def opened(path: Path) -> EpisodeStore:
    return EpisodeStore.open(path)


def test_actions_are_scaled_as_in_the_official_code() -> None:
    action = np.array([0, 0, 0, 0, 0, 0, 1.0])
    np.testing.assert_allclose(
        normalize_actions(action, ACTION_LOW, ACTION_HIGH), [0, 0, 0, 0, 0, 0, 0.99]
    )
    assert normalize_actions(np.zeros(7), ACTION_LOW, ACTION_HIGH)[6] == pytest.approx(
        -0.99
    )


@pytest.mark.parametrize(("mix", "n_prior"), [(0.9, 57), (1.0, 64), (0.0, 0), (0.5, 32)])
def test_mixing_ratio_is_rounded_on_the_whole_batch(
    make_store, mix: float, n_prior: int
) -> None:
    registry = TaskIds.for_tasks(["a", "b", "new"], 0)
    prior, target = (
        opened(make_store("prior")),
        opened(make_store("target", tasks=("new",))),
    )
    replay = Replay(
        [Transitions(prior, registry)],
        [Transitions(target, registry)],
        mix=mix,
        batch_size=64,
        seed=0,
    )
    batch = replay.sample()
    assert (batch.task != 2).sum() == n_prior
    assert len(batch.images) == len(batch.actions) == 64


def test_next_observation_is_the_row_after(make_store) -> None:
    store = opened(make_store("s"))
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


def test_sampling_covers_every_store_evenly_by_transitions(make_store) -> None:
    stores = [
        opened(make_store("one", tasks=("a",), per_task=1)),
        opened(make_store("two", tasks=("b",), per_task=3)),
    ]
    registry = TaskIds.for_tasks(["a", "b"], 0)
    replay = Replay(
        [Transitions(each, registry) for each in stores],
        [],
        mix=1.0,
        batch_size=4000,
        seed=0,
    )
    assert float((replay.sample().task == 1).float().mean()) == pytest.approx(
        0.75, abs=0.03
    )


def test_mixing_without_prior_data_is_refused(make_store) -> None:
    target = Transitions(opened(make_store("t")), TaskIds.for_tasks(["a", "b"], 0))
    with pytest.raises(TrainingError, match=r"mix 0.5 asks for 32 prior transitions"):
        Replay([], [target], mix=0.5, batch_size=64, seed=0)


def test_only_successes_are_learnt_from(tmp_path: Path, make_store) -> None:
    first = opened(make_store("s", tasks=("a",), per_task=2))
    failed = [Episode(**{**vars(each), "outcome": "failure"}) for each in first]
    with EpisodeWriter(tmp_path / "failed", first.card) as writer:
        for each in failed:
            writer.add(each)
    with pytest.raises(TrainingError, match="no successful episode"):
        Transitions(opened(tmp_path / "failed"), TaskIds.for_tasks(["a"], 0))


def test_constant_action_dimensions_are_found(make_store) -> None:
    problem = fit_spec([opened(make_store("s"))], 4, min_action_std=0.05)
    assert problem.action_active == (True, True, False, False, False, False, True)
    assert problem.action_rest[2:6] == (0.0, 0.0, 0.0, 0.0)


def test_demonstrations_that_move_a_constant_dimension_are_refused(
    tmp_path: Path, make_store
) -> None:
    store = opened(make_store("s"))
    problem = fit_spec([store], 4, min_action_std=0.05)
    check_compatible(problem, store.card, store)
    with EpisodeWriter(tmp_path / "turning", store.card) as writer:
        for each in store:
            actions = each.executed.copy()
            actions[:, 5] = np.linspace(-0.2, 0.2, len(each))
            writer.add(Episode(**{**vars(each), "executed": actions}))
    with pytest.raises(TrainingError, match="varies dyaw"):
        check_compatible(problem, store.card, opened(tmp_path / "turning"))


def test_split_is_reproducible_and_disjoint(make_store) -> None:
    store = opened(make_store("s", tasks=("a",), per_task=9))
    train, holdout = split_episodes(store, 3, seed=1)
    assert (len(train), len(holdout)) == (6, 3)
    assert sorted(train + holdout) == list(range(9))
    assert split_episodes(store, 3, seed=1) == (train, holdout)
    assert split_episodes(store, 3, seed=2) != (train, holdout)


@pytest.mark.parametrize("holdout", [0, 3, 4])
def test_too_few_demonstrations_are_refused(make_store, holdout: int) -> None:
    with pytest.raises(
        TrainingError, match=f"3 successful demonstrations and {holdout} are to be held out"
    ):
        split_episodes(opened(make_store("s", tasks=("a",))), holdout, seed=0)


@pytest.mark.parametrize(
    ("name", "value"), [("camera", "other"), ("rate", 10.0), ("command", "requested")]
)
def test_stores_that_differ_are_refused(make_store, name: str, value: object) -> None:
    stores = [opened(make_store("one")), opened(make_store("two", **{name: value}))]
    with pytest.raises(TrainingError, match=f"two has {name} {value!r}"):
        check_alike(stores)
    assert check_alike(stores[:1]) == DatasetInfo(**vars(stores[0].card))


def replay_of(
    path: Path, sampling: Sampling, batch_size: int = 12, **changes: object
) -> Replay:
    part = Transitions(opened(path), TaskIds.for_tasks(["a", "b", "c"], 0), **changes)  # type: ignore[arg-type]
    return Replay([part], [], mix=1.0, batch_size=batch_size, seed=0, sampling=sampling)


def test_history_repeats_the_first_observation_and_ends_with_s(make_store) -> None:
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


def test_batches_of_tasks_hold_equal_shares_one_after_the_other(make_store) -> None:
    replay = replay_of(make_store("s", tasks=("a", "b", "c")), Sampling(tasks=3))
    task = replay.sample().task.view(3, 4)
    assert (task == task[:, :1]).all()
    assert set(task[:, 0].tolist()) == {0, 1, 2}
    with pytest.raises(
        TrainingError, match="10 rows of a batch cannot be shared by 3 tasks"
    ):
        replay_of(make_store("t"), Sampling(tasks=3), batch_size=10).sample()


def test_next_images_that_are_not_needed_are_left_out(make_store) -> None:
    assert (
        len(
            replay_of(make_store("s"), Sampling(next_observations=False))
            .sample()
            .next_images
        )
        == 0
    )


def test_rewarded_steps_may_differ_from_the_store(make_store) -> None:
    replay = replay_of(make_store("s"), Sampling(), rewarded_steps=1, target=True)
    batch = replay.gather(np.zeros(8, int), np.arange(8))
    assert batch.rewards.tolist() == batch.last.tolist() == [0] * 7 + [1]
    assert batch.steps_to_reward.tolist() == list(range(7, -1, -1))
    assert batch.target.tolist() == [1] * 8


def test_frames_on_a_device_give_the_same_batches(make_store) -> None:
    path = make_store("s")
    for sampling in (Sampling(), Sampling(history=2), Sampling(next_observations=False)):
        mapped, resident = replay_of(path, sampling), replay_of(path, sampling)
        resident.to_device(torch.device("cpu"))
        assert resident.resident
        for name in Batch.__dataclass_fields__:
            one, other = (
                getattr(each, name)
                for each in (
                    mapped.gather(*_first(mapped)),
                    resident.gather(*_first(resident)),
                )
            )
            assert torch.equal(one, other), name


def _first(replay: Replay) -> tuple[np.ndarray, np.ndarray]:
    replay.generator.manual_seed(1)
    return replay.draw()


def test_batches_fetched_ahead_are_those_that_would_have_been_drawn(
    make_store, monkeypatch
) -> None:
    monkeypatch.setattr(Batch, "pinned", lambda batch: batch)  # there may be no GPU
    path, cpu = make_store("s"), torch.device("cpu")
    runs = [
        replay_of(path, Sampling()).batches(cpu, DistributedContext(), ahead)
        for ahead in (0, 2)
    ]
    for _, (one, state), (other, later) in zip(range(5), *runs, strict=False):
        assert torch.equal(one.images, other.images)
        assert torch.equal(
            state, later
        )  # what a checkpoint must hold to go on with the next batch


def test_one_episode_as_a_batch_is_what_the_store_gives(make_store) -> None:
    store, registry = opened(make_store("s")), TaskIds.for_tasks(["a", "b"], 0)
    replay = Replay([Transitions(store, registry)], [], mix=1.0, batch_size=1, seed=0)
    expected = replay.gather(np.zeros(8, int), np.arange(8))
    found = episode_batch(next(iter(store)), store.card, registry, store.card.last_n)
    for name in set(Batch.__dataclass_fields__) - {"target"}:
        np.testing.assert_array_equal(
            getattr(found, name), getattr(expected, name), err_msg=name
        )


def test_values_that_are_not_finite_are_refused_with_episode_and_step(make_store) -> None:
    store = opened(make_store("s"))
    store.steps["proprio"][store.entries[1].start + 4, 2] = np.nan
    with pytest.raises(
        TrainingError,
        match=r"s: episode b-1, step 4: proprio is \[.*nan.*`ptr review .* --bad b-1`",
    ):
        Transitions(store, TaskIds.for_tasks(["a", "b"], 0))
    Transitions(store, TaskIds.for_tasks(["a", "b"], 0), [0, 2])  # the others are fine
