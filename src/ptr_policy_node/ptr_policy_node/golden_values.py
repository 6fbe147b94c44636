"""The golden values of a bundle (`golden.npz`): inputs with what the policy answers to them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from .bundle import Bundle, BundleError, BundleInfo

MAX_GOLDEN_BYTES = 1 << 28
"""Largest golden array [bytes]."""


def read_golden(bundle: Bundle) -> dict[str, np.ndarray]:
    """Return the golden arrays by name; see `bundle.write_bundle` for their shapes.

    What an array says of its size is checked before its values are unpacked.

    Raises:
        BundleError: If one is missing, damaged, of a shape or type that the description of
            the bundle does not give it, or if a number is infinite, or NaN where only Q of
            a policy without critic may be.
    """
    file = bundle.path / "golden.npz"
    golden: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(bundle.files["golden.npz"])) as archive:
            for name, (shape, kinds) in _expected(bundle.info).items():
                count = len(golden["image"]) if golden else None
                golden[name] = _read_array(archive, name, shape, kinds, count)
    except BundleError as error:
        raise BundleError(f"{file}: {error}; copy the bundle again") from error
    except Exception as error:  # a damaged archive raises nearly anything
        raise BundleError(f"{file} is truncated or incomplete: {error}") from error
    if len(golden["image"]) == 0:
        raise BundleError(f"{file} holds no golden image")
    _check_values(bundle, golden)
    return golden


def _expected(info: BundleInfo) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape without the number of images, and kinds of NumPy types, by name."""
    return {
        "image": ((info.camera.height, info.camera.width, 3), "u1"),
        "proprio": ((*info.window, 7), "f"),
        "task": ((), "iu"),
        "resized": ((*info.window, info.image_height, info.image_width, 3), "u1"),
        "action": ((*info.plan, 7), "f"),
        "q": ((2,), "f"),
    }


def _read_array(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    kinds: str,
    count: int | None,
) -> np.ndarray:
    """Return an array of an archive.

    Args:
        archive: `golden.npz`.
        name: Of the array.
        shape: That it must have, after the first dimension.
        kinds: Of NumPy types that it may have, or one type.
        count: Its first dimension; None: any.
    """
    with archive.open(f"{name}.npy") as stream:
        found, dtype = _header(stream)
    fits = dtype.str[1:] == kinds or (dtype.kind in kinds and kinds != "u1")
    if len(found) != len(shape) + 1 or found[1:] != shape or not fits:
        raise BundleError(
            f"{name} is {dtype} {found}, bundle.json says {kinds} (images, {shape})"
        )
    if count not in (None, found[0]):
        raise BundleError(f"{name} has {found[0]} rows, there are {count} images")
    size = dtype.itemsize * int(np.prod([*found], dtype=object))
    if size > MAX_GOLDEN_BYTES:
        raise BundleError(f"{name} has {size} bytes, at most {MAX_GOLDEN_BYTES} are read")
    with archive.open(f"{name}.npy") as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an array that is not read yet."""
    if np.lib.format.read_magic(stream) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype


def _check_values(bundle: Bundle, golden: dict[str, np.ndarray]) -> None:
    """Refuse numbers that nothing could be compared with, and tasks that do not exist."""
    for name in ("proprio", "action", "q"):
        values = golden[name]
        bad = np.isinf(values) if name == "q" else ~np.isfinite(values)
        if bad.any():
            raise BundleError(
                f"{bundle.path / 'golden.npz'}: {name} holds {values[bad][0]}; golden values "
                "must be finite: export the bundle again with `ptr bundle`"
            )
    tasks, known = golden["task"], len(bundle.info.tasks)
    if tasks.min() < 0 or tasks.max() >= known:
        raise BundleError(
            f"{bundle.path / 'golden.npz'}: task holds ids from {tasks.min()} to "
            f"{tasks.max()}; the bundle has {known} tasks"
        )
