"""The episode store: round trip, equal bytes, refusals; rewards."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptr_common.errors import PtrError
from ptr_training.data.episode import (
    DatasetInfo,
    Episode,
    EpisodeWriter,
    StoreError,
    label_rewards,
)
from ptr_training.data.store import EpisodeStore

INFO = DatasetInfo(
    "toy", camera="front", camera_width=16, camera_height=12, image_height=6, image_width=8
)


def make_episode(
    name: str, length: int = 5, task: str = "put a in b", outcome: str = "success"
) -> Episode:
    rng = np.random.default_rng(length)
    return Episode(
        id=name,
        task=task,
        frames=rng.integers(0, 256, (length + 1, 6, 8, 3), np.uint8),
        stamps_ns=np.arange(length + 1) * 200_000_000,
        proprio=rng.normal(size=(length + 1, 7)),
        requested=rng.normal(size=(length, 7)),
        executed=rng.normal(size=(length, 7)),
        outcome=outcome,
        seed=7,
    )


def write(path: Path, *episodes: Episode) -> Path:
    with EpisodeWriter(path, INFO) as writer:
        for episode in episodes:
            writer.add(episode)
    return path


def digest(folder: Path) -> str:
    return hashlib.sha256(
        b"".join(p.name.encode() + p.read_bytes() for p in sorted(folder.iterdir()))
    ).hexdigest()


def test_store_returns_what_was_written(tmp_path: Path) -> None:
    episodes = [make_episode("a", 5), make_episode("b", 9, "put c in d", "failure")]
    store = EpisodeStore.open(write(tmp_path / "s", *episodes))
    store.check_pixels()
    assert store.info == INFO
    assert store.tasks == ("put a in b", "put c in d")
    assert isinstance(store.frames, np.memmap)
    for found, expected in zip(store, episodes, strict=True):
        np.testing.assert_array_equal(found.frames, expected.frames)
        np.testing.assert_allclose(found.executed, expected.executed, rtol=1e-6)
        np.testing.assert_allclose(found.proprio, expected.proprio, rtol=1e-6)
        np.testing.assert_array_equal(found.stamps_ns, expected.stamps_ns)
        assert (found.id, found.task, found.outcome, found.seed) == (
            expected.id,
            expected.task,
            expected.outcome,
            7,
        )
    assert store.steps["reward"].tolist() == [0, 0, 1, 1, 1, 0] + [0] * 10
    assert store.steps["is_last"].nonzero()[0].tolist() == [5, 15]
    np.testing.assert_array_equal(store.actions, store.steps["executed"])


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    assert digest(write(tmp_path / "x", make_episode("a"))) == digest(
        write(tmp_path / "y", make_episode("a"))
    )


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="stop"),
        EpisodeWriter(tmp_path / "s", INFO) as writer,
    ):
        writer.add(make_episode("a"))
        raise RuntimeError("stop")
    with pytest.raises(StoreError, match="empty"):
        write(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "s", make_episode("a"))
    with pytest.raises(PtrError, match="exists already"):
        write(tmp_path / "s", make_episode("b"))
    assert EpisodeStore.open(tmp_path / "s").entries[0].id == "a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.zeros((6, 4, 4, 3), np.uint8)}, r"frames has shape \(6, 4, 4, 3\)"),
        ({"frames": np.zeros((6, 6, 8, 3), np.float32)}, "expected uint8"),
        ({"executed": np.zeros((4, 7))}, r"executed has shape \(4, 7\)"),
        ({"proprio": np.full((6, 7), np.nan)}, "proprio holds values that are not finite"),
        ({"id": "taken"}, "'taken' occurs twice"),
    ],
)
def test_bad_episode_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    with EpisodeWriter(tmp_path / "s", INFO) as writer:
        writer.add(make_episode("taken"))
        with pytest.raises(StoreError, match=message):
            writer.add(replace(make_episode("a"), **change))
    assert len(EpisodeStore.open(tmp_path / "s")) == 1


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no card\.yaml"):
        EpisodeStore.open(tmp_path)
    (tmp_path / "card.yaml").write_text("format_version: 99\n")
    with pytest.raises(StoreError, match="format_version is 99, this version reads 1"):
        EpisodeStore.open(tmp_path)


@pytest.mark.parametrize("name", ["frames.npy", "steps.npy", "episodes.json"])
def test_truncated_store_is_refused(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "s", make_episode("a")) / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StoreError, match="truncated"):
        EpisodeStore.open(tmp_path / "s")
    file.unlink()
    with pytest.raises(StoreError, match="incomplete"):
        EpisodeStore.open(tmp_path / "s")


def test_altered_pixels_are_found(tmp_path: Path) -> None:
    file = write(tmp_path / "s", make_episode("a")) / "frames.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="pixels do not match"):
        EpisodeStore.open(tmp_path / "s").check_pixels()


def test_rewards_are_on_the_last_steps_of_a_success() -> None:
    assert label_rewards(38, True).tolist() == [0] * 35 + [1] * 3
    assert label_rewards(2, True).tolist() == [1, 1]
    assert label_rewards(5, False).tolist() == [0] * 5
