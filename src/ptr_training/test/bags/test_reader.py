"""Recordings in every storage, and paths or files that are none."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from scripted_bags import (
    MESSAGES,
    MS,
    READ,
    Script,
    check_sums,
    fates,
    pixels_of,
    write,
)

from ptr_common.images import resize_area
from ptr_training.bags.episodes_from_bag import read_episodes
from ptr_training.bags.errors import BagError
from ptr_training.bags.reader import Bag

STORAGES = [
    (StoragePlugin.MCAP, CompressionMode.NONE),
    (StoragePlugin.MCAP, CompressionMode.STORAGE),
    (StoragePlugin.SQLITE3, CompressionMode.NONE),
    (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
    (StoragePlugin.SQLITE3, CompressionMode.FILE),
]


@pytest.mark.parametrize(("storage", "compression"), STORAGES)
@pytest.mark.parametrize("namespace", ["", "/wx250s"])
def test_episode_comes_back_from_every_storage(
    tmp_path: Path, namespace: str, storage: StoragePlugin, compression: CompressionMode
) -> None:
    script = Script(namespace)
    begin = 10**18
    script.episode(begin, steps=5)
    custom = {"operator": "Ada", "camera": "front"}
    bag = write(
        tmp_path / "bag", script, storage=storage, compression=compression, custom=custom
    )
    result = read_episodes(bag, READ)
    [episode] = result.episodes
    assert (episode.id, episode.task, episode.outcome) == (
        "e1",
        "put red in bowl",
        "success",
    )
    assert (episode.operator, episode.source, episode.seed, len(episode)) == (
        "Ada",
        "bag",
        12,
        5,
    )
    assert (result.camera, result.camera_size) == ("front", (32, 24))
    numbers = [
        0,
        6,
        12,
        18,
        24,
        30,
    ]  # the newest images when the commands were given, and one period later
    np.testing.assert_array_equal(
        episode.frames, [resize_area(pixels_of(number), (8, 8)) for number in numbers]
    )
    np.testing.assert_array_equal(
        episode.stamps_ns, [begin + number * 1000 * MS // 30 for number in numbers]
    )
    np.testing.assert_allclose(episode.proprio[:, 0], np.array([0, 4, 8, 12, 16, 20]) / 100)
    np.testing.assert_allclose(episode.requested[:, 0], np.arange(5) / 1000)
    np.testing.assert_allclose(episode.executed[:, 0], np.arange(5) / 2000)
    assert fates(result, f"{namespace}/arm/command") == {"used": 5}
    assert fates(result, f"{namespace}/camera/front/image_raw") == {
        "used": 6,
        "superseded": 25,
        "outside episode": 1,
    }
    check_sums(bag, result)


def strip_definitions(bag: Path) -> None:
    """Make an SQLite bag look like one of Humble, which stores no message definitions."""
    [database] = bag.glob("*.db3")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE message_definitions")
        connection.execute("UPDATE schema SET schema_version = 3")
    connection.close()


def test_bag_without_definitions_takes_the_installed_ones_or_says_how(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script, storage=StoragePlugin.SQLITE3)
    strip_definitions(bag)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "nowhere"))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(
        BagError,
        match=r"does not define ptr_msgs/msg/\w+, and ptr_msgs is not installed.*setup file",
    ):
        read_episodes(bag, READ)
    share = tmp_path / "workspace" / "share" / "ptr_msgs"
    share.mkdir(parents=True)
    (share / "msg").symlink_to(MESSAGES)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "workspace"))
    assert len(read_episodes(bag, READ).episodes[0]) == 4


def test_paths_that_are_no_bags_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / ".e1.partial").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    messages = {
        "nothing": "does not exist",
        "empty": "is not a bag: it has no metadata.yaml",
        "text.txt": "is not a bag: expected a folder with metadata.yaml, a .mcap or a .db3 file",
        ".e1.partial": "is an interrupted recording; `ptr recover",
        "broken": "cannot be read",
    }
    for name, message in messages.items():
        with pytest.raises(BagError, match=message):
            Bag(tmp_path / name)


def test_metadata_that_names_python_objects_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    call = f"!!python/object/apply:os.mkdir ['{tmp_path / 'made'}']"
    (tmp_path / "bag" / "metadata.yaml").write_text(
        f"rosbag2_bagfile_information: {call}\n"
    )
    with pytest.raises(BagError, match="cannot be read"):
        Bag(tmp_path / "bag")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_damaged_storage_is_refused_by_name(
    tmp_path: Path, script: Script, storage: StoragePlugin
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script, storage=storage)
    [file] = [file for file in bag.iterdir() if file.suffix in (".mcap", ".db3")]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BagError, match=r"bag.*(truncated|damaged)"):
        read_episodes(bag, READ)
    file.unlink()
    with pytest.raises(
        BagError, match=rf"{file.name} does not exist, but .*metadata.yaml names it"
    ):
        read_episodes(bag, READ)


def test_bag_whose_metadata_names_another_quality_of_service_is_read(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script, storage=StoragePlugin.SQLITE3)
    described = yaml.safe_load((bag / "metadata.yaml").read_text())
    duration = {"sec": 0, "nsec": 0}
    profile = {
        "history": 1,
        "depth": 10,
        "reliability": 1,
        "durability": 2,
        "deadline": duration,
        "lifespan": duration,
    }
    profile |= {
        "liveliness": 1,
        "liveliness_lease_duration": duration,
        "avoid_ros_namespace_conventions": False,
    }
    for topic in described["rosbag2_bagfile_information"]["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = yaml.safe_dump([profile])
    (bag / "metadata.yaml").write_text(yaml.safe_dump(described))
    assert len(read_episodes(bag, READ).episodes[0]) == 4


def test_single_mcap_file_is_a_bag_too(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    [file] = write(tmp_path / "bag", script).glob("*.mcap")
    assert len(read_episodes(file, READ).episodes[0]) == 4


def rewritten(bag: Path, add: Callable[[Writer], None] = lambda _: None) -> Path:
    """Write the one file of a bag anew, with checksums and what `add` adds."""
    [file] = bag.glob("*.mcap")
    reader = make_reader(io.BytesIO(file.read_bytes()))
    with file.open("wb") as output:
        writer = Writer(output, compression=CompressionType.NONE)
        writer.start("ros2", "test")
        channels: dict[int, int] = {}
        for schema, channel, message in reader.iter_messages():
            assert schema is not None
            if channel.id not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.id] = writer.register_channel(channel.topic, "cdr", number)
            writer.add_message(
                channels[channel.id], message.log_time, message.data, message.publish_time
            )
        add(writer)
        writer.finish()
    return file


def test_an_altered_command_is_found_by_the_checksum_of_its_chunk(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script)
    file = rewritten(bag)
    assert len(read_episodes(bag, READ).episodes) == 1
    data = bytearray(file.read_bytes())
    data[data.index(np.float64(0.003).tobytes()) + 6] ^= 8
    file.write_bytes(data)
    with pytest.raises(BagError, match="checksum does not match; the file is damaged"):
        read_episodes(bag, READ)


def test_topics_that_cannot_be_read_stop_only_what_needs_them(
    tmp_path: Path, script: Script
) -> None:
    def add(writer: Writer) -> None:
        note = writer.register_schema("note", "jsonschema", b"{}")
        for topic, encoding, schema in (("/current", "cdr", 0), ("/notes", "json", note)):
            channel = writer.register_channel(topic, encoding, schema)
            writer.add_message(channel, 10**18, b"{}", 10**18)

    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script)
    rewritten(bag, add)
    result = read_episodes(bag, READ)
    check_sums(bag, result)
    assert fates(result, "/notes") == {"unknown topic": 1}
    topics = result.audit["topics"]
    assert topics["/notes"]["unreadable"] == "it is encoded as 'json', expected 'cdr'"
    assert topics["/current"]["unreadable"].startswith("it has no schema: the shell")


def test_a_needed_topic_without_schema_is_named_with_the_cause(tmp_path: Path) -> None:
    script = Script()
    script.episode(10**18, steps=4)
    script.messages = [m for m in script.messages if not m.topic.endswith("arm/state")]
    bag = write(tmp_path / "bag", script)
    rewritten(
        bag,
        lambda writer: writer.add_message(
            writer.register_channel("/arm/state", "cdr", 0), 10**18, bytes(8), 10**18
        ),
    )
    with pytest.raises(BagError, match="/arm/state cannot be read: it has no schema"):
        read_episodes(bag, READ)
