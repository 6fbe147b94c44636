"""Recordings of rosbag2 behind one interface: MCAP and SQLite, whole or split, compressed or not.

Plain MCAP is read through a memory map (`mcap_reader`); everything else goes through the
`rosbags` library.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import struct
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import apsw
import yaml
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from ptr_common.documents import parse_yaml
from ptr_common.files import sha256

from .mcap_reader import BagError, McapFile


class DecodeError(BagError):
    """One message cannot be decoded."""


class _Storage(Protocol):
    """Reader of the files of a bag."""

    types: dict[str, str]  # topic -> type name
    definitions: dict[str, tuple[str, str]]  # type name -> (ros2msg or ros2idl, text)
    counts: Counter[str]  # topic -> messages, as the recording says
    custom: dict[str, str]

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

    Raises:
        BagError: If it is missing, unfinished or damaged.
    """

    def __init__(self, path: Path, *, check_crc: bool = False) -> None:
        self.path = path
        self.name = path.stem if path.is_file() else path.resolve().name
        self._metadata = _read_metadata(path)
        with ExitStack() as stack:
            self._storage = _open_storage(path, self._metadata, check_crc, stack)
            self._stack = stack.pop_all()

        self.types = dict(sorted(self._storage.types.items()))
        self.counts = self._storage.counts
        custom = self._metadata.get("custom_data") or self._storage.custom or {}
        self.custom = {key: str(value) for key, value in custom.items()}
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
        if self._metadata:
            digest.update((self.path / "metadata.yaml").read_bytes())
        return digest.hexdigest()

    def _typestore(self, type_name: str) -> Typestore:
        """Return a store with one type: of the bag, or the installed one without a definition.

        Raises:
            BagError: If the definition is damaged, or there is none.
        """
        language, text = self._storage.definitions.get(type_name, ("", ""))
        try:
            if language:
                return _parsed(type_name, language, text)
            return _installed(type_name, self.path)
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

    def __init__(self, files: list[Path], check_crc: bool, stack: ExitStack) -> None:
        self.types: dict[str, str] = {}
        self.definitions: dict[str, tuple[str, str]] = {}
        self.counts: Counter[str] = Counter()
        self.custom: dict[str, str] = {}
        self._files = [
            stack.enter_context(McapFile(file, check_crc=check_crc)) for file in files
        ]
        for file in self._files:
            for number, channel in file.channels.items():
                _note_type(self.types, channel.topic, channel.type_name, file.path)
                self.definitions[channel.type_name] = (
                    channel.definition_format,
                    channel.definition,
                )
                self.counts[channel.topic] += file.counts.get(number, 0)
            record = file.metadata.get("rosbag2", {}).get("serialized_metadata", "")
            self.custom |= (parse_yaml(record) or {}).get("custom_data") or {}

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
        files: In the order of recording.
        compressed: Whether messages or files are compressed; such a bag is read as a folder.
        stack: Closes the files.
    """

    def __init__(
        self, path: Path, files: list[Path], compressed: bool, stack: ExitStack
    ) -> None:
        self.types: dict[str, str] = {}
        self.definitions: dict[str, tuple[str, str]] = {}
        self.counts: Counter[str] = Counter()
        self.custom: dict[str, str] = {}
        self._path, self._files = path, files
        formats = {
            MessageDefinitionFormat.MSG: "ros2msg",
            MessageDefinitionFormat.IDL: "ros2idl",
        }
        with _rosbags_errors(path):
            # Read as a folder, topics have no messages if their quality of service differs
            # between metadata.yaml and storage.
            parts = [path] if compressed else files
            self._readers = [stack.enter_context(Reader(part)) for part in parts]
            for connection in itertools.chain(
                *(part.connections for part in self._readers)
            ):
                _note_type(self.types, connection.topic, connection.msgtype, path)
                self.counts[connection.topic] += connection.msgcount
                if connection.msgdef.format in formats:
                    definition = (formats[connection.msgdef.format], connection.msgdef.data)
                    self.definitions[connection.msgtype] = definition

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, log time [ns], serialised message) of some topics."""
        with _rosbags_errors(self._path):
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


@contextmanager
def _rosbags_errors(path: Path) -> Iterator[None]:
    """Turn the errors of `rosbags` and SQLite on damaged files into a BagError naming the bag."""
    try:
        yield
    except (ReaderError, apsw.Error, AssertionError, struct.error, ValueError) as error:
        raise BagError(f"{path}: the recording is damaged: {error}") from error


