"""The writer that goes on: what it keeps, what it cuts off, what it refuses."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter, StoreError
from ptr_training.data.store import EpisodeStore
from ptr_training.importers.resumable_writer import ResumableWriter

CARD = DatasetInfo(
    "toy", "front", camera_width=48, camera_height=32, image_height=12, image_width=16
)


def make_episode(number: int) -> Episode:
    rng = np.random.default_rng(number)
    length = 3 + number
    frames = rng.integers(0, 256, (length + 1, 12, 16, 3), np.uint8)
    proprio, actions = rng.normal(size=(length + 1, 7)), rng.normal(size=(length, 7))
    return Episode(
        f"e{number}",
        "a",
        frames,
        np.arange(length + 1),
        proprio,
        actions,
        actions,
        "success",
    )


EPISODES = [make_episode(number) for number in range(5)]


class Stopped(Exception):  # noqa: N818
    """Ends a writer early."""


def write(path: Path, until: int = 5, made_of: str = "x", stop: bool = False) -> list[int]:
    """Write the episodes up to one, after those that were kept; return the notes found."""
    with ResumableWriter(path, CARD, {"made of": made_of}) as writer:
        found = list(writer.kept)
        for number in range(len(found), until):
            if number != 2:  # a record that gave no episode
                writer.add(EPISODES[number])
            writer.keep(number)
        if stop:
            raise Stopped
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a store that was written at a stretch by the other writer."""
    with EpisodeWriter(tmp_path / "whole", CARD) as writer:
        for number in (0, 1, 3, 4):
            writer.add(EPISODES[number])
    return contents(tmp_path / "whole")


def test_store_is_the_one_of_the_plain_writer(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    assert write(tmp_path / "s") == []
    assert contents(tmp_path / "s") == whole
    EpisodeStore.open(tmp_path / "s").check_pixels()


@pytest.mark.parametrize("stops", [[1], [2], [3], [4], [5], [1, 3, 4]])
def test_stopped_writer_goes_on_to_equal_bytes(
    tmp_path: Path, whole: dict[str, bytes], stops: list[int]
) -> None:
    before = 0
    for until in stops:
        with pytest.raises(Stopped):
            write(tmp_path / "s", until, stop=True)
        assert not (tmp_path / "s").exists()
        before = until
    assert write(tmp_path / "s") == list(range(before))
    assert contents(tmp_path / "s") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "whole"]


@pytest.mark.parametrize(
    ("file", "damage", "kept"),
    [
        ("frames.npy", lambda data: data + b"torn", [0, 1, 2, 3]),
        ("frames.npy", lambda data: data[:-1], [0, 1, 2]),
        ("frames.npy", lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], []),
        ("frames.npy", lambda data: b"", []),
        ("steps.part", lambda data: data + b"torn", [0, 1, 2, 3]),
        ("steps.part", lambda data: data[:-3], [0, 1, 2]),
        ("journal.jsonl", lambda data: data + b'{"episodes": [{"id', [0, 1, 2, 3]),
        ("journal.jsonl", lambda data: data[:-1], [0, 1, 2]),
        ("journal.jsonl", lambda data: data[:-20], [0, 1, 2]),
        ("journal.jsonl", lambda data: data[:5], []),
    ],
)
def test_what_a_killed_process_or_machine_left_torn_is_cut_off(
    tmp_path: Path,
    whole: dict[str, bytes],
    file: str,
    damage: Callable[[bytes], bytes],
    kept: list[int],
) -> None:
    with pytest.raises(Stopped):
        write(tmp_path / "s", 4, stop=True)
    torn = tmp_path / ".s.partial" / file
    torn.write_bytes(damage(torn.read_bytes()))
    assert write(tmp_path / "s") == kept
    assert contents(tmp_path / "s") == whole


def test_writer_that_kept_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        write(tmp_path / "s", 0, stop=True)
    with pytest.raises(StoreError, match="the store would be empty"):
        write(tmp_path / "s", 0)
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_kept_is_written_again(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    with (  # noqa: PT012
        pytest.raises(Stopped),
        ResumableWriter(tmp_path / "s", CARD, {"made of": "x"}) as writer,
    ):
        writer.add(EPISODES[0])
        writer.keep(0)
        writer.add(EPISODES[1])
        raise Stopped
    assert write(tmp_path / "s") == [0]
    assert contents(tmp_path / "s") == whole


def test_partial_store_of_another_origin_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        write(tmp_path / "s", 2, stop=True)
    before = contents(tmp_path / ".s.partial")
    with pytest.raises(
        StoreError,
        match=r"\.s\.partial was begun with made of 'x', now it is 'y'; give the same",
    ):
        write(tmp_path / "s", made_of="y")
    assert contents(tmp_path / ".s.partial") == before


def test_second_writer_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="being written by another process"),
        ResumableWriter(tmp_path / "s", CARD, {}),
    ):
        write(tmp_path / "s")


def test_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "s")
    with pytest.raises(StoreError, match="exists already"):
        write(tmp_path / "s")


def test_full_disk_leaves_what_can_be_gone_on_from(
    tmp_path: Path,
    whole: dict[str, bytes],
    full_disk: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    with pytest.raises(OSError, match="File too large"), full_disk():
        write(tmp_path / "s")
    kept = write(tmp_path / "s")
    assert kept == list(range(len(kept)))
    assert contents(tmp_path / "s") == whole


def test_journal_says_what_was_kept(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        write(tmp_path / "s", 1, stop=True)
    first, second = (tmp_path / ".s.partial/journal.jsonl").read_text().splitlines()
    assert json.loads(first) == {"made of": {"made of": "x"}}
    assert json.loads(second)["episodes"][0]["id"] == "e0"
