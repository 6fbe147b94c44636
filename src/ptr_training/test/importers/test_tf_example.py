"""Messages of the type tf.train.Example: what is read, and what is refused."""

from __future__ import annotations

import pytest
from prior_data import example

from ptr_training.importers import tf_example
from ptr_training.importers.base import RecordError
from ptr_training.importers.tf_example import (
    byte_strings,
    decode_text,
    floats,
    integers,
    parse_example,
)


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes or of a message; its number and length are below 16 and 128."""
    return bytes([number << 3 | 2, len(content)]) + content


def feature(content: bytes, name: bytes = b"x") -> bytes:
    """Return a payload of one feature, from its encoded message."""
    return field(1, field(1, field(1, name) + field(2, content)))


def test_negative_integers_and_empty_lists_are_read() -> None:
    for packed in (True, False):
        features = parse_example(example({"x": [-1, 1 << 40, 0]}, packed))
        assert integers(features, "x").tolist() == [-1, 1 << 40, 0]
    assert byte_strings(parse_example(example({"x": []})), "x") == []


@pytest.mark.parametrize("packed", [True, False])
def test_lists_come_back_as_they_were_written(packed: bool) -> None:
    features = parse_example(
        example({"texts": [b"a", b"", b"\xff"], "numbers": [0.5, -2.0]}, packed)
    )
    assert byte_strings(features, "texts") == [b"a", b"", b"\xff"]
    assert floats(features, "numbers").tolist() == [0.5, -2.0]
    assert floats(features, "numbers").dtype == "float32"


def test_of_two_features_of_one_name_the_later_counts() -> None:
    first, second = example({"x": [1]}), example({"x": [2]})
    assert integers(parse_example(first + second), "x").tolist() == [2]


def test_text_that_is_no_utf_8_is_replaced() -> None:
    assert decode_text(b" put \xff in \n") == "put \ufffd in"


def test_missing_feature_is_named_with_those_there_are() -> None:
    with pytest.raises(RecordError, match="it lacks z; it has x, y"):
        floats(parse_example(example({"y": [1.0], "x": [1.0]})), "z")


def test_feature_of_another_kind_is_refused() -> None:
    features = parse_example(example({"x": [1]}))
    with pytest.raises(RecordError, match="x holds integers, expected floats"):
        floats(features, "x")
    with pytest.raises(RecordError, match="x holds integers, expected bytes"):
        byte_strings(features, "x")


def test_feature_of_two_kinds_is_refused() -> None:
    features = parse_example(feature(field(1, b"") + field(3, b"")))
    with pytest.raises(RecordError, match="x holds bytes and integers, expected integers"):
        integers(features, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (field(4, b"new"), "Feature with a field 4"),
        (field(1, field(2, b"new")), "BytesList with a field 2"),
        (field(1, b"\x13\x14"), "BytesList with a field 2"),  # a group
    ],
)
def test_fields_that_a_feature_never_had_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        byte_strings(parse_example(feature(content)), "x")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x0b\x0c",  # a group in the place of the features
        field(2, b"new"),
        field(1, field(2, b"new")),
        field(1, b"\x0b\x0c"),
        b"\x0b" * 100_000 + b"\x0c" * 100_000,  # groups in groups
        field(1, field(1, b"\x0a\x02a")),  # a name that is longer than its entry
        feature(field(2, field(1, b"123"))),  # floats of three bytes
        feature(field(3, field(1, b"\xff" * 11))),  # an integer without an end
    ],
)
def test_payload_that_is_no_example_is_refused(payload: bytes) -> None:
    with pytest.raises(RecordError, match=r"no tf\.train\.Example"):
        parse_example(payload)


def test_payload_of_empty_features_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = tf_example.COUNTED_BYTES // 2
    size = 2 * count
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    payload = b"\x0a" + length + b"\x0a\x00" * count
    monkeypatch.setattr(tf_example, "_Example", None)  # is not reached
    with pytest.raises(RecordError, match=f"it has {count} features; allowed are 10000"):
        parse_example(payload)
