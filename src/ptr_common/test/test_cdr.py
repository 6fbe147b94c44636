"""Fields of serialised messages, against messages that rosbags serialises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from ptr_common.cdr import CdrError, CdrReader, stamp_of

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types


def serialised_header(
    seconds: int, nanoseconds: int, frame: str, *, little_endian: bool = True
) -> bytes:
    """Return a serialised std_msgs/Header."""
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    header = TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)
    content = STORE.serialize_cdr(
        header, "std_msgs/msg/Header", little_endian=little_endian
    )
    return bytes(content)


@given(
    seconds=st.integers(-(2**31), 2**31 - 1),
    nanoseconds=st.integers(0, 999_999_999),
    frame=st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=9),
    little_endian=st.booleans(),
)
def test_a_header_is_read_in_either_byte_order(
    seconds: int, nanoseconds: int, frame: str, little_endian: bool
) -> None:
    buffer = serialised_header(seconds, nanoseconds, frame, little_endian=little_endian)
    stamp_ns = seconds * 10**9 + nanoseconds
    assert CdrReader(buffer).header() == (stamp_ns, frame)
    assert stamp_of(buffer) == stamp_ns


def test_fields_after_a_string_are_aligned() -> None:
    for frame in ("", "a", "ab", "abc", "abcd"):
        name = frame.encode() + b"\0"
        content = b"\0\1\0\0" + len(name).to_bytes(4, "little") + name
        content += b"\0" * (-len(content) % 4) + (7).to_bytes(4, "little")
        reader = CdrReader(content)
        assert reader.string() == frame
        assert reader.unsigned() == 7


def test_octets_share_memory_with_the_message() -> None:
    content = bytearray(b"\0\1\0\0" + (3).to_bytes(4, "little") + b"\1\2\3")
    octets = CdrReader(memoryview(content)).octets()
    content[-1] = 9
    assert octets.tolist() == [1, 2, 9]


def test_a_message_that_ends_inside_a_field_is_refused() -> None:
    buffer = serialised_header(1, 2, "camera")
    for length in range(len(buffer)):
        with pytest.raises(CdrError, match=f"message of {length} bytes is truncated"):
            CdrReader(buffer[:length]).header()
