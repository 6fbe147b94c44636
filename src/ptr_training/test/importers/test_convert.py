"""`ptr convert`: what it writes and says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptr_common import cli
from ptr_training.data.store import EpisodeStore
from ptr_training.importers.lerobot.reader import find


def test_a_store_becomes_a_lerobot_data_set(
    tmp_path: Path, make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store("toy")
    assert (
        cli.main(["convert", str(store), "--to", "lerobot", "--out", str(tmp_path / "set")])
        == 0
    )
    assert "set: 6 episodes of 2 tasks, 54 frames, " in capsys.readouterr().out
    assert len(find([tmp_path / "set"])) == 6
    assert (
        cli.main(
            [
                "convert",
                str(store),
                "--to",
                "lerobot",
                "--out",
                str(tmp_path / "v"),
                "--video",
            ]
        )
        == 0
    )
    assert "images as mp4, altered by it" in capsys.readouterr().out


def test_a_store_converted_and_imported_is_the_same_store(
    tmp_path: Path, make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store, back = make_store("toy", licence="MIT", last_n=1), tmp_path / "again" / "toy"
    assert (
        cli.main(["convert", str(store), "--to", "lerobot", "--out", str(tmp_path / "set")])
        == 0
    )
    assert cli.main(["import", "lerobot", str(tmp_path / "set"), "--out", str(back)]) == 0
    assert "6 records: 6 used" in capsys.readouterr().out
    for name in ("frames.npy", "steps.npy", "episodes.json"):
        assert (back / name).read_bytes() == (store / name).read_bytes()
    one, other = EpisodeStore.open(store), EpisodeStore.open(back)
    assert replace(other.info, sources=()) == one.info
    assert [source["name"] for source in other.info.sources] == ["set"]
    other.check_pixels()


def test_what_is_no_store_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(
            ["convert", str(tmp_path), "--to", "lerobot", "--out", str(tmp_path / "set")]
        )
        == 2
    )
    assert "is not an episode store" in capsys.readouterr().err


def test_unknown_format_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["convert", "store", "--to", "rlds", "--out", "set"])
    assert "choose from" in capsys.readouterr().err
