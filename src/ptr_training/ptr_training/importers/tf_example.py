"""Messages of the type tf.train.Example, parsed by the library protobuf, without TensorFlow.

An Example maps names to features; a feature is a list of byte strings, of floats or of
integers. The message classes are built at run time, with the field numbers of TensorFlow's
`example.proto` and `feature.proto`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

from .base import RecordError

Features = Mapping[str, Any]
"""Messages of the type Feature by name."""

MAX_FEATURES = 10_000
"""Features that an Example may have; BridgeData has some twenty."""

COUNTED_BYTES = 2**20
"""The features of larger payloads are counted before they are parsed.

An empty feature takes 2 bytes in a file and about a hundred as a message, so that a hostile
file could fill the memory.
"""

_KINDS = {"bytes_list": "bytes", "float_list": "floats", "int64_list": "integers"}
"""Fields of a Feature, of which one at most is set, and what error messages call them."""

_PACKAGE = "ptr_training"
_Field = descriptor_pb2.FieldDescriptorProto
_BYTES = {"type": _Field.TYPE_BYTES, "label": _Field.LABEL_REPEATED}
_FLOATS = {"type": _Field.TYPE_FLOAT, "label": _Field.LABEL_REPEATED}
_INTEGERS = {"type": _Field.TYPE_INT64, "label": _Field.LABEL_REPEATED}
_TEXT = {"type": _Field.TYPE_STRING, "label": _Field.LABEL_OPTIONAL}


def _message(name: str, repeated: bool = False) -> dict[str, Any]:
    """Return the description of a field that holds a message."""
    return {
        "type": _Field.TYPE_MESSAGE,
        "type_name": f".{_PACKAGE}.{name}",
        "label": _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
    }


def _build(types: descriptor_pb2.FileDescriptorProto) -> Any:
    """Return the message class `Example` of some types, in a descriptor pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(types)
    example = pool.FindMessageTypeByName(f"{_PACKAGE}.Example")
    return message_factory.GetMessageClass(example)


def _add(
    types: descriptor_pb2.FileDescriptorProto | descriptor_pb2.DescriptorProto,
    name: str,
    **fields: dict[str, Any],
) -> descriptor_pb2.DescriptorProto:
    """Add a message type.

    Args:
        types: File or message type to add it to.
        name: Of the type.
        fields: Their descriptions; they are numbered from 1 in this order.
    """
    is_file = isinstance(types, descriptor_pb2.FileDescriptorProto)
    added = (types.message_type if is_file else types.nested_type).add(name=name)
    for number, (field_name, description) in enumerate(fields.items(), 1):
        added.field.add(name=field_name, number=number, **description)

    return added


def _example_class() -> Any:
    """Return the message class of tf.train.Example."""
    types = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package=_PACKAGE, syntax="proto3"
    )
    _add(types, "BytesList", value=_BYTES)
    _add(types, "FloatList", value=_FLOATS)
    _add(types, "Int64List", value=_INTEGERS)
    _add(
        types,
        "Feature",
        bytes_list=_message("BytesList"),
        float_list=_message("FloatList"),
        int64_list=_message("Int64List"),
    )
    features = _add(
        types, "Features", feature=_message("Features.FeatureEntry", repeated=True)
    )
    entry = _add(features, "FeatureEntry", key=_TEXT, value=_message("Feature"))
    entry.options.map_entry = True
    _add(types, "Example", features=_message("Features"))
    return _build(types)


def _encoded_class() -> Any:
    """Return a class that reads the same messages, but leaves every feature encoded."""
    types = descriptor_pb2.FileDescriptorProto(
        name="encoded.proto", package=_PACKAGE, syntax="proto3"
    )
    _add(types, "Features", feature=_BYTES)
    _add(types, "Example", features=_message("Features"))
    return _build(types)


_Example = _example_class()
_Encoded = _encoded_class()


def parse_example(payload: bytes) -> Features:
    """Return the features of a serialised tf.train.Example.

    Raises:
        RecordError: If the payload is not a tf.train.Example.
    """
    try:
        if len(payload) > COUNTED_BYTES:
            _check_count(payload)
        example = _Example.FromString(payload)
    except message.DecodeError as error:
        raise RecordError(
            f"no tf.train.Example: {len(payload)} bytes that cannot be parsed"
        ) from error

    _refuse_unknown(example)
    _refuse_unknown(example.features)
    return example.features.feature


def _check_count(payload: bytes) -> None:
    """Refuse a payload with more than `MAX_FEATURES` features."""
    count = len(_Encoded.FromString(payload).features.feature)
    if count > MAX_FEATURES:
        raise RecordError(
            f"no tf.train.Example: it has {count} features; allowed are {MAX_FEATURES}"
        )


def byte_strings(features: Features, name: str) -> list[bytes]:
    """Return a feature that is a list of byte strings.

    Raises:
        RecordError: If there is no such feature.
    """
    return list(_values(features, name, "bytes_list"))


def floats(features: Features, name: str) -> np.ndarray:
    """Return a feature that is a list of floats, shape (n,), float32.

    Raises:
        RecordError: If there is no such feature.
    """
    values = _values(features, name, "float_list")
    return np.fromiter(values, np.float32, len(values))


def integers(features: Features, name: str) -> np.ndarray:
    """Return a feature that is a list of integers, shape (n,), int64.

    Raises:
        RecordError: If there is no such feature.
    """
    values = _values(features, name, "int64_list")
    return np.fromiter(values, np.int64, len(values))


def decode_text(data: bytes) -> str:
    """Return UTF-8 as text, without white space around it; invalid bytes are replaced."""
    return data.decode("utf-8", "replace").strip()


def _values(features: Features, name: str, kind: str) -> Any:
    """Return the values of a feature; raises RecordError if it is missing or of another kind.

    A feature without any list is an empty list of byte strings.
    """
    if name not in features:
        existing = ", ".join(sorted(features)) or "nothing"
        raise RecordError(
            f"no RLDS episode of BridgeData: it lacks {name}; it has {existing}"
        )

    feature = features[name]
    _refuse_unknown(feature)
    kinds = [other for other in _KINDS if feature.HasField(other)] or ["bytes_list"]
    if kinds != [kind]:
        found = " and ".join(_KINDS[other] for other in kinds)
        raise RecordError(f"{name} holds {found}, expected {_KINDS[kind]}")
    values = getattr(feature, kind)
    _refuse_unknown(values)
    return values.value


def _refuse_unknown(part: Any) -> None:
    """Refuse a message with fields that its type has never had: the record is damaged."""
    for field in UnknownFieldSet(part):
        raise RecordError(
            f"no tf.train.Example: {part.DESCRIPTOR.name} with a field {field.field_number}"
        )
