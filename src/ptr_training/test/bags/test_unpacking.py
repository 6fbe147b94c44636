"""Nothing unpacks to more than it declares, nor to more than a recording ever holds."""

from __future__ import annotations

import sys
from pathlib import Path

import lz4.frame
import pytest

from ptr_training.bags import unpacking
from ptr_training.bags.errors import BagError
from ptr_training.bags.unpacking import check_unpacked_size, declared_size, unpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"some text, " * 1000
PACK = {"zstd": zstd.compress, "lz4": lz4.frame.compress}


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_contents_of_all_frames_are_unpacked(compression: str, frames: int) -> None:
    data = PACK[compression](TEXT) * frames
    found = unpack(compression, memoryview(data), frames * len(TEXT), "x")
    assert found == TEXT * frames


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_contents_that_are_longer_than_declared_are_refused_before_they_are_unpacked(
    compression: str,
) -> None:
    bomb = PACK[compression](bytes(1 << 22))
    for data in (bomb, PACK[compression](TEXT) + bomb):
        with pytest.raises(BagError, match=f"x unpacks to more than the {len(TEXT)} bytes"):
            unpack(compression, data, len(TEXT), "x")


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_damaged_contents_are_refused(compression: str) -> None:
    whole = PACK[compression](TEXT)
    with pytest.raises(BagError, match="x cannot be decompressed"):
        unpack(compression, b"damaged" + whole, len(TEXT), "x")
    assert len(unpack(compression, whole[: len(whole) // 2], len(TEXT), "x")) < len(TEXT)


def test_a_size_beyond_every_recording_is_refused() -> None:
    with pytest.raises(BagError, match="x unpacks to 1073741825 bytes; at most 1073741824"):
        unpack("zstd", zstd.compress(TEXT), (1 << 30) + 1, "x")


def test_size_of_a_frame_is_what_it_declares_or_the_largest() -> None:
    assert declared_size(zstd.compress(TEXT), "x") == len(TEXT)
    compressor = zstd.ZstdCompressor()
    streamed = compressor.compress(TEXT) + compressor.flush()
    assert declared_size(streamed, "x") == unpacking.MAX_CHUNK_BYTES
    with pytest.raises(BagError, match="x cannot be decompressed"):
        declared_size(b"no frame", "x")


def test_a_file_that_unpacks_to_far_more_than_a_recording_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_FILE_BYTES", 1 << 16)
    (tmp_path / "small").write_bytes(zstd.compress(TEXT))
    check_unpacked_size(tmp_path / "small")
    (tmp_path / "bomb").write_bytes(zstd.compress(bytes(1 << 22)))
    with pytest.raises(BagError, match="bomb unpacks to more than"):
        check_unpacked_size(tmp_path / "bomb")
