"""BridgeData in RLDS form (TFDS): TFRecord shards of tf.train.Example, one record per episode, without TensorFlow.

Both generations of the data set are read: `bridge_dataset/1.0.0` as published, which lost
the last observation of every episode, and the later one, which appends a zero action
instead. Either way no observation follows the last action of a
record: its L steps become L - 1 actions between L observations, and the audit counts which
of the two was dropped. In the published files the last transition of all is lost by this,
so the rewarded ones lie one step before the true end.

The flags of a record are not believed: `has_image_*` are wrong in the published files, and
a record that was cut off never sets `is_last`. Both generations were made from data shifted
for latency already (see bridge_raw.py).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from ptr_training.errors import TrainingError

from .base import (
    BridgePath,
    ImportOptions,
    Record,
    RecordError,
    SourceEpisode,
    natural,
    seven,
)

CUT_OFF = "last step not marked as the last: cut off before the end?"
"""What the audit notes of a record whose end is not the end it should have."""

Features = dict[str, tuple[int, memoryview]]
"""The features of a tf.train.Example by name: kind of list (see `_KINDS`) and the list, still encoded."""

_KINDS = {1: "bytes", 2: "floats", 3: "integers"}
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_FRAME = struct.Struct("<QI")  # length of a payload, and the checksum of these 8 bytes
_CHECKSUM = struct.Struct("<I")  # of the payload, behind it


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the records of some shards, or of all shards below some folders.

    Where a record is so damaged that it hides the beginning of the next one, it is the last
    of its file.

    Raises:
        TrainingError: If a path holds no shard.
    """
    records = []
    for path in paths:
        shards = (
            [path] if path.is_file() else sorted(path.rglob("*.tfrecord*"), key=natural)
        )
        if not shards:
            raise TrainingError(f"{path} holds no TFRecord shard (*.tfrecord*)")
        records += [record for shard in shards for record in _records(shard)]
    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return the episode of a record.

    Raises:
        RecordError: If the record is damaged or no RLDS episode.
        SkipRecord: If a filter excludes it.
    """
    payload = read_payload(record)
    features = parse_example(payload)
    path = "".join(_texts(features, "episode_metadata/file_path"))
    place = BridgePath.of(path) if path else BridgePath(record.label)
    options.check_wanted(place.folder)
    number = (
        integers(features, "episode_metadata/episode_id")
        if "episode_metadata/episode_id" in features
        else ()
    )
    pictures = byte_strings(features, f"steps/observation/image_{options.camera_number()}")
    actions = _rows(features, "steps/action")
    if len(pictures) != len(actions):
        raise RecordError(
            f"{len(pictures)} pictures, {len(actions)} actions; a step of RLDS has both"
        )
    padded = len(actions) and not actions[-1].any()
    notes = [
        "padding action dropped"
        if padded
        else "last action dropped: no observation follows it"
    ]
    if not integers(features, "steps/is_last")[-1:].any():
        notes.append(CUT_OFF)
    return SourceEpisode(
        id=place.name + "".join(f"#{each}" for each in number),
        place=place,
        sha256=hashlib.sha256(payload).hexdigest(),
        pictures=pictures,
        states=_rows(features, "steps/observation/state"),
        actions=actions[:-1],
        language=tuple(
            filter(None, dict.fromkeys(_texts(features, "steps/language_instruction")))
        ),
        notes=tuple(notes),
    )


def _records(shard: Path) -> Iterator[Record]:
    number = offset = 0
    with shard.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while offset < end:
            file.seek(offset)
            length = _payload_length(file.read(_FRAME.size))
            size = end - offset if length is None else _FRAME.size + length + _CHECKSUM.size
            yield Record(shard, f"{shard.name}#{number}", number, offset, size)
            number, offset = number + 1, offset + size


def _payload_length(head: bytes) -> int | None:
    """Return the length that the head of a record gives, None if the head is damaged."""
    if len(head) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(head)
    return length if checksum == masked_crc(head[:8]) else None


def masked_crc(data: bytes) -> int:
    """Return the checksum of a TFRecord: CRC-32C, rotated right by 15 bits, plus a constant."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_payload(record: Record) -> bytes:
    """Return the payload of a record; raises RecordError if it is truncated or a checksum is wrong."""
    with record.path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - record.offset
        if left < record.size:
            raise RecordError(
                f"truncated: {record.size} bytes long, but the file ends after {left} of them"
            )
        file.seek(record.offset)
        data = file.read(record.size)
    payload = data[_FRAME.size : -_CHECKSUM.size]
    if _payload_length(data[: _FRAME.size]) != len(payload):
        raise RecordError(
            "the checksum of its length is wrong; nothing can be read from here to the end of the file"
        )
    if _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0] != masked_crc(payload):
        raise RecordError("the checksum of its data (CRC-32C) is wrong")
    return payload


