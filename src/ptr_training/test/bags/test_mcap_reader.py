"""MCAP through a memory map: messages of the reference library, and damage that is found."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType, Writer

from ptr_training.bags import mcap_reader
from ptr_training.bags.errors import BagError
from ptr_training.bags.mcap_reader import McapFile


def write(
    path: Path,
    messages: list[tuple[int, int, bytes]],
    *,
    compression: CompressionType = CompressionType.NONE,
    chunking: bool = True,
    summary: bool = True,
) -> Path:
    """Write (channel, log time, payload) messages with the mcap library; chunks are small."""
    with path.open("wb") as file:
        writer = Writer(
            file,
            chunk_size=400,
            compression=compression,
            use_chunking=chunking,
            use_statistics=summary,
            repeat_channels=summary,
            repeat_schemas=summary,
            index_types=IndexType.ALL if summary else IndexType.NONE,
        )
        writer.start("ros2", "test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        for number in range(2):
            writer.register_channel(f"/topic{number}", "cdr", schema, {"key": "value"})
        for channel, log_time, payload in messages:
            writer.add_message(channel, log_time, payload, log_time)
        writer.add_metadata("rosbag2", {"a": "b"})
        writer.finish()
    return path


MESSAGES = [
    (1 + index % 2, 1000 + index, bytes([index]) * (index * 7 % 90)) for index in range(60)
]


def read(path: Path, **options: bool) -> list[tuple[int, int, bytes]]:
    with McapFile(path, **options) as file:
        return [
            (number, log_time, bytes(data)) for number, log_time, data in file.messages()
        ]


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.LZ4])
@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("summary", [True, False])
def test_messages_channels_and_counts_are_those_written(
    tmp_path: Path, compression: CompressionType, chunking: bool, summary: bool
) -> None:
    path = write(
        tmp_path / "a.mcap",
        MESSAGES,
        compression=compression,
        chunking=chunking,
        summary=summary,
    )
    assert read(path, check_crc=True) == MESSAGES
    with McapFile(path) as file:
        assert file.counts == {1: 30, 2: 30}
        assert {number: channel.topic for number, channel in file.channels.items()} == {
            1: "/topic0",
            2: "/topic1",
        }
        assert file.channels[1].definition == "string data\n"
        assert file.channels[1].metadata == {"key": "value"}
        assert file.metadata == {"rosbag2": {"a": "b"}}
        assert [log_time for _, log_time, _ in file.messages({2})] == [
            1001 + 2 * index for index in range(30)
        ]


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.integers(0, 2**63 - 1), st.binary(max_size=200)),
        max_size=20,
    )
)
def test_reader_agrees_with_the_mcap_library(
    tmp_path: Path, messages: list[tuple[int, int, bytes]]
) -> None:
    path = write(tmp_path / "a.mcap", messages)
    with path.open("rb") as file:
        reference = make_reader(file).iter_messages(log_time_order=False)
        assert read(path) == [
            (channel.id, message.log_time, message.data)
            for _, channel, message in reference
        ]


def test_messages_are_views_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES)
    with McapFile(path) as file:
        views = [np.frombuffer(data, np.uint8) for _, _, data in file.messages()]
        assert not any(
            view.flags.owndata or view.flags.writeable for view in views if len(view)
        )
        whole = np.frombuffer(file._map, np.uint8)
        assert all(np.shares_memory(view, whole) for view in views if len(view))


def test_view_outlives_the_file(tmp_path: Path) -> None:
    with McapFile(write(tmp_path / "a.mcap", MESSAGES)) as file:
        kept = [data for _, _, data in file.messages()][-1]
    assert bytes(kept) == MESSAGES[-1][2]


@pytest.mark.parametrize("left", [0, 5, 8, 50, 200, -1, -8, -20, -200])
def test_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, left: int) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(BagError, match=r"a\.mcap.*(truncated|empty|not an MCAP file)"):
        read(path)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(share=st.floats(0, 1))
def test_salvage_returns_a_prefix_whatever_is_left(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES)
    whole = path.read_bytes()
    path.write_bytes(whole[: 40 + int(share * (len(whole) - 40))])
    found = read(path, salvage=True)
    assert found == MESSAGES[: len(found)]


def test_salvage_keeps_all_whole_chunks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES)
    with path.open("rb") as opened:
        summary = make_reader(opened).get_summary()
        assert summary is not None
        chunks = summary.chunk_indexes
    path.write_bytes(
        path.read_bytes()[: chunks[4].chunk_start_offset + chunks[4].chunk_length - 1]
    )
    with McapFile(path, salvage=True) as file:
        found = list(file.messages())
        assert len(found) == 1 + MESSAGES.index(
            next(m for m in MESSAGES if m[1] == chunks[3].message_end_time)
        )


def test_altered_chunk_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES)
    data = bytearray(path.read_bytes())
    place = data.index(MESSAGES[25][2])
    data[place + 3] ^= 1
    path.write_bytes(data)
    read(path)
    with pytest.raises(
        BagError, match=r"a\.mcap: chunk at byte \d+: checksum does not match"
    ):
        read(path, check_crc=True)


def test_digest_changes_with_any_payload(tmp_path: Path) -> None:
    digests = set()
    for altered in range(3):
        messages = [*MESSAGES[:10], (1, 2000, bytes([altered]) * 50), *MESSAGES[11:]]
        for chunking in (True, False):
            with McapFile(write(tmp_path / "a.mcap", messages, chunking=chunking)) as file:
                assert file.digest() == file.digest()
                digests.add(file.digest())
    assert len(digests) == 6


def test_records_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES, chunking=False)
    data = bytearray(path.read_bytes())
    place = data.index(MESSAGES[25][2]) - 22  # start of the message's body: its channel
    data[place : place + 2] = struct.pack("<H", 999)
    path.write_bytes(data)
    with pytest.raises(BagError, match="message of channel 999"):
        read(path)
    data[place - 8 : place] = struct.pack("<Q", 2**40)
    path.write_bytes(data)
    with pytest.raises(
        BagError, match=rf"record at byte {place - 9} should have {2**40} bytes"
    ):
        read(path)


def test_unknown_compression_and_encoding_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", MESSAGES, compression=CompressionType.LZ4)
    path.write_bytes(
        path.read_bytes().replace(b"\x03\x00\x00\x00lz4", b"\x03\x00\x00\x00abc")
    )
    with pytest.raises(BagError, match="compressed with 'abc'; readable: zstd, lz4"):
        read(path)
    path = write(tmp_path / "b.mcap", MESSAGES)
    path.write_bytes(
        path.read_bytes().replace(b"\x03\x00\x00\x00cdr", b"\x03\x00\x00\x00xyz")
    )
    with McapFile(path) as file:
        assert file.channels[1].type_name == ""
        assert file.channels[1].problem == "it is encoded as 'xyz', expected 'cdr'"


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"a\.mcap does not exist"):
        McapFile(tmp_path / "a.mcap")
    (tmp_path / "b.mcap").write_bytes(b"SQLite format 3\0")
    with pytest.raises(BagError, match="not an MCAP file: it starts with b'SQLite f'"):
        McapFile(tmp_path / "b.mcap")


def test_many_chunks_that_unpack_to_too_much_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [(1, 1000 + number, bytes(5000)) for number in range(20)]
    path = write(tmp_path / "a.mcap", messages, compression=CompressionType.LZ4)
    assert read(path) == messages
    monkeypatch.setattr(mcap_reader, "MAX_FILE_BYTES", 50_000)
    monkeypatch.setattr(mcap_reader, "MAX_RATIO", 0)
    with pytest.raises(
        BagError, match=r"chunk at byte \d+: the chunks unpack to \d+ bytes"
    ):
        read(path)
