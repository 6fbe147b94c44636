"""Unpacks compressed chunks, messages and files, never further than a limit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import lz4.frame

from .errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_CHUNK_BYTES = 1 << 30
"""Largest chunk or message [bytes]; recorders write chunks of 1 to 16 MB."""

MAX_FILE_BYTES = 8 << 30
MAX_RATIO = 200
"""Bytes, and times its own size beyond them, that a file may unpack to."""

_BLOCK = 1 << 24


def unpack(compression: str, data: bytes | memoryview, size: int, where: str) -> bytes:
    """Return the unpacked contents of a chunk or a message.

    Args:
        compression: zstd or lz4.
        data: Compressed bytes.
        size: Bytes that the contents may have; it is read no further.
        where: Place in the recording, for the message of an error.

    Raises:
        BagError: If they are damaged, longer, or compressed otherwise.
    """
    if size > MAX_CHUNK_BYTES:
        raise BagError(
            f"{where} unpacks to {size} bytes; at most {MAX_CHUNK_BYTES} are read"
        )
    if compression not in ("zstd", "lz4"):
        raise BagError(
            f"{where} is compressed with {compression!r}; readable: zstd, lz4 or none"
        )
    parts: list[bytes] = []
    total = 0
    try:
        for part in _parts(compression, data, size + 1):
            parts.append(part)
            total += len(part)
            if total > size:
                raise BagError(
                    f"{where} unpacks to more than the {size} bytes it may have; "
                    "the file is damaged"
                )
    except (zstd.ZstdError, RuntimeError, EOFError) as error:
        raise BagError(
            f"{where} cannot be decompressed ({compression}): {error}"
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def declared_size(data: bytes | memoryview, where: str) -> int:
    """Return the size that a zstd frame says its contents have, or the largest allowed one.

    Args:
        data: The frame.
        where: Place in the recording, for the message of an error.

    Raises:
        BagError: If it is no such frame.
    """
    try:
        size = zstd.get_frame_info(data).decompressed_size
    except (zstd.ZstdError, ValueError) as error:
        raise BagError(f"{where} cannot be decompressed (zstd): {error}") from error
    return MAX_CHUNK_BYTES if size is None else size


def check_unpacked_size(file: Path) -> None:
    """Raise BagError if a zstd file unpacks to far more than a recording does.

    Args:
        file: The compressed file.
    """
    limit = MAX_FILE_BYTES + MAX_RATIO * file.stat().st_size
    total = 0
    try:
        with zstd.open(file, "rb") as unpacked:
            while block := unpacked.read(_BLOCK):
                total += len(block)
                if total > limit:
                    raise BagError(f"{file} unpacks to more than {limit} bytes")
    except (zstd.ZstdError, EOFError) as error:
        raise BagError(f"{file} cannot be decompressed (zstd): {error}") from error


def _parts(compression: str, data: bytes | memoryview, limit: int) -> Iterator[bytes]:
    """Yield the contents of all frames, of each at most `limit` bytes."""
    rest = data
    while len(rest):
        if compression == "zstd":
            zstd_frame = zstd.ZstdDecompressor()
            yield zstd_frame.decompress(rest, max_length=limit)
            is_whole, rest = zstd_frame.eof, zstd_frame.unused_data
        else:
            lz4_frame = lz4.frame.LZ4FrameDecompressor()
            yield lz4_frame.decompress(rest, max_length=limit)
            is_whole, rest = lz4_frame.eof, lz4_frame.unused_data or b""
        if not is_whole:
            return  # too long, which the caller sees, or truncated: then too short
