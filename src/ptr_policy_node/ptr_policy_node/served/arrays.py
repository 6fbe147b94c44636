"""Arrays in messages: msgpack as openpi's protocol has them, JSON as the package json_numpy has.

Arrays hold truth values, integers or floating point numbers and nothing else, so nothing that a
message holds can run code. msgpack is imported only where openpi's protocol is spoken: a robot PC
that serves nothing does without.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ptr_common.documents import parse_json
from ptr_policy_node.bundle_info import BundleError

KINDS = "biuf"
"""Kinds of NumPy types that an array of a message may have."""

JSON_ARRAY = "__numpy__"
"""Key of an array in JSON; beside it stand `dtype` and `shape`."""


def import_msgpack() -> Any:
    """Return the package msgpack.

    Raises:
        BundleError: If it is not installed.
    """
    try:
        import msgpack
    except ImportError as error:
        raise BundleError(
            f"openpi's protocol needs a package that is not installed here ({error}): "
            "`make setup` installs it, elsewhere pip install msgpack"
        ) from error
    return msgpack


def to_msgpack(values: Mapping[str, Any]) -> bytes:
    """Return a message of texts, numbers, lists, tables and arrays."""

    def pack(value: Any) -> Any:
        """Return an array or a NumPy number as a table."""
        if isinstance(value, np.ndarray):
            return {
                b"__ndarray__": True,
                b"data": value.tobytes(),
                b"dtype": value.dtype.str,
                b"shape": value.shape,
            }
        raise TypeError(f"{type(value).__name__} has no place in a message")

    packed: bytes = import_msgpack().packb(values, default=pack)
    return packed


def from_msgpack(content: bytes | str) -> dict[str, Any]:
    """Return the values of a message.

    Raises:
        ValueError: If it is no table in msgpack, or an array in it has another type than
            numbers, or other bytes than its shape needs.
    """
    if isinstance(content, str):
        raise ValueError("the message is text, not msgpack")
    msgpack = import_msgpack()
    try:
        values = msgpack.unpackb(content, object_hook=_unpacked, max_ext_len=0)
    except (msgpack.UnpackException, RecursionError, TypeError, OverflowError) as error:
        raise ValueError(f"the message is not msgpack: {error}") from error
    return _table(values)


def _unpacked(values: dict[Any, Any]) -> Any:
    """Return an array or a NumPy number where a table stands for one."""
    if b"__ndarray__" in values:
        return _array(values.get(b"data"), values.get(b"dtype"), values.get(b"shape"))
    if b"__npgeneric__" in values:
        return values.get(b"data")
    return values


def to_json(values: Any) -> str:
    """Return a JSON document; arrays in it become tables."""

    def pack(value: Any) -> Any:
        """Return an array as a table."""
        if isinstance(value, np.ndarray):
            data = base64.b64encode(value.tobytes()).decode()
            return {
                JSON_ARRAY: data,
                "dtype": value.dtype.str,
                "shape": list(value.shape),
            }
        raise TypeError(f"{type(value).__name__} has no place in a message")

    return json.dumps(values, default=pack)


def from_json(content: bytes | str) -> dict[str, Any]:
    """Return the values of a JSON document with arrays; raises ValueError as `from_msgpack`."""
    return _table(with_arrays(parse_json(content)))


def with_arrays(values: Any) -> Any:
    """Return a value of JSON with an array in place of each table that stands for one.

    Looked at are the value and the entries of a table, as deep as messages of ours have arrays.
    """
    if not isinstance(values, dict) or JSON_ARRAY in values:
        return _decoded(values)
    return {key: _decoded(value) for key, value in values.items()}


def _decoded(value: Any) -> Any:
    """Return the array that a table of JSON stands for; any other value as it is."""
    if not isinstance(value, dict) or JSON_ARRAY not in value:
        return value
    try:
        data = base64.b64decode(value[JSON_ARRAY], validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an array is not in base 64: {error}") from error
    return _array(data, value.get("dtype"), value.get("shape"))


def _table(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"the message is a {type(values).__name__}, not a table of names")
    return values


def _array(data: Any, dtype: Any, shape: Any) -> np.ndarray:
    """Return an array of its bytes, its type such as "|u1", and its shape."""
    try:
        kind = np.dtype(dtype)
        if not isinstance(dtype, str) or kind.kind not in KINDS:
            raise ValueError(f"arrays of {dtype!r} are refused; numbers are expected")
        lengths = [int(length) for length in shape]
        return np.frombuffer(data, kind).reshape(lengths).copy()  # PyTorch wants to write
    except (TypeError, AttributeError, OverflowError, SyntaxError) as error:
        raise ValueError(f"an array cannot be read: {error}") from error
