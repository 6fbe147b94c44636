"""Bags: complete before they have a name, readable by others, restored after a crash."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosReliability
from rosbags.typesys import Stores, get_typestore

from widowx_bringup.recording import bag_writer
from widowx_bringup.recording.background_writer import BackgroundWriter
from widowx_bringup.recording.bag_writer import BagWriter, RecordingError, Topic, restore

STORE = get_typestore(Stores.ROS2_JAZZY)
STRING = "std_msgs/msg/String"
RELIABLE_DEPTH_10 = """\
- history: 1
  depth: 10
  reliability: 1
  durability: 2
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false"""
TOPIC = Topic(
    "/robot/words", STRING, "string data\n", STORE.hash_rihs01(STRING), RELIABLE_DEPTH_10
)
CUSTOM = {"episode_id": "e1", "task": "put red in bowl", "operator": "Ada"}


def word(text: str) -> bytes:
    return bytes(STORE.serialize_cdr(STORE.types[STRING](text), STRING))


def read(path: Path) -> list[tuple[int, str]]:
    """Every message of a bag, through the rosbags library."""
    with AnyReader([path]) as reader:
        decode: Any = reader.deserialize
        return [
            (stamp, decode(data, connection.msgtype).data)
            for connection, stamp, data in reader.messages()
        ]


def metadata(path: Path) -> dict[str, Any]:
    return yaml.safe_load((path / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]


def write_bag(directory: Path, words: list[str], **finish: str) -> Path:
    writer = BagWriter(directory, "e1", CUSTOM)
    for index, text in enumerate(words):
        writer.write(TOPIC, word(text), 1_000 + index)
    return writer.finish(finish)


def test_bag_is_read_back_by_the_rosbags_library(tmp_path: Path) -> None:
    path = write_bag(tmp_path, ["a", "b", "c"], outcome="success")
    assert read(path) == [(1000, "a"), (1001, "b"), (1002, "c")]
    with AnyReader([path]) as reader:
        [connection] = reader.connections
        assert (connection.topic, connection.msgtype, connection.digest) == (
            TOPIC.name,
            STRING,
            TOPIC.type_hash,
        )
        [qos] = connection.ext.offered_qos_profiles  # type: ignore[union-attr]
        assert isinstance(qos, Qos)
        assert (qos.history, qos.depth) == (QosHistory.KEEP_LAST, 10)
        assert (qos.reliability, qos.durability) == (
            QosReliability.RELIABLE,
            QosDurability.VOLATILE,
        )


def test_metadata_has_the_fields_that_humble_and_jazzy_parse(tmp_path: Path) -> None:
    described = metadata(write_bag(tmp_path, ["a", "b"], outcome="success"))
    span = {
        "starting_time": {"nanoseconds_since_epoch": 1000},
        "duration": {"nanoseconds": 1},
        "message_count": 2,
    }
    assert described == {
        "version": 8,
        "storage_identifier": "mcap",
        **span,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": "/robot/words",
                    "type": STRING,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": RELIABLE_DEPTH_10,
                    "type_description_hash": TOPIC.type_hash,
                },
                "message_count": 2,
            }
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": ["e1_0.mcap"],
        "files": [{"path": "e1_0.mcap", **span}],
        "custom_data": {**CUSTOM, "outcome": "success"},
        "ros_distro": described["ros_distro"],
    }
    assert isinstance(described["ros_distro"], str)
    assert (
        "&id" not in (tmp_path / "e1" / "metadata.yaml").read_text()
    )  # no YAML aliases: not every parser has them


def test_mcap_file_has_profile_chunks_indexes_checksums_and_rosbag2_record(
    tmp_path: Path,
) -> None:
    path = write_bag(tmp_path, ["a", "b"], outcome="success")
    with (path / "e1_0.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 2
        assert [chunk.compression for chunk in summary.chunk_indexes] == [""]
        assert all(chunk.message_index_offsets for chunk in summary.chunk_indexes)
        assert [schema.encoding for schema in summary.schemas.values()] == ["ros2msg"]
        assert len(list(reader.iter_messages())) == 2
        [record] = reader.iter_metadata()
    assert record.name == "rosbag2"
    assert yaml.safe_load(record.metadata["serialized_metadata"]) == metadata(path)


def test_bag_has_its_name_only_once_complete(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, "e1", CUSTOM)
    writer.write(TOPIC, word("a"), 1)
    writer.flush()
    assert [path.name for path in tmp_path.iterdir()] == [".e1.partial"]
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["e1"]


def test_discarded_recording_leaves_nothing(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, "e1", CUSTOM)
    writer.write(TOPIC, word("a"), 1)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../e1", "a/b", ".hidden", "x" * 200])
def test_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match="cannot name a bag"):
        BagWriter(tmp_path, name, CUSTOM)


def test_existing_bag_and_unfinished_recording_are_not_overwritten(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path, "e1", CUSTOM)
    with pytest.raises(RecordingError, match="ptr recover"):
        BagWriter(tmp_path, "e1", CUSTOM)
    writer.finish()
    with pytest.raises(RecordingError, match="exists already"):
        BagWriter(tmp_path, "e1", CUSTOM)


def test_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"cannot record into .*file/bags"):
        BagWriter(tmp_path / "file" / "bags", "e1", CUSTOM)


RECORD_FOREVER = """
import sys
from pathlib import Path
from widowx_bringup.recording.bag_writer import BagWriter, Topic
writer = BagWriter(Path(sys.argv[1]), "e1", {"episode_id": "e1", "task": "t", "operator": "Ada"})
topic = Topic("/robot/words", "std_msgs/msg/String", "string data\\n")
for index in range(10**9):
    writer.write(topic, bytes.fromhex(sys.argv[2]), 1000 + index)
    if index % 100 == 99:
        writer.flush()
