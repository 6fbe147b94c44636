"""The format of bundles: a round trip, and a refusal that names every kind of damage."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from toy_bundle import INFO, edit, golden, toy_programs, write

from ptr_policy_node.bundle import (
    FORMS,
    BundleError,
    BundleInfo,
    read_bundle,
    read_info,
    write_bundle,
)
from ptr_policy_node.policy import load_bundle


@pytest.fixture(params=FORMS)
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write(tmp_path / "bundle", form=request.param)
    return tmp_path / "bundle"


@pytest.fixture
def program(bundle: Path) -> str:
    """Name of the bundle's first program."""
    return next(names[0] for names in FORMS.values() if (bundle / names[0]).exists())


@pytest.mark.parametrize("form", FORMS)
def test_a_bundle_is_read_as_it_was_written(tmp_path: Path, form: str) -> None:
    path = tmp_path / "bundle"
    bundle_id = write_bundle(path, INFO, toy_programs(form), golden())
    bundle = read_bundle(path)
    assert (bundle.info, bundle.bundle_id, bundle.form) == (INFO, bundle_id, form)
    assert set(bundle.files) == {*FORMS[form], "golden.npz"}
    assert read_info(path) == INFO


def test_a_description_survives_a_round_trip_through_json() -> None:
    info = replace(INFO, history=3, execute=4, aliases={"new": "a"})
    assert BundleInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    assert (INFO.window, info.window) == ((), (3,))
    assert (INFO.plan, info.plan) == ((), (4,))


def test_a_description_of_before_histories_plans_and_aliases_is_read() -> None:
    values = INFO.to_json()
    del values["history"], values["execute"], values["aliases"]
    assert BundleInfo.from_json(values) == INFO


def test_id_follows_from_the_contents(tmp_path: Path) -> None:
    first = write(tmp_path / "one")
    assert load_bundle(tmp_path / "one").bundle_id == first
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert write(tmp_path / "two", replace(INFO, tasks=("a", "c"))) != first


def test_altered_file_is_refused(bundle: Path, program: str) -> None:
    for name in (program, "golden.npz"):
        file = bundle / name
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        with pytest.raises(BundleError, match=f"{name}: checksum is .*, expected"):
            load_bundle(bundle)
        file.write_bytes(content)


def test_missing_file_is_refused(bundle: Path, program: str) -> None:
    for name in (program, "golden.npz", "bundle.json"):
        (bundle / name).unlink()
        with pytest.raises(BundleError, match=f"it has no {name}"):
            load_bundle(bundle)
        (bundle / name).write_bytes(b"")


def test_garbage_is_refused(bundle: Path, program: str) -> None:
    message = {
        "policy.pt": "not a TorchScript policy",
        "act.pt2": "not an exported policy",
    }[program]
    (bundle / program).write_bytes(b"garbage")
    edit(bundle)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)
    (bundle / "bundle.json").write_bytes(b"garbage")
    with pytest.raises(BundleError, match="truncated or not JSON"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "names", [{"../bundle.json"}, {"policy.pt"}, {"act.pt2", "golden.npz"}, set()]
)
def test_bundle_of_other_files_is_refused(bundle: Path, names: set[str]) -> None:
    values = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(
        json.dumps({**values, "sha256": dict.fromkeys(names, "0")})
    )
    with pytest.raises(BundleError, match=r"sha256 names .*; expected .*policy\.pt"):
        load_bundle(bundle)


def test_incomplete_description_is_refused(bundle: Path) -> None:
    values = json.loads((bundle / "bundle.json").read_text())
    del values["rate"]
    (bundle / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="incomplete: it lacks rate"):
        load_bundle(bundle)


def test_importing_the_format_needs_neither_pytorch_nor_ros() -> None:
    code = (
        "import sys, ptr_policy_node.bundle; "
        "sys.exit('torch' in sys.modules or 'rclpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
