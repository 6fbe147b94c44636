"""Arrays in messages: what goes through unchanged, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import sys
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptr_policy_node.bundle import BundleError
from ptr_policy_node.served.arrays import (
    from_json,
    from_msgpack,
    import_msgpack,
    to_json,
    to_msgpack,
    with_arrays,
)

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    np.array([[1.5, np.nan]], np.float32),
    np.zeros((0, 7)),
    np.array([True]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_an_array_goes_through_unchanged(array: np.ndarray) -> None:
    values = {"image": array, "prompt": "stir", "timing": {"ms": 1.0}}
    for found in (from_json(to_json(values)), from_msgpack(to_msgpack(values))):
        np.testing.assert_array_equal(found["image"], array)
        assert found["image"].dtype == array.dtype
        assert found["prompt"] == "stir"
    np.testing.assert_array_equal(with_arrays({"a": array})["a"], array)


def table(**changes: Any) -> dict[str, Any]:
    data = base64.b64encode(bytes(7)).decode()
    return {"__numpy__": data, "dtype": "|u1", "shape": [7], **changes}


REFUSED = [
    ({"dtype": "|O"}, r"arrays of '\|O' are refused; numbers are expected"),
    ({"dtype": "<U2"}, "arrays of '<U2' are refused"),
    ({"dtype": "u1,u1"}, "arrays of 'u1,u1' are refused"),
    ({"dtype": ["u1"]}, "an array cannot be read|are refused"),
    ({"dtype": None}, "arrays of None are refused"),
    ({"dtype": "no type"}, "cannot be read"),
    ({"shape": [8]}, "cannot reshape"),
    ({"shape": None}, "cannot be read"),
    ({"shape": [10**30]}, "reshape|dimension exceeded"),
    ({"__numpy__": "?"}, "not in base 64"),
    ({"__numpy__": 7}, "not in base 64"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_holds_no_numbers_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_arrays({"image": table(**changes)})


def test_msgpack_refuses_the_same() -> None:
    for dtype in ("|O", "<U2", None, 7):
        array = {b"__ndarray__": True, b"data": b"7", b"dtype": dtype, b"shape": [1]}
        with pytest.raises(ValueError, match=r"are refused|cannot be read"):
            from_msgpack(msgpack.packb({"image": array}))
    with pytest.raises(ValueError, match="is a list, not a table"):
        from_msgpack(msgpack.packb([1]))
    with pytest.raises(ValueError, match="is text"):
        from_msgpack("text")


@given(st.binary(max_size=60))
def test_garbage_is_refused_and_nothing_else_happens(content: bytes) -> None:
    for read in (from_json, from_msgpack):
        with contextlib.suppress(ValueError):
            assert isinstance(read(content), dict)


def test_without_msgpack_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(BundleError, match="pip install msgpack"):
        import_msgpack()
