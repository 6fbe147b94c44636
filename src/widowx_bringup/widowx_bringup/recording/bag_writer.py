"""Bags as rosbag2 lays them out, complete before they get their name.

A recording runs in `<directory>/.<name>.partial` and is renamed to `<directory>/<name>`
once everything is on the disk. What a killed process or a full disk leaves behind is
restored by `ptr recover` up to its last whole chunk. ROS is not imported.

`metadata.yaml` has version 8: the newest whose quality of service is a string, which is
what Humble parses, and new enough for Jazzy to read the custom data (rosbag2_storage,
yaml.hpp and metadata_io.cpp of the branches humble and jazzy).
"""

from __future__ import annotations

import argparse
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
from tqdm import tqdm

from ptr_common.errors import PtrError

METADATA_VERSION = 8
CHUNK_BYTES = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class RecordingError(PtrError):
    """A bag cannot be written or restored."""


@dataclass(frozen=True)
class Topic:
    """What a bag says about one topic."""

    name: str
    type_name: str
    definition: str  # ros2msg text, with those of the types it uses
    type_hash: str = ""
    offered_qos: str = (
        ""  # YAML list of the publishers' profiles, as rosbag2 writes it up to version 8
    )


class BagWriter:
    """Writes one bag of serialised messages.

    Args:
        directory: Where the bag shall appear.
        name: Its name, and that of its folder.
        custom: Custom data for `metadata.yaml`; `finish` may add to it.
        chunk_bytes: Size at which a chunk is closed.
        suffix: Of the hidden folder the recording runs in.

    Raises:
        RecordingError: If the name cannot be a folder's, the bag exists, or the directory
        cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        custom: Mapping[str, str],
        *,
        chunk_bytes: int = CHUNK_BYTES,
        suffix: str = "partial",
    ) -> None:
        if not _NAME.fullmatch(name):
            raise RecordingError(
                f"{name!r} cannot name a bag: use letters, digits, '.', '_' and '-', at most 128"
            )
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
            self._file = (self.partial / f"{name}_0.mcap").open("wb")
            fcntl.flock(
                self._file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # tells `recover` that this one is alive
            self._write_metadata()
        except OSError as error:
            raise RecordingError(f"cannot record into {directory}: {error}") from error
        self._mcap = McapWriter(self._file, chunk_bytes, CompressionType.NONE)
        self._mcap.start("ros2", "widowx_bringup")

    def write(self, topic: Topic, data: bytes, log_time_ns: int) -> None:
        """Append one message; its topic is described in the file when its first message comes.

        Raises:
            OSError: If the disk is full. Nothing can be written after that; call `abandon`.
        """
        if topic.name not in self._topics:
            self._add(topic)
        self._mcap.add_message(
            self._topics[topic.name][1],
            log_time_ns,
            data,
            log_time_ns,
            self._counts[topic.name],
        )
        self._counts[topic.name] += 1
        self.first_ns = (
            log_time_ns if not self.messages else min(self.first_ns, log_time_ns)
        )
        self.last_ns = max(self.last_ns, log_time_ns)
        self.messages += 1

    def flush(self) -> None:
        """Close the running chunk and hand it to the operating system: a killed process no longer loses it."""
        self._mcap.flush()

    def finish(self, custom: Mapping[str, str] | None = None) -> Path:
        """Complete the bag, bring it to the disk, and give it its name.

        Args:
            custom: Custom data known only now.

        Raises:
            RecordingError: If that fails; the recording then stays where `recover` finds
            it.
        """
        self.custom |= custom or {}
        try:
            described = yaml.safe_dump(self._described(), sort_keys=False, width=1 << 20)
            self._mcap.add_metadata("rosbag2", {"serialized_metadata": described})
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
                f"{self.path} could not be completed: {error}; {_RECOVERABLE}"
            ) from error
        finally:
            self.abandon()
        return self.path

    def abandon(self) -> None:
        """Close the file and leave the recording for `recover`."""
        with contextlib.suppress(
            OSError
        ):  # a full disk says so a second time when the rest is flushed
            self._file.close()

    def discard(self) -> None:
        """Throw the recording away."""
        self.abandon()
        shutil.rmtree(self.partial)

    def _add(self, topic: Topic) -> None:
        if topic.type_name not in self._schemas:
            schema = self._mcap.register_schema(
                topic.type_name, "ros2msg", topic.definition.encode()
            )
            self._schemas[topic.type_name] = schema
        extra = {
            "offered_qos_profiles": topic.offered_qos,
            "topic_type_hash": topic.type_hash,
        }
        channel = self._mcap.register_channel(
            topic.name, "cdr", self._schemas[topic.type_name], extra
        )
        self._topics[topic.name] = (topic, channel)
        self._counts[topic.name] = 0

    def _described(self) -> dict[str, Any]:
        file = f"{self.path.name}_0.mcap"
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            **self._span(),
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.type_name,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": topic.offered_qos,
                        "type_description_hash": topic.type_hash,
                    },
                    "message_count": self._counts[topic.name],
                }
                for topic, _ in self._topics.values()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file],
            "files": [{"path": file, **self._span()}],
            "custom_data": self.custom,
            "ros_distro": os.environ.get("ROS_DISTRO", ""),
        }

    def _span(self) -> dict[str, Any]:
        return {
            "starting_time": {"nanoseconds_since_epoch": self.first_ns},
            "duration": {"nanoseconds": self.last_ns - self.first_ns},
            "message_count": self.messages,
        }

    def _write_metadata(self) -> None:
        temporary = (
            self.partial / "metadata.yaml.new"
        )  # a full disk must not cost the custom data written before
        with temporary.open("w") as file:
            yaml.safe_dump(
                {"rosbag2_bagfile_information": self._described()},
                file,
                sort_keys=False,
                width=1 << 20,
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.partial / "metadata.yaml")


_RECOVERABLE = "`ptr recover` restores it up to its last whole chunk"


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def recover(argv: list[str]) -> int:
    """Restore interrupted recordings up to their last whole chunk."""
    parser = argparse.ArgumentParser(prog="ptr recover", description=recover.__doc__)
    parser.add_argument(
        "directory",
        nargs="+",
        type=Path,
        help="folder that holds the bags, not one bag itself",
    )
    failed = False
    for directory in parser.parse_args(argv).directory:
        if not directory.is_dir():
            raise RecordingError(
                f"{directory} is not a folder; name the folder the recorder was told to write into"
            )
        partials = sorted(directory.glob(".*.partial"))
        if not partials:
            print(f"{directory}: nothing to restore")
        for partial in partials:
            try:
                print(restore(partial))
            except (PtrError, OSError) as error:
                failed = True
                print(f"{partial}: not restored: {error}")
    return 2 if failed else 0


def restore(partial: Path) -> str:
    """Turn one interrupted recording into a bag; safe to repeat.

    The outcome is `interrupted`, unless the episode had ended and only the bag's name was
    missing.

    Args:
        partial: Folder `.<name>.partial` that a writer has left behind.

    Returns:
        What was done, as a line for the user.

    Raises:
        RecordingError: If another bag has the name, or the rest cannot be written.
    """
    name = partial.name[1 : -len(".partial")]
    file = partial / f"{name}_0.mcap"
    if not _is_abandoned(file):
        return f"{partial}: left alone, it is still being recorded"
    shutil.rmtree(
        partial.with_name(f".{name}.recovering"), ignore_errors=True
    )  # of a restoration that was killed
    topics, messages = _salvage(file)
    if not messages:
        shutil.rmtree(partial)
        return f"{partial}: removed, not one whole chunk of it had reached the disk"
    custom = {"outcome": "interrupted"} | _custom_data(partial)
    if _custom_data(partial.parent / name) == custom:
        shutil.rmtree(partial)
        return f"{partial.parent / name}: was restored before"
    writer = BagWriter(partial.parent, name, custom, suffix="recovering")
    try:
        for number, log_time, data in tqdm(
            messages, desc=name, unit=" messages", leave=False
        ):
            writer.write(topics[number], bytes(data), log_time)
        path = writer.finish()
    except BaseException:
        writer.discard()
        raise
    shutil.rmtree(partial)
    return f"{path}: restored {writer.messages} messages, {(writer.last_ns - writer.first_ns) / 1e9:.1f} s"


def _salvage(file: Path) -> tuple[dict[int, Topic], list[tuple[int, int, memoryview]]]:
    """Return the topics by channel and the messages of all whole chunks of an unfinished file."""
    from ptr_training.bags.mcap_reader import McapFile  # not needed to record

    if not file.is_file() or not file.stat().st_size:
        return {}, []
    bag = McapFile(file, salvage=True)
    topics = {
        number: Topic(
            channel.topic,
            channel.type_name,
            channel.definition,
            channel.metadata.get("topic_type_hash", ""),
            channel.metadata.get("offered_qos_profiles", ""),
        )
        for number, channel in bag.channels.items()
    }
    return topics, list(bag.messages())  # views of the file, so the list is small


def _is_abandoned(file: Path) -> bool:
    """Return whether no living process writes the file."""
    if not file.is_file():
        return True
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _custom_data(bag: Path) -> dict[str, str]:
    """Return the custom data of a bag or recording; empty if it was killed before they were written."""
    try:
        described = yaml.safe_load((bag / "metadata.yaml").read_text())
        return dict(described["rosbag2_bagfile_information"]["custom_data"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return {}
