"""Writes bags in the layout of rosbag2. ROS is not imported.

A recording is written into `<directory>/.<name>.partial` and renamed to
`<directory>/<name>` once everything is on the disk: a bag with a name is complete. After a
kill or a full disk, `ptr recover` restores the recording up to its last whole chunk.

`metadata.yaml` has version 8. It is the newest version that stores the quality of service
as a string, which Humble parses, and Jazzy reads its custom data (rosbag2_storage, yaml.hpp
and metadata_io.cpp of the branches humble and jazzy).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from ptr_common.errors import PtrError

METADATA_VERSION = 8
CHUNK_BYTES = 4 << 20
"""Default size of a chunk [bytes]."""

PARTIAL = "partial"
"""Suffix of the hidden folder of a recording."""

YAML_WIDTH = 1 << 20
"""Line width of YAML [characters]: no line is folded."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class RecordingError(PtrError):
    """A bag cannot be written or restored."""


@dataclass(frozen=True)
class Topic:
    """Description of one topic in a bag.

    Attributes:
        name: Full name of the topic.
        type_name: Message type, for instance "sensor_msgs/msg/Image".
        definition: Its definition (`ros2msg`), with those of the types it uses.
        type_hash: Its RIHS01 hash; empty where ROS has none.
        offered_qos: Profiles of the publishers: a YAML list, as in rosbag2 up to version 8.
    """

    name: str
    type_name: str
    definition: str
    type_hash: str = ""
    offered_qos: str = ""


def bag_name_problem(name: str) -> str:
    """Return why a bag cannot have a name; empty if it can."""
    if _NAME.fullmatch(name):
        return ""
    return f"{name!r} cannot name a bag: use letters, digits, '.', '_' and '-', at most 128"


def mcap_name(bag: str) -> str:
    """Return the name of the MCAP file in a bag."""
    return f"{bag}_0.mcap"


