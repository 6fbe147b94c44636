"""A wrong value in `bundle.json` is named with its field; a bundle can be pinned by its name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from toy_bundle import write

from ptr_policy_node.bundle import ID_DIGITS, BundleError, read_bundle, read_info


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write(tmp_path / "bundle", form="torchscript")
    return tmp_path / "bundle"


def _change(bundle: Path, name: str, value: Any) -> None:
    values = json.loads((bundle / "bundle.json").read_text())
    *parents, last = name.split(".")
    table = values
    for parent in parents:
        table = table[parent]
    table[last] = value
    (bundle / "bundle.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sha256", "x"),
        ("history", "5"),
        ("history", -1),
        ("history", 10**30),
        ("execute", True),
        ("aliases", ["a"]),
        ("aliases", {"c": "unknown"}),
        ("tasks", "abc"),
        ("tasks", [1, 2]),
        ("tasks", ["a", "a"]),
        ("tasks", []),
        ("tasks", [""]),
        ("image.height", 1e9),
        ("image.width", 2**62),
        ("rate", "x"),
        ("rate", -1),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("camera", None),
        ("camera.height", 0),
        ("camera.name", ""),
        ("agent", None),
        ("action.low", [float("-inf")] * 7),
        ("action.command", "wished"),
        ("draws_gripper", 1),
        ("data", []),
        ("proprio", [None]),
    ],
)
def test_value_of_another_kind_is_refused_by_its_name(
    bundle: Path, name: str, value: Any
) -> None:
    _change(bundle, name, value)
    with pytest.raises(BundleError, match=rf"bundle\.json: {name} is .*; expected"):
        read_info(bundle)


def test_checksum_that_is_no_text_is_refused(bundle: Path) -> None:
    _change(bundle, "sha256", {"policy.pt": 5, "golden.npz": None})
    with pytest.raises(BundleError, match=r"bundle\.json: sha256\.policy\.pt is 5"):
        read_info(bundle)


def test_deep_nesting_is_refused(bundle: Path) -> None:
    (bundle / "bundle.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match=r"bundle\.json is truncated or not JSON"):
        read_info(bundle)


def test_a_bundle_is_read_under_its_full_name_only(bundle: Path) -> None:
    name = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    found = read_bundle(bundle, name.upper())
    assert (found.sha256, found.bundle_id) == (name, name[:ID_DIGITS])
    for other in ("0" * 64, name[:ID_DIGITS]):
        with pytest.raises(BundleError, match=f"is the bundle {name}, expected {other}"):
            read_bundle(bundle, other)
