"""Rollouts as an episode store: what the policy saw, and what bags cannot give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptr_common.errors import PtrError
from ptr_common.images import resize_area
from ptr_policy_node.bundle import BundleInfo, CameraSpec
from ptr_training.data.episode import Episode
from ptr_training.data.store import EpisodeStore
from widowx_bringup.evaluation import rollout_store
from widowx_bringup.evaluation.rollout_store import as_seen, export_bags, write_episodes

INFO = BundleInfo(
    agent="cql",
    camera=CameraSpec("over_shoulder", 32, 24),
    image_height=8,
    image_width=8,
    rate=5.0,
    tasks=("a",),
    command="requested",
    data={},
    checkpoint={},
    code_version="",
)


def episode(outcome: str) -> Episode:
    rng = np.random.default_rng(0)
    return Episode(
        id="a-7",
        task="a",
        frames=rng.integers(0, 255, (4, 24, 32, 3), np.uint8),
        stamps_ns=np.arange(4, dtype=np.int64) + 5_000,
        proprio=rng.normal(size=(4, 7)).astype(np.float32),
        requested=rng.normal(size=(3, 7)).astype(np.float32),
        executed=rng.normal(size=(3, 7)).astype(np.float32),
        outcome=outcome,
        seed=7,
    )


def test_a_store_holds_what_the_policy_saw_and_how_it_ended(tmp_path: Path) -> None:
    rollouts = [episode("success"), episode("failure")]
    seen = [as_seen(each, INFO, number) for number, each in enumerate(rollouts)]
    write_episodes(seen, INFO, tmp_path / "ptr")
    store = EpisodeStore.open(tmp_path / "ptr")
    assert [entry.outcome for entry in store.entries] == ["success", "failure"]
    assert len({entry.id for entry in store.entries}) == 2  # of one scene
    assert store.info.command == "requested"
    assert (store.info.camera, store.info.camera_width) == ("over_shoulder", 32)
    found = store.episode(1)
    assert found.stamps_ns[0] == 0
    np.testing.assert_array_equal(found.requested, rollouts[1].requested)
    np.testing.assert_array_equal(
        found.frames[2], resize_area(rollouts[1].frames[2], (8, 8))
    )


def test_bags_of_a_policy_with_images_that_are_not_square_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = replace(INFO, image_width=16)
    monkeypatch.setattr(rollout_store, "read_info", lambda _: wide)
    with pytest.raises(PtrError, match="sees images of 8 x 16 pixels"):
        export_bags(tmp_path / "bags", tmp_path / "bundle", tmp_path / "out")
