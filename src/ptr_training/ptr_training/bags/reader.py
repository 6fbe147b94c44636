"""Recordings of rosbag2 behind one interface: MCAP and SQLite, whole or split, compressed or not.

Plain MCAP is read through a memory map (`mcap_reader`); everything else goes through the
`rosbags` library.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import apsw
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError
from rosbags.typesys.store import Typestore

from ptr_common.files import sha256

from .definitions import installed, parsed
from .errors import BagError
from .mcap_reader import McapFile
from .metadata import METADATA, Metadata, custom_data, read_metadata
from .unpacking import declared_size, unpack


class DecodeError(BagError):
    """One message cannot be decoded."""


class _Storage(Protocol):
    """Reader of the files of a bag."""

    types: dict[str, str]  # topic -> type name
    definitions: dict[str, tuple[str, str]]  # type name -> (ros2msg or ros2idl, text)
    counts: Counter[str]  # topic -> messages, as the recording says
    custom: dict[str, str]
    unreadable: dict[str, str]  # topic -> why its messages cannot be read

    def messages(
        self, topics: Collection[str]
    ) -> Iterator[tuple[str, int, bytes | memoryview]]:
        """Yield (topic, log time [ns], serialised message) of some topics."""
        ...

    def digest(self) -> bytes:
        """Return bytes that identify the contents of the files."""
        ...


class Bag:
    """A recording opened for reading; a context manager.

    Args:
        path: Folder with `metadata.yaml`, or a single .mcap or .db3 file.
        check_crc: Compare chunks with their checksums while reading, where the storage has
            any.

    Attributes:
        types: Type name by topic; "" for a topic in `unreadable`.
        unreadable: Why the messages of a topic cannot be read, by topic.
        counts: Number of messages by topic, as the recording says.
        custom: Custom data of the recording.

    Raises:
        BagError: If it is missing, unfinished or damaged.
    """

    def __init__(self, path: Path, *, check_crc: bool = False) -> None:
        self.path = path
        self.name = path.stem if path.is_file() else path.resolve().name
        metadata = read_metadata(path)
        with ExitStack() as stack:
            self._storage: _Storage
            if metadata.storage == "mcap" and not metadata.compression:
                self._storage = _McapStorage(metadata.files, check_crc, stack)
            else:
                self._storage = _RosbagsStorage(path, metadata, stack)
            self._stack = stack.pop_all()

        self.types = dict(sorted(self._storage.types.items()))
        self.counts = self._storage.counts
        self.custom = metadata.custom or self._storage.custom
        self.unreadable = self._storage.unreadable
        self._typestores: dict[str, Typestore] = {}

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(
        self, topics: Collection[str]
    ) -> Iterator[tuple[str, int, bytes | memoryview]]:
        """Yield (topic, log time [ns], serialised message), in the order of the files.

        Raises:
            BagError: At the first damaged record, or if their number is not the one in the
                index of the recording.
        """
        counts: Counter[str] = Counter()
        for topic, log_time, data in self._storage.messages(topics):
            counts[topic] += 1
            yield topic, log_time, data
        for topic in topics:
            if counts[topic] != self.counts[topic]:
                raise BagError(
                    f"{self.path}: {counts[topic]} messages on {topic}, but its index says "
                    f"{self.counts[topic]}; `ros2 bag reindex` may repair it"
                )

    def decode(self, type_name: str, data: bytes | memoryview) -> Any:
        """Return a message as an object with the fields of its type.

        Raises:
            DecodeError: If the bytes are no such message.
            BagError: If the type's definition is neither in the bag nor installed.
        """
        if type_name not in self._typestores:
            self._typestores[type_name] = self._typestore(type_name)
        try:
            return self._typestores[type_name].deserialize_cdr(data, type_name)
        except KeyError as error:
            raise BagError(
                f"{self.path}: the definition of {type_name} lacks {error}"
            ) from error
        except (SerdeError, AssertionError, IndexError, ValueError, struct.error) as error:
            raise DecodeError(
                f"{self.path}: a {type_name} of {len(data)} bytes cannot be decoded: {error}"
            ) from error

    def digest(self) -> str:
        """Return a SHA-256 in hexadecimal that identifies the recording; see `McapFile.digest`."""
        digest = hashlib.sha256(self._storage.digest())
        if self.path.is_dir():
            digest.update((self.path / METADATA).read_bytes())
        return digest.hexdigest()

    def _typestore(self, type_name: str) -> Typestore:
        """Return a store with one type: of the bag, or the installed one without a definition.

        Raises:
            BagError: If the definition is damaged, or there is none.
        """
        language, text = self._storage.definitions.get(type_name, ("", ""))
        try:
            if language:
                return parsed(type_name, language, text)
            return installed(type_name, self.path)
        except TypesysError as error:
            raise BagError(
                f"{self.path}: the definition of {type_name} cannot be read: {error}"
            ) from error


class _McapStorage:
    """MCAP files that are not compressed as a whole, read through memory maps.

    Args:
        files: In the order of recording.
        check_crc: Compare chunks with their checksums.
        stack: Closes the files.
    """

    def __init__(self, files: Sequence[Path], check_crc: bool, stack: ExitStack) -> None:
        self.types: dict[str, str] = {}
        self.definitions: dict[str, tuple[str, str]] = {}
        self.counts: Counter[str] = Counter()
        self.custom: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._files = [
            stack.enter_context(McapFile(file, check_crc=check_crc)) for file in files
        ]
        for file in self._files:
            for number, channel in file.channels.items():
                _note_type(self, channel.topic, channel.type_name)
                if channel.problem:
                    self.unreadable[channel.topic] = channel.problem
                self.definitions[channel.type_name] = (
                    channel.definition_format,
                    channel.definition,
                )
                self.counts[channel.topic] += file.counts.get(number, 0)
            record = file.metadata.get("rosbag2", {}).get("serialized_metadata", "")
            self.custom |= custom_data(record, file.path)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, memoryview]]:
        """Yield (topic, log time [ns], serialised message) of some topics."""
        for file in self._files:
            names = {}
            for number, channel in file.channels.items():
                if channel.topic in topics:
                    names[number] = channel.topic
            for number, log_time, data in file.messages(names):
                yield names[number], log_time, data

    def digest(self) -> bytes:
        """Return the digests of the files, one after the other."""
        return b"".join(file.digest() for file in self._files)


class _RosbagsStorage:
    """Any other storage, through the `rosbags` library.

    Args:
        path: Folder of the bag, or its only file.
        metadata: Its files and their compression.
        stack: Closes the files.
    """

    def __init__(self, path: Path, metadata: Metadata, stack: ExitStack) -> None:
        self.types: dict[str, str] = {}
        self.definitions: dict[str, tuple[str, str]] = {}
        self.counts: Counter[str] = Counter()
        self.custom: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._path, self._files = path, metadata.files
        self._packed_messages = metadata.compression == "message"
        self._is_database = metadata.storage == "sqlite3" and metadata.compression != "file"
        formats = {
            MessageDefinitionFormat.MSG: "ros2msg",
            MessageDefinitionFormat.IDL: "ros2idl",
        }
        with _rosbags_errors(path):
            # Read as a folder, topics have no messages if their quality of service differs
            # between metadata.yaml and storage; only it unpacks whole files.
            parts = [path] if metadata.compression == "file" else metadata.files
            self._readers = [stack.enter_context(Reader(part)) for part in parts]
            for connection in itertools.chain(
                *(part.connections for part in self._readers)
            ):
                _note_type(self, connection.topic, connection.msgtype)
                self.counts[connection.topic] += connection.msgcount
                if connection.msgdef.format in formats:
                    definition = (formats[connection.msgdef.format], connection.msgdef.data)
                    self.definitions[connection.msgtype] = definition

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, log time [ns], serialised message) of some topics."""
        with _rosbags_errors(self._path):
            for topic, log_time, data in self._recorded(topics):
                if self._packed_messages:
                    where = f"{self._path}: message on {topic}"
                    size = declared_size(data, where)
                    data = unpack("zstd", data, size, where)
                yield topic, log_time, data

    def _recorded(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, log time [ns], message as stored), in the order of recording."""
        if self._is_database:
            for file in self._files:
                yield from _database_messages(file, topics)
            return
        for reader in self._readers:
            connections = []
            for connection in reader.connections:
                if connection.topic in topics:
                    connections.append(connection)
            if not connections:  # without any, the library yields all messages
                continue
            for connection, log_time, data in reader.messages(connections):
                yield connection.topic, log_time, data

    def digest(self) -> bytes:
        """Return the digests of the files, one after the other."""
        return b"".join(bytes.fromhex(sha256(file)) for file in self._files)


def _database_messages(
    file: Path, topics: Collection[str]
) -> Iterator[tuple[str, int, bytes]]:
    """Yield (topic, log time [ns], message as stored) of some topics of an SQLite file.

    The library would order them by log time, which hides that a clock was set back.
    """
    database = apsw.Connection(
        f"file:{quote(str(file))}?immutable=1",
        flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
    )
    query = (
        "SELECT topics.name, messages.timestamp, messages.data FROM messages "
        "JOIN topics ON topics.id = messages.topic_id ORDER BY messages.id"
    )
    with contextlib.closing(database):
        for topic, log_time, data in database.execute(query):
            if not isinstance(log_time, int) or not isinstance(data, bytes):
                raise ValueError(f"message on {topic} has log time {log_time!r:.40}")
            if topic in topics:
                yield str(topic), log_time, data


@contextmanager
def _rosbags_errors(path: Path) -> Iterator[None]:
    """Turn the errors of `rosbags` and SQLite on damaged files into a BagError naming the bag."""
    try:
        yield
    except (ReaderError, apsw.Error, AssertionError, struct.error, ValueError) as error:
        raise BagError(f"{path}: the recording is damaged: {error}") from error


def _note_type(storage: _Storage, topic: str, type_name: str) -> None:
    """Add the type of a topic; one that has another already cannot be read.

    Args:
        storage: Gains the type.
        topic: Name of the topic.
        type_name: Type of its messages.
    """
    known = storage.types.setdefault(topic, type_name)
    if known != type_name:
        storage.unreadable[topic] = f"it has two types, {known} and {type_name}"
