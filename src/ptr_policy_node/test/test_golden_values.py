"""Golden values of a wrong type, shape or value are refused before anything is unpacked."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bundle import INFO, golden

from ptr_policy_node.bundle import Bundle, BundleError
from ptr_policy_node.golden_values import read_golden


def _bundle(content: bytes) -> Bundle:
    return Bundle(Path("b"), INFO, "0" * 64, "export", {"golden.npz": content})


def _archive(**changes: Any) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**golden(), **changes}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_golden_values_are_read_as_written() -> None:
    found = read_golden(_bundle(_archive()))
    for name, values in golden().items():
        np.testing.assert_array_equal(found[name], values)


def test_a_policy_without_critic_has_q_values_that_are_nan() -> None:
    q = np.full_like(golden()["q"], np.nan)
    assert np.isnan(read_golden(_bundle(_archive(q=q)))["q"]).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("q", np.float32(np.inf), "q holds inf; golden values must be finite"),
        ("action", np.float32(np.nan), "action holds nan"),
        ("proprio", np.float32(-np.inf), "proprio holds -inf"),
        ("task", 2, "task holds ids from 2 to 2; the bundle has 2 tasks"),
        ("task", -1, "task holds ids from -1 to -1"),
    ],
)
def test_value_that_nothing_can_be_compared_with_is_refused(
    name: str, value: Any, message: str
) -> None:
    altered = np.full_like(golden()[name], value)
    with pytest.raises(BundleError, match=message):
        read_golden(_bundle(_archive(**{name: altered})))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("image", np.zeros((2, 24, 33, 3), np.uint8)),
        ("image", np.zeros((2, 24, 32, 3), np.float32)),
        ("proprio", np.zeros((1, 7), np.float32)),
        ("task", np.array(["a", "b"])),
        ("action", np.zeros((2, 8), np.float32)),
        ("q", np.zeros(2, np.float32)),
    ],
)
def test_array_of_another_shape_or_type_is_refused(name: str, array: np.ndarray) -> None:
    with pytest.raises(BundleError, match=rf"golden\.npz: {name} (is|has) "):
        read_golden(_bundle(_archive(**{name: array})))


def test_array_that_claims_to_be_huge_is_refused_before_it_is_unpacked() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 24, 32, 3)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.npy", header.getvalue())
    with pytest.raises(BundleError, match=r"image has \d+ bytes, at most"):
        read_golden(_bundle(buffer.getvalue()))
