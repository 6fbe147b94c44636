"""Bags: complete before they have a name, and readable by others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosReliability
from word_bags import (
    CUSTOM,
    RELIABLE_DEPTH_10,
    STRING,
    TOPIC,
    metadata,
    read,
    word,
    write_bag,
)

from widowx_bringup.recording.bag_writer import BagWriter, RecordingError


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
