"""Reads pickles of unknown origin: only numbers, text, containers and NumPy arrays pass.

A pickle is a program: it may name any function of any module and call it. Here it can use
only the few names in `_KNOWN`. Stand-ins answer for those of NumPy, because the state of a
genuine `numpy.dtype` could give a wrong size of memory. `pickle` grows its table of objects
to any index that is named, so indices are checked before a pickle is loaded.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ptr_training.errors import TrainingError

SPARE_INDICES = 1000
"""How far the index of an object may be ahead; pickles that were shortened leave indices out."""

_TYPE_CODE = re.compile(r"\?|[biufcO][0-9]{0,2}|[SU][1-9][0-9]{0,5}")


class PickleError(TrainingError):
    """A pickle is damaged or names something that data do not need."""


def load(file: BinaryIO) -> Any:
    """Return the data of a pickle.

    Raises:
        PickleError: If it is damaged or names anything but numbers, text, containers and
            NumPy arrays.
    """
    try:
        start = file.tell()
        _check_memo(file)
        file.seek(start)
        return _Unpickler(file).load()
    except PickleError:
        raise
    except Exception as error:  # opcodes of a damaged pickle raise errors of any type
        raise PickleError(
            f"the pickle is damaged: {type(error).__name__}: {error}"
        ) from error


def _check_memo(file: BinaryIO) -> None:
    """Refuse a pickle that numbers its objects otherwise than in order, as picklers do."""
    count = 0
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if not 0 <= int(argument or 0) <= 2 * count + SPARE_INDICES:
                _refuse(f"a table of {argument} objects, of which it made {count}")
            count += 1
        elif operation.name == "MEMOIZE":
            count += 1


def array_length(path: Path) -> int:
    """Return the length of the array of an .npy file, from its header.

    Raises:
        PickleError: If it is not an .npy file, or its array is longer than the file can be.
    """
    with path.open("rb") as file:
        shape, *_ = _npy_header(file)
        size = os.fstat(file.fileno()).st_size
    if math.prod(shape) > size:
        raise PickleError(f"an array of shape {shape} in a file of {size} bytes; truncated")
    return shape[0] if shape else 1


def load_array(file: BinaryIO) -> np.ndarray:
    """Return the array of an .npy file; its objects may be anything that `load` returns.

    Raises:
        PickleError: As `load`, or if the file is not an .npy file or truncated.
    """
    shape, fortran, dtype = _npy_header(file)
    if dtype.hasobject:
        array = load(file)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise PickleError(
                f"the pickle holds no array of shape {shape}, as the header says"
            )
        return array

    data = file.read()
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise PickleError(f"{len(data)} bytes of data for {shape} of {dtype}; truncated")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether in Fortran order, and type of the array of an .npy file."""
    try:
        if np.lib.format.read_magic(file) == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # the text of a damaged header raises errors of any type
        raise PickleError(f"not an .npy file: {error}") from error


class _Unpickler(pickle.Unpickler):
    """Looks up every name in one table."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name in a pickle."""
        module = module.replace("numpy._core.", "numpy.core.")
        module = module.replace("__builtin__", "builtins")
        if (module, name) not in _KNOWN:
            _refuse(f"{module}.{name}")
        return _KNOWN[module, name]


class _DType:
    """The type of an array, without what a pickle could set in a genuine one."""

    __slots__ = ("genuine",)

    def __init__(self, code: str) -> None:
        """Take a type code such as `f4`; structured and other types are refused."""
        if not isinstance(code, str) or not _TYPE_CODE.fullmatch(code):
            _refuse(f"the array type {code!r}")
        self.genuine = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order; refuse a structure."""
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            _refuse("a structured array")
        self.genuine = self.genuine.newbyteorder(order)


class _Array(np.ndarray):
    """An array that takes its state only with a type made here and data that suit it."""

    def __setstate__(self, state: Any) -> None:
        """Take shape, type and data if they fit together."""
        _, shape, dtype, fortran, data = state
        genuine = _genuine(dtype)
        container = list if genuine.hasobject else bytes
        item_size = 1 if genuine.hasobject else genuine.itemsize
        if not isinstance(data, container):
            _refuse(f"{type(data).__name__} as the data of a {genuine} array")
        if len(data) != math.prod(shape) * item_size:
            _refuse(f"a {genuine} array of shape {shape}, with data of length {len(data)}")
        checked: Any = (1, shape, genuine, bool(fortran), data)
        super().__setstate__(checked)


class _StandIn:
    """A function that a pickle can call but not change: attributes of a plain one would stay."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        """Stand for a function."""
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        """Refuse to be changed."""
        _refuse(f"the attribute {name} of a function")

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self._function(*arguments)


def _empty(*_: Any) -> np.ndarray:
    """Stand for `_reconstruct`: an array that its state will fill."""
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _scalar(dtype: Any, data: bytes) -> Any:
    """Stand for what builds a number of NumPy."""
    return np.frombuffer(data, _genuine(dtype))[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Stand for what builds an array in protocol 5."""
    return np.frombuffer(data, _genuine(dtype)).reshape(shape, order=order)


def _dtype(code: str, *_: Any) -> _DType:
    """Stand for what builds the type of an array."""
    return _DType(code)


def _encode(text: str, encoding: str) -> bytes:
    """Stand for `_codecs.encode`, through which old protocols write bytes."""
    if encoding != "latin1":
        _refuse(f"the codec {encoding}")
    return text.encode(encoding)


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_empty),
    ("numpy.core.multiarray", "scalar"): _StandIn(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _StandIn(_from_buffer),
    ("numpy", "dtype"): _StandIn(_dtype),
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument of `_reconstruct`
    ("_codecs", "encode"): _StandIn(_encode),
    # the next ones are written in C: no attribute of them can be set
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "complex"): complex,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "set"): set,
}
"""Module and name that a pickle may use -> the object that it gets."""


def _genuine(dtype: Any) -> np.dtype:
    """Return the NumPy type of a type made here; refuse any other."""
    if not isinstance(dtype, _DType):
        _refuse(f"{type(dtype).__name__} as the type of an array")
    return dtype.genuine


def _refuse(what: str) -> NoReturn:
    """Raise PickleError with the object that a pickle asks for."""
    raise PickleError(
        f"the pickle asks for {what}; only numbers, text, containers and NumPy arrays are read"
    )
