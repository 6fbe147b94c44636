"""The policy node as a process: what ends it, with which message and status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

from brightness_bundle import write_brightness_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_brightness_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


def run_node(*parameters: str) -> subprocess.CompletedProcess[str]:
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    return subprocess.run(
        [sys.executable, "-m", "ptr_policy_node.policy_node", "--ros-args", *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_camera_too_late_for_the_oldest_image_acted_on_is_refused(bundle: Path) -> None:
    camera = ("camera:=front", "width:=64", "height:=48")
    result = run_node(
        "autostart:=true", f"bundle:={bundle}", *camera, "camera_latency:=0.3"
    )
    assert result.returncode == 2
    assert (
        "camera_latency is 0.3 s: no image would be younger than max_image_age, 0.2 s"
        in result.stderr
    )
    result = run_node(
        "autostart:=true", f"bundle:={bundle}", *camera, "camera_latency:=80.0"
    )
    assert "parameter camera_latency of policy_node" in result.stderr


def test_autostart_with_a_wrong_camera_ends_with_one_error(bundle: Path) -> None:
    result = run_node(
        "autostart:=true", f"bundle:={bundle}", "camera:=front", "width:=640", "height:=480"
    )
    assert result.returncode == 2
    assert "camera size is (64, 48) in the bundle, (640, 480) here" in result.stderr
    assert "Traceback" not in result.stderr


def test_backend_that_cannot_run_the_bundle_ends_the_node_with_those_that_can(
    bundle: Path,
) -> None:
    camera = ("camera:=front", "width:=64", "height:=48")
    result = run_node("autostart:=true", f"bundle:={bundle}", *camera, "backend:=aot")
    assert result.returncode == 2
    assert "backend 'aot' runs bundles of the form 'export'" in result.stderr
    assert "choose torchscript" in result.stderr


def test_unknown_parameter_is_refused() -> None:
    result = run_node("bundel:=x")
    assert result.returncode == 2
    assert "no parameter 'bundel'" in result.stderr


def test_torch_is_not_imported_before_the_node_is_configured() -> None:
    code = (
        "import sys, rclpy; from ptr_policy_node.policy_node import PolicyNode; "
        "rclpy.init(); PolicyNode(); "
        "assert 'torch' not in sys.modules; assert 'ptr_training' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
