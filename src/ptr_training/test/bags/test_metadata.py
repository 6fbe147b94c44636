"""Files of a recording: unread parts, pointers and damaged descriptions are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin
from scripted_bags import READ, Script, write

from ptr_training.bags.episodes_from_bag import read_episodes
from ptr_training.bags.errors import BagError
from ptr_training.bags.reader import Bag

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def make(path: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    script = Script()
    script.episode(10**18, steps=4)
    return write(path / "bag", script, storage=storage)


def describe(bag: Path, **changes: Any) -> None:
    """Change what metadata.yaml says."""
    described = yaml.safe_load((bag / "metadata.yaml").read_text())
    described["rosbag2_bagfile_information"].update(changes)
    (bag / "metadata.yaml").write_text(yaml.safe_dump(described))


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_messages_that_sqlite_has_not_merged_are_named(tmp_path: Path, suffix: str) -> None:
    bag = make(tmp_path, StoragePlugin.SQLITE3)
    (bag / f"bag.db3{suffix}").touch()
    assert read_episodes(bag, READ).episodes  # an empty one holds nothing
    (bag / f"bag.db3{suffix}").write_bytes(b"pages")
    for path in (bag, bag / "bag.db3"):
        with pytest.raises(BagError, match=rf"bag\.db3{suffix} was not merged .*`sqlite3 "):
            Bag(path)


@pytest.mark.parametrize("name", ["bag_1.mcap", "bag_1.db3", "bag_1.mcap.zstd"])
def test_a_shard_that_the_metadata_does_not_name_is_named(
    tmp_path: Path, name: str
) -> None:
    bag = make(tmp_path)
    for harmless in ("._bag.mcap", "._bag_1.mcap", ".DS_Store", "notes.txt"):
        (bag / harmless).write_bytes(b"\0\5\x16\7")
    assert read_episodes(bag, READ).episodes
    (bag / name).write_bytes(b"messages")
    with pytest.raises(BagError, match=rf"{name} is not named by .* `ros2 bag reindex"):
        Bag(bag)


@pytest.mark.parametrize("name", ["bag.mcap", "metadata.yaml"])
def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path, name: str) -> None:
    bag = make(tmp_path)
    (bag / name).write_text(POINTER)
    with pytest.raises(BagError, match=rf"{name} is a Git LFS pointer.*`git lfs pull`"):
        Bag(bag)


def test_a_ros_1_bag_names_the_converter(tmp_path: Path) -> None:
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(
        BagError, match=r"ROS 1 bag; convert it first: rosbags-convert --src"
    ):
        Bag(tmp_path / "old.bag")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"relative_file_paths": "bag.mcap"},
            "relative_file_paths is 'bag.mcap', expected",
        ),
        ({"relative_file_paths": []}, "relative_file_paths is [], expected names of files"),
        ({"relative_file_paths": [7]}, "7 is no text"),
        ({"storage_identifier": ["mcap"]}, "['mcap'] is no text"),
        (
            {"storage_identifier": "lmdb"},
            "storage 'lmdb' with compression_mode ''; readable",
        ),
        ({"compression_mode": "brotli"}, "compression_mode 'brotli'; readable are mcap"),
        ({"custom_data": "text"}, "custom_data is 'text', expected names and texts"),
        ({"custom_data": [1, 2]}, "custom_data is [1, 2], expected names and texts"),
    ],
)
def test_metadata_of_other_types_is_refused_with_its_field(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bag = make(tmp_path)
    describe(bag, **changes)
    with pytest.raises(BagError, match=rf"metadata\.yaml.*{re.escape(message)}"):
        Bag(bag)


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "rosbag2_bagfile_information: 5", "a: 2020-99-99"]
)
def test_metadata_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    bag = make(tmp_path)
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(BagError, match=r"metadata\.yaml cannot be read"):
        Bag(bag)
