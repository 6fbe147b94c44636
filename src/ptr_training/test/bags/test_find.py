"""Folders of bags: everything in them that holds messages is found or named."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_bags import Script, write

from ptr_training.bags.errors import BagError
from ptr_training.bags.find import find_bags


def make(path: Path) -> Path:
    script = Script()
    script.episode(10**18, steps=2)
    return write(path, script)


def clutter(folder: Path) -> None:
    """Put everything into a folder that is no bag of it."""
    (folder / ".e9.partial").mkdir()
    (folder / "killed").mkdir()
    (folder / "killed" / "killed_0.mcap").write_bytes(b"")
    (folder / "loose.db3").write_bytes(b"")
    (folder / "old.bag").write_bytes(b"")
    make(folder / "tuesday" / "b")
    for harmless in ("._a", "._loose.db3", ".DS_Store", "notes.txt"):
        (folder / harmless).write_bytes(b"")
    (folder / "plots").mkdir()


LINES = (
    "1 interrupted recordings left out; `ptr recover",
    "loose.db3 left out: it lies in no bag",
    "old.bag left out: it is a ROS 1 bag; convert it: rosbags-convert --src",
    "killed left out: it has no metadata.yaml, so its recording was killed",
    "tuesday left out: it is a folder of bags; name it as well",
)


def test_what_is_left_out_of_a_folder_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = make(tmp_path / "a")
    clutter(tmp_path)
    assert find_bags([tmp_path]) == [bag]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(LINES)
    for line, expected in zip(printed, LINES, strict=True):
        assert expected in line


def test_a_folder_without_bags_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    clutter(tmp_path)
    with pytest.raises(BagError, match="neither a bag nor a folder of bags") as caught:
        find_bags([tmp_path])
    for expected in LINES:
        assert expected in str(caught.value)