def _read_metadata(path: Path) -> dict[str, Any]:
    """Return the contents of metadata.yaml; empty for a single file.

    Raises:
        BagError: If the bag or the file is missing, or the file is damaged.
    """
    if not path.exists():
        raise BagError(f"{path} does not exist")
    if path.is_file():
        return {}
    file = path / "metadata.yaml"
    if path.name.endswith(".partial"):
        raise BagError(
            f"{path} is an interrupted recording; `ptr recover {path.parent}` restores it"
        )

    if not file.is_file():
        raise BagError(
            f"{path} is not a bag: it has no metadata.yaml (`ros2 bag reindex` makes one)"
        )

    try:
        described = parse_yaml(file.read_text())["rosbag2_bagfile_information"]
        described["storage_identifier"], described["relative_file_paths"][0]
        if max(len(Path(name).name) for name in described["relative_file_paths"]) > 255:
            raise TypeError("a file has a name of more than 255 characters")
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, IndexError) as error:
        raise BagError(f"{file} cannot be read: {error!r}") from error

    return described


def _open_storage(
    path: Path, metadata: dict[str, Any], check_crc: bool, stack: ExitStack
) -> _Storage:
    """Open the files of a bag until `stack` closes; raises BagError if one is missing.

    Args:
        path: Folder of the bag, or its only file.
        metadata: Contents of metadata.yaml; empty for a single file.
        check_crc: Compare chunks with their checksums.
        stack: Closes the files.
    """
    if not metadata:
        if path.suffix not in (".mcap", ".db3"):
            raise BagError(
                f"{path} is not a bag: expected a folder with metadata.yaml, "
                "a .mcap or a .db3 file"
            )
        metadata = {
            "storage_identifier": path.suffix[1:],
            "relative_file_paths": [path.name],
        }

    folder = path.parent if path.is_file() else path
    files = [folder / Path(name).name for name in metadata["relative_file_paths"]]
    for file in files:
        if not file.is_file():
            raise BagError(f"{file} does not exist, but {path / 'metadata.yaml'} names it")

    if metadata["storage_identifier"] == "mcap" and not metadata.get("compression_mode"):
        return _McapStorage(files, check_crc, stack)
    return _RosbagsStorage(path, files, bool(metadata.get("compression_mode")), stack)


def _note_type(types: dict[str, str], topic: str, type_name: str, path: Path) -> None:
    """Add the type of a topic; raises BagError if it has another one already.

    Args:
        types: Type by topic, to be added to.
        topic: Name of the topic.
        type_name: Type of its messages.
        path: File that the message of an error names.
    """
    if types.setdefault(topic, type_name) != type_name:
        raise BagError(
            f"{path}: topic {topic} has two types, {types[topic]} and {type_name}"
        )


@functools.lru_cache(maxsize=64)
def _parsed(type_name: str, language: str, text: str) -> Typestore:
    """Return a store with the types of one definition, parsed once for all bags with it.

    Args:
        type_name: Type that the definition is of.
        language: Language of the definition, ros2msg or ros2idl.
        text: The definition, with those of the types it uses.
    """
    types: dict[str, Any] = {}
    if language == "ros2idl":
        # files one after the other, each below a line "IDL: package/msg/Name"
        for part in text.split("=" * 80 + "\n"):
            if part.startswith("IDL: "):
                part = part.split("\n", 1)[1]
            if part:
                types |= get_types_from_idl(part)
    else:
        types = dict(get_types_from_msg(text, type_name))

    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def _installed(type_name: str, path: Path) -> Typestore:
    """Return a store with an installed type (SQLite bags of Humble define none).

    The types of ROS 2 Humble are part of the library; others are searched in the workspaces
    of AMENT_PREFIX_PATH.

    Raises:
        BagError: If the type is not installed.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    if type_name in store.types:
        return store
    package, _, name = type_name.split("/")
    prefixes = [sys.prefix]
    if workspaces := os.environ.get("AMENT_PREFIX_PATH", ""):
        prefixes = [*filter(None, workspaces.split(os.pathsep)), sys.prefix]
    for prefix in prefixes:
        folder = Path(prefix) / "share" / package / "msg"
        if not (folder / f"{name}.msg").is_file():
            continue
        for file in sorted(folder.glob("*.msg")):
            types = get_types_from_msg(file.read_text(), f"{package}/msg/{file.stem}")
            store.register(types)
        return store

    raise BagError(
        f"{path} does not define {type_name}, and {package} is not installed below "
        f"{', '.join(prefixes)}: source the workspace's setup file, "
        "or record with `ros2 bag record --storage mcap`"
    )