class BagWriter:
    """Writes one bag of serialised messages.

    Args:
        directory: Folder that will hold the bag.
        name: Name of the bag and of its folder.
        custom: Custom data for `metadata.yaml`; `finish` may add to it.
        chunk_bytes: Size at which a chunk is closed [bytes].
        suffix: Suffix of the hidden folder of the recording.

    Attributes:
        path: Folder of the complete bag.
        partial: Hidden folder of the recording.
        messages: Number of messages written.
        first_ns: Earliest log time [ns].
        last_ns: Latest log time [ns].

    Raises:
        RecordingError: If the name is not allowed, the bag exists, or the directory cannot
            be written.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        custom: Mapping[str, str],
        *,
        chunk_bytes: int = CHUNK_BYTES,
        suffix: str = PARTIAL,
    ) -> None:
        if problem := bag_name_problem(name):
            raise RecordingError(problem)
        self.path = directory / name
        self.partial = directory / f".{name}.{suffix}"
        self.custom = dict(custom)
        self.messages = 0
        self.first_ns = 0
        self.last_ns = 0
        self._topics: dict[str, tuple[Topic, int]] = {}
        self._counts: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        if self.path.exists():
            raise RecordingError(f"{self.path} exists already; a bag is never overwritten")
        if self.partial.exists():
            raise RecordingError(
                f"{self.partial} exists: run `ptr recover {directory}` first"
            )
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self.partial.mkdir()
            self._file = (self.partial / mcap_name(name)).open("wb")
            # `ptr recover` leaves a locked file alone.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_metadata()
        except OSError as error:
            raise RecordingError(f"cannot record into {directory}: {error}") from error
        self._mcap = McapWriter(self._file, chunk_bytes, CompressionType.NONE)
        self._mcap.start("ros2", "widowx_bringup")

    def write(self, topic: Topic, data: bytes, log_time_ns: int) -> None:
        """Append one message; the first of a topic adds the description of the topic.

        Args:
            topic: Topic of the message.
            data: The serialised message (CDR).
            log_time_ns: Time of its arrival [ns].

        Raises:
            OSError: If the disk is full. Nothing can be written after that; call `abandon`.
        """
        if topic.name not in self._topics:
            self._add(topic)
        _, channel = self._topics[topic.name]
        sequence = self._counts[topic.name]
        self._mcap.add_message(channel, log_time_ns, data, log_time_ns, sequence)
        self._counts[topic.name] += 1
        is_first = self.messages == 0
        self.first_ns = log_time_ns if is_first else min(self.first_ns, log_time_ns)
        self.last_ns = max(self.last_ns, log_time_ns)
        self.messages += 1

    def flush(self) -> None:
        """Close the chunk and hand it to the operating system: it survives a kill."""
        self._mcap.flush()

    def finish(self, custom: Mapping[str, str] | None = None) -> Path:
        """Complete the bag, write it to the disk, and give it its name.

        Args:
            custom: Further custom data, which are known only now.

        Returns:
            The folder of the bag.

        Raises:
            RecordingError: If that fails; the recording then stays for `ptr recover`.
        """
        self.custom |= custom or {}
        try:
            text = yaml.safe_dump(self._metadata(), sort_keys=False, width=YAML_WIDTH)
            self._mcap.add_metadata("rosbag2", {"serialized_metadata": text})
            self._mcap.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._write_metadata()
            _sync_folder(self.partial)
            if self.path.exists():
                raise RecordingError(
                    f"{self.path} has appeared meanwhile; {self.partial} stays for `ptr recover`"
                )
            self.partial.rename(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise RecordingError(
                f"{self.path} could not be completed: {error}; "
                "`ptr recover` restores it up to its last whole chunk"
            ) from error
        finally:
            self.abandon()
        return self.path

    def abandon(self) -> None:
        """Close the file and leave the recording for `ptr recover`."""
        # A full disk fails a second time when the rest is flushed.
        with contextlib.suppress(OSError):
            self._file.close()

    def discard(self) -> None:
        """Delete the recording."""
        self.abandon()
        shutil.rmtree(self.partial)

    def _add(self, topic: Topic) -> None:
        """Register a topic, and its message type if it is new."""
        if topic.type_name not in self._schemas:
            self._schemas[topic.type_name] = self._mcap.register_schema(
                topic.type_name, "ros2msg", topic.definition.encode()
            )
        schema = self._schemas[topic.type_name]
        extra = {
            "offered_qos_profiles": topic.offered_qos,
            "topic_type_hash": topic.type_hash,
        }
        channel = self._mcap.register_channel(topic.name, "cdr", schema, extra)
        self._topics[topic.name] = (topic, channel)
        self._counts[topic.name] = 0

    def _metadata(self) -> dict[str, Any]:
        """Return the entry `rosbag2_bagfile_information` of metadata.yaml."""
        file = mcap_name(self.path.name)
        topics = []
        for topic, _ in self._topics.values():
            metadata = {
                "name": topic.name,
                "type": topic.type_name,
                "serialization_format": "cdr",
                "offered_qos_profiles": topic.offered_qos,
                "type_description_hash": topic.type_hash,
            }
            count = self._counts[topic.name]
            topics.append({"topic_metadata": metadata, "message_count": count})
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            **self._span(),
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file],
            "files": [{"path": file, **self._span()}],
            "custom_data": self.custom,
            "ros_distro": os.environ.get("ROS_DISTRO", ""),
        }

    def _span(self) -> dict[str, Any]:
        """Return time and number of the messages; a new mapping, so YAML needs no alias."""
        return {
            "starting_time": {"nanoseconds_since_epoch": self.first_ns},
            "duration": {"nanoseconds": self.last_ns - self.first_ns},
            "message_count": self.messages,
        }

    def _write_metadata(self) -> None:
        """Replace metadata.yaml; a full disk does not cost the custom data written before."""
        temporary = self.partial / "metadata.yaml.new"
        document = {"rosbag2_bagfile_information": self._metadata()}
        with temporary.open("w") as file:
            yaml.safe_dump(document, file, sort_keys=False, width=YAML_WIDTH)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.partial / "metadata.yaml")


def _sync_folder(path: Path) -> None:
    """Write a folder's entries to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
