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
from torch import Tensor, nn

from ptr_policy_node.bundle import BundleError, BundleInfo, CameraSpec, load_bundle, write_bundle
from ptr_policy_node.files import sha256
from ptr_policy_node.images import resize_area

CAMERA = CameraSpec("front", 32, 24)
INFO = BundleInfo(
    agent="cql",
    camera=CAMERA,
    image_height=8,
    image_width=8,
    rate=5.0,
    tasks=("a", "b"),
    command="executed",
    data={"target": {"name": "t", "sha256": "0" * 64}},
    checkpoint={"path": "run/checkpoints/step_1.pt", "step": 1},
    code_version="0.1.0",
)


class Toy(nn.Module):
    """A policy whose outputs follow from its inputs by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.01))

    @torch.jit.export
    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        brightness = image.to(torch.float32).mean((1, 2, 3)) / 255.0
        action = self.gain * proprio + self.gain * (brightness + task.to(torch.float32)).unsqueeze(1)
        return action, torch.zeros_like(action)

    @torch.jit.export
    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        return torch.stack([action.sum(1), action.sum(1) - 1.0], 1)


def golden() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 24, 32, 3), np.uint8)
    values = {
        "image": image,
        "resized": np.stack([resize_area(each, (8, 8)) for each in image]),
        "proprio": rng.normal(size=(2, 7)).astype(np.float32),
        "task": np.array([0, 1]),
    }
    inputs = [torch.from_numpy(values[name]) for name in ("resized", "proprio", "task")]
    with torch.no_grad():
        action, _ = Toy().act(*inputs)
        return values | {"action": action.numpy(), "q": Toy().q(*inputs, action).numpy()}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write(tmp_path / "bundle")
    return tmp_path / "bundle"


def write(path: Path, info: BundleInfo = INFO, **changes: np.ndarray) -> str:
    return write_bundle(path, info, torch.jit.script(Toy()).save_to_buffer(), golden() | changes)


def edit(path: Path, **changes: Any) -> None:
    """Change `bundle.json`, hashes included, so that only the check in question can fail."""
    values = json.loads((path / "bundle.json").read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
    values["sha256"] = {name: sha256(path / name) for name in ("policy.pt", "golden.npz")}
    (path / "bundle.json").write_text(json.dumps(values))


def test_loaded_policy_acts_as_the_module(bundle: Path) -> None:
    policy = load_bundle(bundle, camera=CAMERA, rate=5.0)
    assert policy.info == INFO
    image, proprio = np.full((24, 32, 3), 51, np.uint8), np.arange(7.0)
    decision = policy.act(image, proprio, "b")
    np.testing.assert_allclose(decision.action, 0.01 * (proprio + 0.2 + 1), rtol=1e-5)
    np.testing.assert_allclose(decision.q, [decision.action.sum(), decision.action.sum() - 1], rtol=1e-5)


def test_id_follows_from_the_contents(tmp_path: Path) -> None:
    first = write(tmp_path / "one")
    assert load_bundle(tmp_path / "one").bundle_id == first
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert write(tmp_path / "two", replace(INFO, tasks=("a", "c"))) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 7}, "format version is 7, expected 1"),
        ({"action__names": ["dx"]}, r"action names is \('dx',\) in the bundle, \('dx', 'dy'"),
        ({"action__low": [0.0] * 7}, "action low is"),
        ({"action__high": [9.0] * 7}, "action high is"),
        ({"action__frame": "tool"}, "action frame is 'tool' in the bundle, 'base_link' here"),
        ({"action__gripper": "1 closed"}, "gripper sense is '1 closed'"),
        ({"proprio": ["x"]}, "proprio names is"),
        ({"camera__name": "wrist"}, "camera name is 'wrist' in the bundle, 'front' here"),
        ({"camera__width": 640}, r"camera size is \(640, 24\) in the bundle, \(32, 24\) here"),
        ({"image__resize": "lanczos"}, "image pipeline is 'lanczos' in the bundle, 'cv2.INTER_AREA' here"),
        ({"rate": 10.0}, "rate is 10.0 in the bundle, 5.0 here"),
    ],
)
def test_mismatch_is_refused_by_name(bundle: Path, changes: dict[str, Any], message: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle, camera=CAMERA, rate=5.0)


@pytest.mark.parametrize("name", ["policy.pt", "golden.npz"])
def test_altered_file_is_refused(bundle: Path, name: str) -> None:
    file = bundle / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{name}: checksum is .*, expected"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["bundle.json", "policy.pt", "golden.npz"])
def test_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"it has no {name}"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("policy.pt", "not a TorchScript policy"),
        ("golden.npz", "truncated or incomplete"),
        ("bundle.json", "truncated or not JSON"),
    ],
)
def test_garbage_is_refused(bundle: Path, name: str, message: str) -> None:
    (bundle / name).write_bytes(b"garbage")
    if name != "bundle.json":
        edit(bundle)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)


def test_incomplete_description_is_refused(bundle: Path) -> None:
    values = json.loads((bundle / "bundle.json").read_text())
    del values["rate"]
    (bundle / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="incomplete: 'rate'"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [("action", 0.001, "action"), ("q", 0.1, "Q"), ("q", np.nan, "Q"), ("resized", 9, "resized image")],
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
        (np.zeros((48, 64, 3), np.uint8), np.zeros(7), "a", r"image is uint8 \(48, 64, 3\), the bundle expects"),
        (np.zeros((24, 32, 3), np.float32), np.zeros(7), "a", "image is float32"),
        (np.zeros((24, 32, 3), np.uint8), np.full(7, np.nan), "a", "expected 7 finite values"),
        (np.zeros((24, 32, 3), np.uint8), np.zeros(6), "a", "expected 7 finite values"),
        (np.zeros((24, 32, 3), np.uint8), np.zeros(7), "c", "unknown task 'c'; this bundle knows: 'a', 'b'"),
    ],
)
def test_bad_input_is_refused(bundle: Path, image: np.ndarray, proprio: np.ndarray, task: str, message: str) -> None:
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
    write_bundle(tmp_path / "bundle", INFO, torch.jit.script(module).save_to_buffer(), values)
    with pytest.raises(BundleError, match="the policy's action is not finite"):
        load_bundle(tmp_path / "bundle").act(np.zeros((24, 32, 3), np.uint8), np.full(7, 1e3), "a")


def test_importing_the_format_needs_neither_pytorch_nor_ros() -> None:
    code = "import sys, ptr_policy_node.bundle; sys.exit('torch' in sys.modules or 'rclpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