def parse_example(payload: bytes) -> Features:
    """Return the features of a serialised tf.train.Example; raises RecordError if it is none."""
    features: Features = {}
    for number, value in _submessages(memoryview(payload)):
        if number == 1:  # Example.features
            for _, entry in _submessages(value):  # Features.feature, a map
                parts = dict(_submessages(entry))
                kinds = dict(_submessages(parts.get(2, memoryview(b""))))
                features[_decode(parts.get(1, memoryview(b"")))] = next(
                    iter(kinds.items()), (1, memoryview(b""))
                )
    return features


def byte_strings(features: Features, name: str) -> list[memoryview]:
    """Return a list of byte strings; raises RecordError if there is none of this name."""
    return [value for _, value in _submessages(_list(features, name, 1))]


def floats(features: Features, name: str) -> np.ndarray:
    """Return a list of numbers, packed or not, as float32; raises RecordError if there is none of this name."""
    parts = [
        value
        for _, wire, value in _fields(_list(features, name, 2))
        if wire in (_FIXED32, _DELIMITED)
    ]
    data = b"".join(parts)
    if len(data) % 4:
        raise RecordError(f"{name} has {len(data)} bytes, no whole number of floats")
    return np.frombuffer(data, "<f4")


def integers(features: Features, name: str) -> np.ndarray:
    """Return a list of integers, packed or not, as int64; raises RecordError if there is none of this name."""
    values: list[int] = []
    for _, wire, value in _fields(_list(features, name, 3)):
        if wire == _VARINT:
            values.append(value)
            continue
        position = 0
        while position < len(value):
            each, position = _varint(value, position)
            values.append(each)
    return np.array(values, np.uint64).astype(
        np.int64
    )  # negative ones are written as their two's complement


def _list(features: Features, name: str, kind: int) -> memoryview:
    if name not in features:
        raise RecordError(
            f"no RLDS episode of BridgeData: it lacks {name}; it has {', '.join(sorted(features)) or 'nothing'}"
        )
    found, encoded = features[name]
    if found != kind:
        raise RecordError(
            f"{name} holds {_KINDS.get(found, found)}, expected {_KINDS[kind]}"
        )
    return encoded


def _rows(features: Features, name: str) -> np.ndarray:
    values = floats(features, name)
    if len(values) % 7:
        raise RecordError(f"{name} has {len(values)} numbers, no multiple of seven")
    return seven(values.reshape(-1, 7), name)


def _texts(features: Features, name: str) -> list[str]:
    return (
        [_decode(each) for each in byte_strings(features, name)] if name in features else []
    )


def _decode(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace").strip()


def _submessages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of every delimited field: messages, strings, bytes."""
    return ((number, value) for number, wire, value in _fields(data) if wire == _DELIMITED)


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield number, wire type and value of every field of an encoded message: an int for varints, else its bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, wire, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _DELIMITED:
            length, position = _varint(data, position)
        if length is None or position + length > len(data):
            raise RecordError(
                f"no tf.train.Example: a field of wire type {wire} at byte {position} of {len(data)}"
            )
        yield key >> 3, wire, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position == len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise RecordError(
        f"no tf.train.Example: an integer runs past byte {position} of {len(data)}"
    )
