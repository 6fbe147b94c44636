"""MCAP files through a memory map: messages are views of the file, without a copy.

The hot path (records, chunks, messages) is read here; the rare records (schemas, channels,
statistics) are parsed by the `mcap` library. Format: https://mcap.dev/spec.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import struct
import zlib
from collections import Counter, deque
from collections.abc import Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode

from .errors import BagError
from .unpacking import MAX_FILE_BYTES, MAX_RATIO, unpack

MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")  # opcode, length of the body
# start and end time, uncompressed size, CRC, length of the compression's name
_CHUNK = struct.Struct("<QQQII")
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
RECOVER = "`ptr recover` of its folder restores what can be read of it"

VERIFIERS = 2
"""Threads for each file that compare chunks with their checksums."""

UNSETTLED = 16
"""Chunks that wait for it; bounds the memory of compressed ones."""

_FOOTER_BYTES = _RECORD.size + 20


@dataclass(frozen=True)
class Channel:
    """One topic of one MCAP file."""

    topic: str
    type_name: str  # as package/msg/Name
    definition_format: str  # ros2msg or ros2idl
    definition: str
    metadata: dict[str, str]
    problem: str = ""  # why its messages cannot be read; the type is then empty


@dataclass
class _Contents:
    """Contents of a file, from its summary or from a walk over its records."""

    schemas: dict[int, records.Schema] = field(default_factory=dict)
    channels: dict[int, records.Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    counted: bool = False  # `counts` comes from a statistics record


class McapFile:
    """One MCAP file opened for reading; a context manager.

    Args:
        path: The file.
        check_crc: Compare every chunk with its CRC-32 while reading, where the writer
            stored one.
        salvage: Read an unfinished file up to its last whole chunk instead of refusing it.

    Raises:
        BagError: If it is missing, not MCAP, or (unless `salvage`) unfinished.
    """

    def __init__(
        self, path: Path, *, check_crc: bool = False, salvage: bool = False
    ) -> None:
        self.path = path
        self._check_crc = check_crc or salvage
        self._verified: set[int] = set()  # chunks whose CRC-32 is or was compared
        self._sized: set[int] = set()  # compressed chunks that are part of the next number
        self._unpacked = 0  # bytes
        self._pool = ThreadPoolExecutor(VERIFIERS)
        self._unsettled: deque[Future[None]] = deque()
        self._salvage = salvage
        self._map = _map_file(path)
        self._view = memoryview(self._map)
        if self._view[: len(MAGIC)] != MAGIC:
            raise BagError(
                f"{path} is not an MCAP file: it starts with {bytes(self._view[:8])!r}"
            )

        self._contents = self._scan() if salvage else (self._read_summary() or self._scan())
        self.channels: dict[int, Channel] = {}
        for number, channel in self._contents.channels.items():
            self.channels[number] = self._describe(channel)

    def __enter__(self) -> McapFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._unsettled.clear()
        try:
            self._view.release()
            self._map.close()
        except BufferError:
            pass  # a view of a message is still in use; the map is closed with the last one

    @property
    def counts(self) -> dict[int, int]:
        """Messages of each channel, as the file's statistics say."""
        return dict(self._contents.counts)

    @property
    def metadata(self) -> dict[str, dict[str, str]]:
        """Metadata records by name."""
        return self._contents.metadata

    def messages(
        self, channels: Container[int] | None = None
    ) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (channel, log time [ns], serialised message) in the order of the file.

        Args:
            channels: Numbers of the channels wanted; all by default.

        Raises:
            BagError: At the first damaged record, unless the file was opened with
            `salvage`.
        """
        for opcode, body in self._walk():
            if opcode != Opcode.MESSAGE:
                continue
            if len(body) < _MESSAGE.size:
                raise BagError(
                    f"{self.path}: message record of {len(body)} bytes is too short"
                )
            number, _, log_time, _ = _MESSAGE.unpack_from(body)
            if number not in self.channels:
                raise BagError(
                    f"{self.path}: message of channel {number}, "
                    "which the file does not describe"
                )
            if channels is None or number in channels:
                yield number, log_time, body[_MESSAGE.size :]

    def digest(self) -> bytes:
        """Return a SHA-256 that identifies the file's contents.

        It covers every byte, except that chunks with a CRC-32 enter with that in place of
        their payload: to read gigabytes of pixels would take as long as to export them.
        """
        digest = hashlib.sha256()
        last = len(self._view) - len(MAGIC)
        for opcode, start, end in _records(self._view, len(MAGIC), last, self.path):
            crc = _CHUNK.unpack_from(self._view, start)[3] if opcode == Opcode.CHUNK else 0
            if crc:
                end = start + _CHUNK.size
            digest.update(self._view[start - _RECORD.size : end])
        return digest.digest()

    def _walk(self) -> Iterator[tuple[int, memoryview]]:
        """Yield (opcode, body) of all records of the data section, also those inside chunks.

        With `salvage` it ends at the first damaged record.
        """
        try:
            yield from self._data_records()
        except BagError:
            if not self._salvage:
                raise

    def _data_records(self) -> Iterator[tuple[int, memoryview]]:
        """Yield (opcode, body) like `_walk`; raises BagError at the first damaged record."""
        view, path = self._view, self.path
        for opcode, start, end in _records(view, len(MAGIC), len(view), path):
            if opcode == Opcode.DATA_END:
                while self._unsettled:
                    self._unsettled.popleft().result()
                return
            if opcode != Opcode.CHUNK:
                yield opcode, view[start:end]
                continue
            chunk = self._open_chunk(start, end)
            inside = _records(chunk, 0, len(chunk), path, start)
            for inner_opcode, inner_start, inner_end in inside:
                yield inner_opcode, chunk[inner_start:inner_end]
        raise BagError(f"{path} has no end: the recording was interrupted; {RECOVER}")

    def _open_chunk(self, start: int, end: int) -> memoryview:
        """Return the records, decompressed, of the chunk with a body between two offsets.

        Args:
            start: Offset of the first byte of the body in the file.
            end: Offset after its last byte.

        Raises:
            BagError: If the chunk is damaged or its compression unknown.
        """
        where = f"{self.path}: chunk at byte {start - _RECORD.size}"
        if end - start < _CHUNK.size + 8:
            raise BagError(f"{where} is too short")
        _, _, size, crc, name_length = _CHUNK.unpack_from(self._view, start)
        payload = start + _CHUNK.size + name_length + 8
        name = bytes(self._view[start + _CHUNK.size : payload - 8])
        compression = name.decode("utf-8", "replace")
        data = self._view[payload:end]
        if compression:
            self._unpacked += size if start not in self._sized else 0
            self._sized.add(start)
            if self._unpacked > MAX_FILE_BYTES + MAX_RATIO * len(self._view):
                raise BagError(
                    f"{where}: the chunks unpack to {self._unpacked} bytes so far"
                )
            data = memoryview(unpack(compression, data, size, where))
        if len(data) != size:
            raise BagError(
                f"{where} has {len(data)} bytes, its header says {size}; the file is damaged"
            )

        if self._check_crc and crc and start not in self._verified:
            self._verify(start, data, crc, where)
        return data

    def _verify(self, start: int, data: memoryview, crc: int, where: str) -> None:
        """Compare a chunk with its CRC-32 in another thread; `salvage` waits for the result.

        zlib releases the interpreter's lock, so that the reader goes on. It raises BagError
        for a chunk a few chunks later, at the latest at the end of the data.

        Args:
            start: Offset of its body in the file.
            data: Its contents.
            crc: What they should have.
            where: Place of the chunk, for the message of an error.
        """
        self._unsettled.append(self._pool.submit(_compare, data, crc, where))
        while self._unsettled and (
            self._salvage or len(self._unsettled) > UNSETTLED or self._unsettled[0].done()
        ):
            self._unsettled.popleft().result()
        self._verified.add(start)

    def _read_summary(self) -> _Contents | None:
        """Return the contents that the summary section lists.

        None if the writer left schemas, channels or statistics out.
        """
        end = len(self._view) - len(MAGIC)
        footer = end - _FOOTER_BYTES
        if (
            footer < len(MAGIC)
            or self._view[end:] != MAGIC
            or self._view[footer] != Opcode.FOOTER
        ):
            raise BagError(
                f"{self.path} is truncated: it does not end as an MCAP file does "
                f"({RECOVER})"
            )

        start = struct.unpack_from("<Q", self._view, footer + _RECORD.size)[0]
        contents = _Contents()
        records_of_summary = _records(self._view, start or footer, footer, self.path)
        for opcode, body_start, body_end in records_of_summary:
            self._note(contents, opcode, self._view[body_start:body_end])
        if contents.counted and set(contents.counts) <= set(contents.channels):
            return contents
        return None

    def _scan(self) -> _Contents:
        """Return the contents that a walk over all records finds.

        Raises:
            BagError: At the first damaged record, unless the file was opened with `salvage`.
        """
        contents = _Contents()
        for opcode, body in self._walk():
            self._note(contents, opcode, body)
            if opcode == Opcode.MESSAGE:
                contents.counts[_MESSAGE.unpack_from(body)[0]] += 1
        return contents

    def _note(self, contents: _Contents, opcode: int, body: memoryview) -> None:
        """Add a record to the contents; raises BagError if it is damaged.

        Args:
            contents: Gains what the record says; other kinds of records are skipped.
            opcode: Kind of the record.
            body: Its bytes.
        """
        try:
            if opcode == Opcode.SCHEMA:
                schema = records.Schema.read(_stream(body))
                contents.schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                channel = records.Channel.read(_stream(body))
                contents.channels[channel.id] = channel
            elif opcode == Opcode.METADATA:
                metadata = records.Metadata.read(_stream(body))
                contents.metadata[metadata.name] = metadata.metadata
            elif opcode == Opcode.METADATA_INDEX:
                index = records.MetadataIndex.read(_stream(body))
                start, end = index.offset + _RECORD.size, index.offset + index.length
                self._note(contents, Opcode.METADATA, self._view[start:end])
            elif opcode == Opcode.STATISTICS:
                statistics = records.Statistics.read(_stream(body))
                contents.counts.update(statistics.channel_message_counts)
                contents.counted = True
        except (McapError, struct.error, UnicodeDecodeError) as error:
            raise BagError(
                f"{self.path}: damaged {Opcode(opcode).name.lower()} record: {error!r}"
            ) from error

    def _describe(self, channel: records.Channel) -> Channel:
        """Return a channel with its type, or with the reason why it cannot be read.

        Args:
            channel: As the file describes it.
        """
        schema = self._contents.schemas.get(channel.schema_id)
        problem = ""
        if channel.message_encoding != "cdr":
            problem = f"it is encoded as {channel.message_encoding!r}, expected 'cdr'"
        elif schema is None:
            problem = (
                "it has no schema: the shell that recorded had not sourced the package of "
                "its type"
            )
        if schema is None or problem:
            return Channel(channel.topic, "", "", "", channel.metadata, problem)
        return Channel(
            channel.topic,
            schema.name,
            schema.encoding,
            schema.data.decode("utf-8", "replace"),
            channel.metadata,
        )


def _records(
    view: memoryview, start: int, end: int, path: Path, base: int = 0
) -> Iterator[tuple[int, int, int]]:
    """Yield (opcode, start, end) of the body of each record between two offsets of `view`.

    Args:
        view: Bytes of a file or of a chunk.
        start: Offset of the first record.
        end: Offset after the last one.
        path: File that a message of an error names.
        base: Offset in the file that such a message adds.

    Raises:
        BagError: If a record is longer than the bytes that are left.
    """
    while start < end:
        if end - start < _RECORD.size:
            raise BagError(
                f"{path}: {end - start} bytes at byte {base + start} are no record; "
                "the file is truncated"
            )
        opcode, length = _RECORD.unpack_from(view, start)
        body = start + _RECORD.size
        if length > end - body:
            raise BagError(
                f"{path}: record at byte {base + start} should have {length} bytes, "
                f"only {end - body} are left; "
                f"the file is truncated ({RECOVER})"
            )
        yield opcode, body, body + length
        start = body + length


def _map_file(path: Path) -> mmap.mmap:
    """Return a file as memory; raises BagError if it is missing or empty."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise BagError(f"{path} does not exist") from error
    except ValueError as error:
        raise BagError(f"{path} is empty") from error


def _compare(data: memoryview, crc: int, where: str) -> None:
    """Raise BagError if the contents of a chunk do not have a CRC-32."""
    if zlib.crc32(data) != crc:
        raise BagError(f"{where}: checksum does not match; the file is damaged")


def _stream(body: memoryview) -> ReadDataStream:
    return ReadDataStream(io.BytesIO(body))