"""


def killed_recording(directory: Path) -> Path:
    """Let another process record until some chunks are on the disk, then kill it."""
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD_FOREVER, str(directory), word("x" * 500).hex()]
    )
    partial = directory / ".e1.partial"
    file = partial / "e1_0.mcap"
    try:
        deadline = time.monotonic() + 30
        while not (file.exists() and file.stat().st_size > 300_000):
            assert time.monotonic() < deadline
            assert process.poll() is None
        assert "still being recorded" in restore(partial)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return partial


def test_killed_recording_is_restored_and_a_second_time_is_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = killed_recording(tmp_path)
    with (partial / "e1_0.mcap").open("ab") as file:
        file.write(b"\x06\xff\xff\x00\x00\x00\x00\x00\x00half a chunk")
    assert bag_writer.recover([str(tmp_path)]) == 0
    messages = read(tmp_path / "e1")
    assert len(messages) >= 500
    assert [stamp for stamp, _ in messages] == list(range(1000, 1000 + len(messages)))
    described = metadata(tmp_path / "e1")
    assert described["custom_data"] == {
        "episode_id": "e1",
        "task": "t",
        "operator": "Ada",
        "outcome": "interrupted",
    }
    assert described["message_count"] == len(messages)
    assert [path.name for path in tmp_path.iterdir()] == ["e1"]
    assert bag_writer.recover([str(tmp_path)]) == 0
    assert "nothing to restore" in capsys.readouterr().out
    assert read(tmp_path / "e1") == messages


def test_restoration_that_was_killed_before_clearing_up_is_completed(
    tmp_path: Path,
) -> None:
    writer = BagWriter(tmp_path, "e1", CUSTOM)
    writer.write(TOPIC, word("a"), 1)
    writer.flush()
    writer.abandon()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (tmp_path / ".e1.partial").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    restore(tmp_path / ".e1.partial")
    copy.rename(tmp_path / ".e1.partial")
    assert "was restored before" in restore(tmp_path / ".e1.partial")
    assert [path.name for path in tmp_path.iterdir()] == ["e1"]


def test_episode_that_had_ended_keeps_its_outcome(tmp_path: Path) -> None:
    path = write_bag(tmp_path, ["a", "b"], outcome="failure")
    path.rename(tmp_path / ".e1.partial")  # killed between the last byte and the new name
    restore(tmp_path / ".e1.partial")
    assert metadata(tmp_path / "e1")["custom_data"]["outcome"] == "failure"
    assert len(read(tmp_path / "e1")) == 2


def test_recording_without_a_whole_chunk_is_removed(tmp_path: Path) -> None:
    BagWriter(tmp_path, "e1", CUSTOM).abandon()
    (tmp_path / ".e2.partial").mkdir()
    assert bag_writer.recover([str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_recover_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is not a folder"):
        bag_writer.recover([str(tmp_path / "nowhere")])


@pytest.fixture
def small_disk() -> Any:
    """Files cannot grow beyond 200 kB, as on a full disk (the error is EFBIG instead of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_full_disk_is_reported_and_what_fitted_is_restored(tmp_path: Path) -> None:
    writer = BackgroundWriter(
        BagWriter(tmp_path, "e1", CUSTOM, chunk_bytes=50_000), 1 << 20
    )
    for index in range(1000):
        writer.put(TOPIC, word("x" * 500), index)
    writer.finish({"outcome": "success"})
    writer.join()
    assert "recording stopped: [Errno 27]" in writer.error
    assert writer.path is None
    assert not (tmp_path / "e1").exists()
    resource.setrlimit(
        resource.RLIMIT_FSIZE,
        (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]),
    )
    restore(tmp_path / ".e1.partial")
    assert len(read(tmp_path / "e1")) > 200
    assert metadata(tmp_path / "e1")["custom_data"]["outcome"] == "interrupted"


def test_full_queue_drops_and_counts_but_never_events(tmp_path: Path) -> None:
    bag = BagWriter(tmp_path, "e1", CUSTOM)
    write = bag.write
    started, go_on = threading.Event(), threading.Event()

    def slow(topic: Topic, data: bytes, log_time_ns: int) -> None:
        started.set()
        go_on.wait(30)
        write(topic, data, log_time_ns)

    bag.write = slow  # type: ignore[method-assign]
    writer = BackgroundWriter(bag, queue_bytes=2000)
    writer.put(TOPIC, word("first"), 0)
    assert started.wait(30)  # the queue is empty now and the disk stands still
    for index in range(10):
        writer.put(TOPIC, word("x" * 500), 1 + index)
    event = Topic("/robot/events", STRING, "string data\n")
    writer.put(event, word("the end"), 100, always=True)
    go_on.set()
    writer.finish({"outcome": "success"})
    writer.join()
    assert writer.path is not None
    kept = read(writer.path)
    assert len(kept) == 12 - writer.dropped[TOPIC.name]
    assert kept[-1] == (100, "the end")
    custom = metadata(writer.path)["custom_data"]
    assert (
        custom["dropped"]
        == custom["dropped /robot/words"]
        == str(writer.dropped.total())
        == "7"
    )


def test_recording_on_a_second_thread_equals_direct_writing(tmp_path: Path) -> None:
    writer = BackgroundWriter(BagWriter(tmp_path, "e1", CUSTOM), 1 << 20)
    for index in range(200):
        writer.put(TOPIC, word(str(index)), index)
    writer.finish({"outcome": "stop"})
    writer.join()
    assert writer.path is not None
    assert read(writer.path) == [(index, str(index)) for index in range(200)]
    assert metadata(writer.path)["custom_data"] == {
        **CUSTOM,
        "outcome": "stop",
        "dropped": "0",
    }
