"""The unpickler: what data need comes through, nothing that could run does."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prior_data import Payload

from ptr_training.importers.restricted_pickle import (
    PickleError,
    array_length,
    load,
    load_array,
)


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, np.ndarray) and wanted.dtype != object:
        assert found.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            same(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple, np.ndarray)):
        assert len(found) == len(wanted)
        for pair in zip(found, wanted, strict=True):
            same(*pair)
    else:
        assert found == wanted
        assert type(found) is type(wanted)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_text_and_containers_come_through(protocol: int) -> None:
    data = {
        "state": np.arange(14.0).reshape(2, 7),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "pixels": np.arange(27, dtype=np.uint8).reshape(3, 3, 3),
        "flags": np.array([True, False]),
        "names": np.array(["a", "bc"]),
        "objects": np.array([{"x": np.ones(2)}, None], dtype=object),
        "scalar": np.float64(0.25),
        "small": np.uint8(7),
        "ordered": OrderedDict(a=1),
        "others": [
            1,
            2.5,
            1j,
            "text",
            b"bytes",
            None,
            True,
            (1, {2, 3}),
            frozenset({4}),
            1 << 70,
        ],
    }
    same(load(io.BytesIO(pickle.dumps(data, protocol))), data)


def test_a_command_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(
            PickleError,
            match=r"asks for posix\.system; only numbers, text, containers and NumPy arrays",
        ):
            load(io.BytesIO(pickle.dumps({"state": [Payload(marker)]}, protocol)))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "getattr"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("os", "system"),
        ("numpy", "f2py.os.system"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.core.multiarray", "_reconstruct.__func__.__globals__.__getitem__"),
        ("numpy._core.numeric", "_frombuffer.__self__"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("ptr_training.importers.restricted_pickle", "pickle.loads"),
    ],
)
def test_no_other_name_is_looked_up_however_it_is_spelt(module: str, name: str) -> None:
    spelt = b"".join(
        b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)
    )
    with pytest.raises(PickleError, match="the pickle asks for"):
        load(io.BytesIO(b"\x80\x04" + spelt + b"\x93."))


class Forged:
    """Pickled, it is a call of one of the allowed names, with a state."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def reconstruct() -> Any:
    return np.zeros(2).__reduce__()[0]


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        # were these 8 bytes taken for an object, NumPy would follow them as an address
        (
            (
                1,
                (1,),
                Forged(
                    np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)
                ),
                False,
                b"A" * 8,
            ),
            "bytes",
        ),
        (
            (1, (1,), np.dtype("f8"), False, b"A" * 4),
            r"a float64 array of shape \(1,\), with data of length 4",
        ),
        ((1, (9**9,), np.dtype("f8"), False, b"A" * 8), "with data of length 8"),
        (
            (1, (9**9,), np.dtype("O"), False, [None]),
            "with data of length 1",
        ),  # would be allocated before it is filled
        (
            (1, (9**12,), np.dtype("S0"), False, b""),
            "the array type 'S0'",
        ),  # as long as it likes, in no memory
        ((1, (1,), np.dtype([("a", "f8")]), False, b"A" * 8), "the array type 'V8'"),
        ((1, (1,), Forged(np.dtype, ("f8,O",)), False, b"A" * 16), "the array type 'f8,O'"),
        ((1, (1,), "f8", False, b"A" * 8), "str as the type of an array"),
    ],
)
def test_forged_arrays_are_refused(forged: tuple[Any, ...], message: str) -> None:
    array = Forged(reconstruct(), (np.ndarray, (0,), b"b"), forged)
    with pytest.raises(PickleError, match=message):
        load(io.BytesIO(pickle.dumps(array)))


@pytest.mark.parametrize(
    "named", [("numpy", "dtype"), ("_codecs", "encode"), ("collections", "OrderedDict")]
)
@pytest.mark.parametrize("attribute", ["__code__", "_function", "anything"])
@pytest.mark.parametrize(("start", "end"), [(b"}", b"b"), (b"(N}", b"tb")])
def test_the_allowed_names_cannot_be_rebuilt_from_inside(
    named: tuple[str, str], attribute: str, start: bytes, end: bytes
) -> None:
    # BUILD with {"__code__": …} or (None, {"__code__": …}) sets attributes of whatever it
    # is given
    name, value = (
        b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in texts)
        for texts in (named, [attribute])
    )
    with pytest.raises(PickleError, match=r"damaged: (Attribute|Type)Error|the attribute"):
        load(
            io.BytesIO(
                b"\x80\x04" + name + b"\x93" + start + value + b"K\x01s" + end + b"."
            )
        )


def test_only_latin_1_is_an_encoding() -> None:
    import codecs

    with pytest.raises(PickleError, match="the codec rot13"):
        load(io.BytesIO(pickle.dumps(Forged(codecs.encode, ("text", "rot13")))))


def test_damaged_pickles_are_refused() -> None:
    whole = pickle.dumps({"state": np.arange(70.0).reshape(10, 7), "names": ["a"] * 20})
    for length in range(0, len(whole), 7):
        with pytest.raises(PickleError, match="the pickle is damaged"):
            load(io.BytesIO(whole[:length]))


def save(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(
        file, array, allow_pickle=True
    )  # writes a pickle, as BridgeData's converters do; loads none
    return file.getvalue()


def test_npy_files_with_and_without_objects_are_read(tmp_path: Path) -> None:
    numbers = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(load_array(io.BytesIO(save(numbers))), numbers)
    objects = np.array([{"a": 1}, {"b": np.ones(3)}], dtype=object)
    same(load_array(io.BytesIO(save(objects))), objects)
    (tmp_path / "x.npy").write_bytes(save(objects))
    assert array_length(tmp_path / "x.npy") == 2


def test_npy_file_does_not_run_a_command(tmp_path: Path) -> None:
    content = save(np.array([Payload(tmp_path / "was here")], dtype=object))
    with pytest.raises(PickleError, match=r"posix\.system"):
        load_array(io.BytesIO(content))
    assert not (tmp_path / "was here").exists()


def test_damaged_npy_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PickleError, match=r"not an \.npy file"):
        load_array(io.BytesIO(b"PK\x03\x04"))
    with pytest.raises(
        PickleError, match=r"40 bytes of data for \(6,\) of float64; truncated"
    ):
        load_array(io.BytesIO(save(np.arange(6.0))[:-8]))
    objects = np.array([{"a": 1}, None], dtype=object)
    with pytest.raises(PickleError, match="the pickle is damaged"):
        load_array(io.BytesIO(save(objects)[:-9]))
    (tmp_path / "long.npy").write_bytes(save(objects).replace(b"(2,), ", b"(2222222,), "))
    with pytest.raises(
        PickleError, match=r"an array of shape \(2222222,\) in a file of \d+ bytes"
    ):
        array_length(tmp_path / "long.npy")
    with pytest.raises(PickleError, match=r"no array of shape \(3,\), as the header says"):
        load_array(io.BytesIO(save(objects).replace(b"(2,)", b"(3,)")))


@pytest.mark.parametrize("content", [b"\x80\x02Nr\xff\xff\xff\x7f.", b"Np2000000000\n."])
def test_a_table_of_objects_as_large_as_named_is_not_made(content: bytes) -> None:
    with pytest.raises(PickleError, match=r"a table of \d+ objects, of which it made 0"):
        load(io.BytesIO(content))


def test_a_pickle_that_leaves_out_some_numbers_is_read() -> None:
    assert load(io.BytesIO(b"\x80\x02]q\x63K\x05a.")) == [5]
