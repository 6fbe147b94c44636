"""Replay: scaling, mixing, successors, splits, and data that do not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptr_policy_node.spec import ACTION_HIGH, ACTION_LOW
from ptr_training.episodes import Card, Episode, EpisodeStore, EpisodeWriter, TaskRegistry, TrainingError
from ptr_training.replay import (
    Replay,
    Transitions,
    check_alike,
    check_suits,
    describe,
    normalize_actions,
    split_episodes,
)


def opened(path: Path) -> EpisodeStore:
    return EpisodeStore.open(path)


def test_actions_are_scaled_as_in_the_official_code() -> None:
    action = np.array([0, 0, 0, 0, 0, 0, 1.0])
    np.testing.assert_allclose(normalize_actions(action, ACTION_LOW, ACTION_HIGH), [0, 0, 0, 0, 0, 0, 0.99])
    assert normalize_actions(np.zeros(7), ACTION_LOW, ACTION_HIGH)[6] == pytest.approx(-0.99)


@pytest.mark.parametrize(("mix", "n_prior"), [(0.9, 57), (1.0, 64), (0.0, 0), (0.5, 32)])
def test_mixing_ratio_is_rounded_on_the_whole_batch(make_store, mix: float, n_prior: int) -> None:
    registry = TaskRegistry.for_tasks(["a", "b", "new"], 0)
    prior, target = opened(make_store("prior")), opened(make_store("target", tasks=("new",)))
    replay = Replay([Transitions(prior, registry)], [Transitions(target, registry)], mix=mix, batch_size=64, seed=0)
    batch = replay.sample()
    assert (batch.task != 2).sum() == n_prior
    assert len(batch.images) == len(batch.actions) == 64


def test_next_observation_is_the_row_after(make_store) -> None:
    store = opened(make_store("s"))
    transitions = Transitions(store, TaskRegistry.for_tasks(["a", "b"], 0))
    assert len(transitions) == sum(entry.length for entry in store.entries)
    batch = transitions.gather(np.arange(len(transitions)))
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
    stores = [opened(make_store("one", tasks=("a",), per_task=1)), opened(make_store("two", tasks=("b",), per_task=3))]
    registry = TaskRegistry.for_tasks(["a", "b"], 0)
    replay = Replay([Transitions(each, registry) for each in stores], [], mix=1.0, batch_size=4000, seed=0)
    assert float((replay.sample().task == 1).float().mean()) == pytest.approx(0.75, abs=0.03)


def test_mixing_without_prior_data_is_refused(make_store) -> None:
    target = Transitions(opened(make_store("t")), TaskRegistry.for_tasks(["a", "b"], 0))
    with pytest.raises(TrainingError, match=r"mix 0.5 asks for 32 prior transitions"):
        Replay([], [target], mix=0.5, batch_size=64, seed=0)


def test_only_successes_are_learnt_from(tmp_path: Path, make_store) -> None:
    first = opened(make_store("s", tasks=("a",), per_task=2))
    failed = [Episode(**{**vars(each), "outcome": "failure"}) for each in first]
    with EpisodeWriter(tmp_path / "failed", first.card) as writer:
        for each in failed:
            writer.add(each)
    with pytest.raises(TrainingError, match="no successful episode"):
        Transitions(opened(tmp_path / "failed"), TaskRegistry.for_tasks(["a"], 0))


def test_constant_action_dimensions_are_found(make_store) -> None:
    problem = describe([opened(make_store("s"))], 4, min_action_std=0.05)
    assert problem.action_active == (True, True, False, False, False, False, True)
    assert problem.action_rest[2:6] == (0.0, 0.0, 0.0, 0.0)


def test_demonstrations_that_move_a_constant_dimension_are_refused(tmp_path: Path, make_store) -> None:
    store = opened(make_store("s"))
    problem = describe([store], 4, min_action_std=0.05)
    check_suits(problem, store.card, store)
    with EpisodeWriter(tmp_path / "turning", store.card) as writer:
        for each in store:
            actions = each.executed.copy()
            actions[:, 5] = np.linspace(-0.2, 0.2, len(each))
            writer.add(Episode(**{**vars(each), "executed": actions}))
    with pytest.raises(TrainingError, match="varies dyaw"):
        check_suits(problem, store.card, opened(tmp_path / "turning"))


def test_split_is_reproducible_and_disjoint(make_store) -> None:
    store = opened(make_store("s", tasks=("a",), per_task=9))
    train, holdout = split_episodes(store, 3, seed=1)
    assert (len(train), len(holdout)) == (6, 3)
    assert sorted(train + holdout) == list(range(9))
    assert split_episodes(store, 3, seed=1) == (train, holdout)
    assert split_episodes(store, 3, seed=2) != (train, holdout)


@pytest.mark.parametrize("holdout", [0, 3, 4])
def test_too_few_demonstrations_are_refused(make_store, holdout: int) -> None:
    with pytest.raises(TrainingError, match=f"3 successful demonstrations and {holdout} are to be held out"):
        split_episodes(opened(make_store("s", tasks=("a",))), holdout, seed=0)


@pytest.mark.parametrize(("name", "value"), [("camera", "other"), ("rate", 10.0), ("command", "requested")])
def test_stores_that_differ_are_refused(make_store, name: str, value: object) -> None:
    stores = [opened(make_store("one")), opened(make_store("two", **{name: value}))]
    with pytest.raises(TrainingError, match=f"two has {name} {value!r}"):
        check_alike(stores)
    assert check_alike(stores[:1]) == Card(**vars(stores[0].card))
