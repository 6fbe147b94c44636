"""BridgeData in RLDS form (TFDS): TFRecord shards of tf.train.Example, one record per episode.

Both generations of the data set are read: `bridge_dataset/1.0.0` as published, which lost
the last observation of every episode, and the later one, which appends a zero action
instead. In both, no observation follows the last action of a record: its L steps become
L - 1 actions between L observations, and the audit counts which kind of action was dropped.
In the published files the last transition is lost by this, so the rewarded steps come one
step before the true end.

The flags of a record are not used: `has_image_*` are wrong in the published files, and
a record that was cut off never sets `is_last`. Both generations were made from data that
had been shifted for latency already (see bridge_raw.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from ptr_training.errors import TrainingError

from .base import (
    BridgePath,
    ImportOptions,
    Record,
    RecordError,
    SourceEpisode,
    check_contents,
    natural_key,
    rows_of_seven,
)
from .tf_example import (
    Features,
    byte_strings,
    decode_text,
    floats,
    integers,
    parse_example,
)

CUT_OFF = "last step not marked as the last: cut off before the end?"
"""Note in the audit for a record whose last step does not set `is_last`."""

PADDED = "padding action dropped"
"""Note for a record of the later generation."""

LAST_DROPPED = "last action dropped: no observation follows it"
"""Note for a record of the published generation."""

FILE_PATH, EPISODE_ID = "episode_metadata/file_path", "episode_metadata/episode_id"

_HEADER = struct.Struct("<QI")  # length of a payload, and the checksum of these 8 bytes
_CHECKSUM = struct.Struct("<I")  # of the payload, after it

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
"""Name of a shard: of which file, its number from 0, and how many there are."""


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the records of shards, or of all shards below folders.

    A record with a damaged length hides the start of the next one: it becomes the last
    record of its file.

    Args:
        paths: Files or folders.

    Raises:
        TrainingError: If a path holds no shard.
    """
    records: list[Record] = []
    for path in paths:
        shards = [path]
        if not path.is_file():
            shards = sorted(path.rglob("[!.]*.tfrecord*"), key=natural_key)
        if not shards:
            raise TrainingError(f"{path} holds no TFRecord shard (*.tfrecord*)")
        _name_missing(shards)
        for shard in shards:
            check_contents(shard)
            records += _records(shard)

    return records


def _name_missing(shards: Sequence[Path]) -> None:
    """Print which shards are not there, where the names of the others say how many there are."""
    present: dict[tuple[Path, int], set[int]] = {}
    for shard in shards:
        if match := _SHARD.fullmatch(shard.name):
            key = shard.with_name(match[1]), int(match[3])
            present.setdefault(key, set()).add(int(match[2]))
    for (name, total), numbers in present.items():
        if len(numbers) < total:
            missing = next(number for number in range(total) if number not in numbers)
            print(
                f"{name}: {len(numbers)} of {total} shards are there, number {missing} is the "
                "first that is not; the others are imported"
            )


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return the episode of a record.

    Raises:
        RecordError: If the record is damaged or not an RLDS episode.
        SkipRecord: If a filter excludes the episode.
    """
    payload = read_payload(record)
    features = parse_example(payload)
    path = "".join(_texts(features, FILE_PATH))
    bridge_path = BridgePath.parse(path) if path else BridgePath(record.label)
    options.check_wanted(bridge_path.folder)
    episode_id = bridge_path.name + _id_suffix(features)
    images = byte_strings(features, f"steps/observation/image_{options.camera_number()}")
    actions = _rows(features, "steps/action")
    if len(images) != len(actions):
        raise RecordError(
            f"{len(images)} images, {len(actions)} actions; a step of RLDS has both"
        )

    notes = _notes(features, actions)
    return SourceEpisode(
        id=episode_id,
        bridge_path=bridge_path,
        sha256=hashlib.sha256(payload).hexdigest(),
        images=images,
        states=_rows(features, "steps/observation/state"),
        actions=actions[:-1],
        language=_instructions(features),
        notes=notes,
    )


def _id_suffix(features: Features) -> str:
    """Return `#NUMBER` of the episode within its source file, "" where it has none."""
    if EPISODE_ID not in features:
        return ""
    return "".join(f"#{number}" for number in integers(features, EPISODE_ID))


def _instructions(features: Features) -> tuple[str, ...]:
    """Return the different instructions of an episode in the order of their steps."""
    texts = dict.fromkeys(_texts(features, "steps/language_instruction"))
    return tuple(text for text in texts if text)


def _notes(features: Features, actions: np.ndarray) -> tuple[str, ...]:
    """Return what the audit notes of an episode with actions of shape (L, 7)."""
    is_padded = len(actions) > 0 and not actions[-1].any()
    notes = [PADDED if is_padded else LAST_DROPPED]
    if not integers(features, "steps/is_last")[-1:].any():
        notes.append(CUT_OFF)
    return tuple(notes)


def _rows(features: Features, name: str) -> np.ndarray:
    """Return a feature of seven numbers in each step, shape (L, 7), float32."""
    values = floats(features, name)
    if len(values) % 7:
        raise RecordError(f"{name} has {len(values)} numbers, no multiple of seven")
    return rows_of_seven(values.reshape(-1, 7), name)


def _texts(features: Features, name: str) -> list[str]:
    """Return a feature that is a list of texts; empty where the record does not have it."""
    if name not in features:
        return []
    return [decode_text(text) for text in byte_strings(features, name)]


# TFRecord: the length of a payload, the checksum of the length, the payload, its checksum
# ---------------------------------------------------------------------------------------


def _records(shard: Path) -> Iterator[Record]:
    """Yield the records of a shard in order, without reading their payloads."""
    number = offset = 0
    with shard.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while offset < end:
            file.seek(offset)
            length = _payload_length(file.read(_HEADER.size))
            size = end - offset
            if length is not None:
                size = _HEADER.size + length + _CHECKSUM.size
            yield Record(shard, f"{shard.name}#{number}", number, offset, size)
            number += 1
            offset += size


def _payload_length(header: bytes) -> int | None:
    """Return the length of a payload from its header, None if the header is damaged."""
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    return length if checksum == masked_crc(header[:8]) else None


def masked_crc(data: bytes) -> int:
    """Return the checksum of a TFRecord: CRC-32C, rotated right by 15 bits, plus a constant."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_payload(record: Record) -> bytes:
    """Return the payload of a record.

    Raises:
        RecordError: If the record is truncated or a checksum is wrong.
    """
    with record.path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - record.offset
        if left < record.size:
            raise RecordError(
                f"truncated: {record.size} bytes long, but the file ends after {left} of them"
            )
        file.seek(record.offset)
        data = file.read(record.size)

    payload = data[_HEADER.size : -_CHECKSUM.size]
    if _payload_length(data[: _HEADER.size]) != len(payload):
        raise RecordError(
            "the checksum of its length is wrong; "
            "nothing can be read from here to the end of the file"
        )

    (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
    if checksum != masked_crc(payload):
        raise RecordError("the checksum of its data (CRC-32C) is wrong")
    return payload
