"""The bundle: a round trip, and a refusal that names every kind of mismatch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_bundle import CAMERA, INFO, Toy, golden, programs, write

from ptr_common.files import sha256
from ptr_policy_node.bundle import FORMS, BundleError, write_bundle
from ptr_policy_node.policy import load_bundle


@pytest.fixture(params=FORMS)
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    write(tmp_path / "bundle", form=request.param)
    return tmp_path / "bundle"


@pytest.fixture
def program(bundle: Path) -> str:
    """Name of the bundle's first program."""
    return next(names[0] for names in FORMS.values() if (bundle / names[0]).exists())


def edit(path: Path, **changes: Any) -> None:
    """Change `bundle.json`, hashes included, so that only the check in question can fail."""
    values = json.loads((path / "bundle.json").read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
    values["sha256"] = {name: sha256(path / name) for name in values["sha256"]}
    (path / "bundle.json").write_text(json.dumps(values))


def test_loaded_policy_acts_as_the_module(bundle: Path) -> None:
    policy = load_bundle(bundle, camera=CAMERA, rate=5.0)
    assert policy.info == INFO
    image, proprio = np.full((24, 32, 3), 51, np.uint8), np.arange(7.0)
    decision = policy.act(image, proprio, "b")
    np.testing.assert_allclose(decision.action, 0.01 * (proprio + 0.2 + 1), rtol=1e-5)
    np.testing.assert_allclose(
        decision.q, [decision.action.sum(), decision.action.sum() - 1], rtol=1e-5
    )


def test_id_follows_from_the_contents(tmp_path: Path) -> None:
    first = write(tmp_path / "one")
    assert load_bundle(tmp_path / "one").bundle_id == first
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert write(tmp_path / "two", replace(INFO, tasks=("a", "c"))) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 7}, "format version is 7, expected 1"),
        (
            {"action__names": ["dx"]},
            r"action names is \('dx',\) in the bundle, \('dx', 'dy'",
        ),
        ({"action__low": [0.0] * 7}, "action low is"),
        ({"action__high": [9.0] * 7}, "action high is"),
        (
            {"action__frame": "tool"},
            "action frame is 'tool' in the bundle, 'base_link' here",
        ),
        ({"action__gripper": "1 closed"}, "gripper sense is '1 closed'"),
        ({"proprio": ["x"]}, "proprio names is"),
        ({"camera__name": "wrist"}, "camera name is 'wrist' in the bundle, 'front' here"),
        (
            {"camera__width": 640},
            r"camera size is \(640, 24\) in the bundle, \(32, 24\) here",
        ),
        (
            {"image__resize": "lanczos"},
            "image pipeline is 'lanczos' in the bundle, 'cv2.INTER_AREA' here",
        ),
        ({"rate": 10.0}, "rate is 10.0 in the bundle, 5.0 here"),
    ],
)
def test_mismatch_is_refused_by_name(
    bundle: Path, changes: dict[str, Any], message: str
) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle, camera=CAMERA, rate=5.0)


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


def test_golden_garbage_is_refused(bundle: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"garbage")
    edit(bundle)
    with pytest.raises(BundleError, match="truncated or incomplete"):
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
    with pytest.raises(BundleError, match="incomplete: 'rate'"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("action", 0.001, "action"),
        ("q", 0.1, "Q"),
        ("q", np.nan, "Q"),
        ("resized", 9, "resized image"),
    ],
)
def test_computer_that_does_not_reproduce_the_policy_is_refused(
    tmp_path: Path, name: str, change: float, what: str
) -> None:
    altered = golden()[name] + np.asarray(change).astype(golden()[name].dtype)
    write(tmp_path / "bundle", **{name: altered})
    with pytest.raises(BundleError, match=f"golden {what} 0 differs by"):
        load_bundle(tmp_path / "bundle")


def test_bundle_without_golden_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "bundle", **{name: value[:0] for name, value in golden().items()})
    with pytest.raises(BundleError, match="holds no golden image"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("image", "proprio", "task", "message"),
    [
        (
            np.zeros((48, 64, 3), np.uint8),
            np.zeros(7),
            "a",
            r"image is uint8 \(48, 64, 3\), the bundle expects",
        ),
        (np.zeros((24, 32, 3), np.float32), np.zeros(7), "a", "image is float32"),
        (
            np.zeros((24, 32, 3), np.uint8),
            np.full(7, np.nan),
            "a",
            "expected 7 finite values",
        ),
        (np.zeros((24, 32, 3), np.uint8), np.zeros(6), "a", "expected 7 finite values"),
        (
            np.zeros((24, 32, 3), np.uint8),
            np.zeros(7),
            "c",
            "unknown task 'c'; this bundle knows: 'a', 'b'",
        ),
    ],
)
def test_bad_input_is_refused(
    bundle: Path, image: np.ndarray, proprio: np.ndarray, task: str, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle).act(image, proprio, task)


def test_action_that_is_not_finite_never_leaves_the_policy(tmp_path: Path) -> None:
    module = Toy()
    with torch.no_grad():
        module.gain.fill_(1e38)
    values = golden()
    values["proprio"] = values["proprio"] * 0
    inputs = [torch.from_numpy(values[name]) for name in ("resized", "proprio", "task")]
    with torch.no_grad():
        action, _ = module.act(*inputs)
    values |= {"action": action.numpy(), "q": module.q(*inputs, action).numpy()}
    write_bundle(tmp_path / "bundle", INFO, programs(module, "export"), values)
    with pytest.raises(BundleError, match="the policy's action is not finite"):
        load_bundle(tmp_path / "bundle").act(
            np.zeros((24, 32, 3), np.uint8), np.full(7, 1e3), "a"
        )


def test_importing_the_format_needs_neither_pytorch_nor_ros() -> None:
    code = "import sys, ptr_policy_node.bundle; sys.exit('torch' in sys.modules or 'rclpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
