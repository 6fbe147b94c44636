"""Scaling of actions, the data specification, splits, and data that do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.normalization import (
    check_alike,
    check_compatible,
    fit_spec,
    normalize_actions,
    split_episodes,
)
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError

MakeStore = Callable[..., Path]


def test_actions_are_scaled_as_in_the_official_code() -> None:
    action = np.array([0, 0, 0, 0, 0, 0, 1.0])
    np.testing.assert_allclose(
        normalize_actions(action, ACTION_LOW, ACTION_HIGH), [0, 0, 0, 0, 0, 0, 0.99]
    )
    assert normalize_actions(np.zeros(7), ACTION_LOW, ACTION_HIGH)[6] == pytest.approx(
        -0.99
    )


def test_constant_action_dimensions_are_found(make_store: MakeStore) -> None:
    spec = fit_spec([EpisodeStore.open(make_store("s"))], 4, min_action_std=0.05)
    assert spec.action_active == (True, True, False, False, False, False, True)
    assert spec.action_rest[2:6] == (0.0, 0.0, 0.0, 0.0)


def test_demonstrations_that_move_a_constant_dimension_are_refused(
    tmp_path: Path, make_store
) -> None:
    store = EpisodeStore.open(make_store("s"))
    spec = fit_spec([store], 4, min_action_std=0.05)
    check_compatible(spec, store.info, store)
    with EpisodeWriter(tmp_path / "turning", store.info) as writer:
        for episode in store:
            actions = episode.executed.copy()
            actions[:, 5] = np.linspace(-0.2, 0.2, len(episode))
            writer.add(Episode(**{**vars(episode), "executed": actions}))
    with pytest.raises(TrainingError, match="varies dyaw"):
        check_compatible(spec, store.info, EpisodeStore.open(tmp_path / "turning"))


def test_split_is_reproducible_and_disjoint(make_store: MakeStore) -> None:
    store = EpisodeStore.open(make_store("s", tasks=("a",), per_task=9))
    train, holdout = split_episodes(store, 3, seed=1)
    assert (len(train), len(holdout)) == (6, 3)
    assert sorted(train + holdout) == list(range(9))
    assert split_episodes(store, 3, seed=1) == (train, holdout)
    assert split_episodes(store, 3, seed=2) != (train, holdout)


@pytest.mark.parametrize("holdout", [3, 4])
def test_too_few_demonstrations_are_refused(make_store: MakeStore, holdout: int) -> None:
    with pytest.raises(
        TrainingError, match=f"3 successful demonstrations and {holdout} are to be held out"
    ):
        split_episodes(EpisodeStore.open(make_store("s", tasks=("a",))), holdout, seed=0)


@pytest.mark.parametrize(
    ("name", "value"), [("camera", "other"), ("rate", 10.0), ("command", "requested")]
)
def test_stores_that_differ_are_refused(
    make_store: MakeStore, name: str, value: object
) -> None:
    stores = [
        EpisodeStore.open(make_store("one")),
        EpisodeStore.open(make_store("two", **{name: value})),
    ]
    with pytest.raises(TrainingError, match=f"two has {name} {value!r}"):
        check_alike(stores)
    assert check_alike(stores[:1]) == DatasetInfo(**vars(stores[0].info))


def test_balanced_weights_are_inverse_variances_with_mean_one(
    make_store: MakeStore,
) -> None:
    store = EpisodeStore.open(make_store("s"))
    spec = fit_spec([store], 4, min_action_std=0.05, balance=True)
    actions = store.actions[~store.steps["is_last"]]
    std = normalize_actions(actions, ACTION_LOW, ACTION_HIGH).std(0)
    active = np.array(spec.action_active)
    expected = np.where(active, 1 / np.maximum(std, 1e-3) ** 2, 0)
    expected *= active.sum() / expected.sum()
    np.testing.assert_allclose(spec.action_weight, expected, rtol=1e-6)
    assert np.mean(np.array(spec.action_weight)[active]) == pytest.approx(1.0)
