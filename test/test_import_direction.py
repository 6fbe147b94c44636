"""The directions of docs/design.md, from both sides: ruff refuses what breaks them, each part loads alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROS = ["rclpy", "ptr_msgs", "std_msgs", "sensor_msgs", "geometry_msgs", "builtin_interfaces", "launch"]


def lint(path: str, source: str) -> str:
    """Return what ruff says of an import as if it stood in the file `path`."""
    command = [sys.executable, "-m", "ruff", "check", "--select=TID", "--output-format=concise"]
    done = subprocess.run(
        [*command, f"--stdin-filename={path}", "-"], input=source, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def load(package: str, modules: list[str], absent: list[str]) -> None:
    """Import modules of a package in a fresh interpreter where other packages cannot be imported."""
    program = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"for name in {modules!r}:\n"
        f"    importlib.import_module({package!r} + '.' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def modules_of(package: str) -> list[str]:
    """Return the dotted names of a package's modules, below the package."""
    folder = ROOT / "src" / package / package
    files = (file.relative_to(folder).with_suffix("") for file in sorted(folder.rglob("*.py")))
    return [".".join(file.parts) for file in files if file.name not in ("__init__", "__main__")]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ptr_training/ptr_training/train.py", "import rclpy\n"),
        ("ptr_training/ptr_training/bags.py", "from sensor_msgs.msg import Image\n"),
        ("ptr_training/ptr_training/bags.py", "def read():\n    from ptr_msgs.msg import EefCommand\n"),
        ("ptr_training/ptr_training/train.py", "import widowx_bringup.simulator\n"),
        ("ptr_training/ptr_training/train.py", "from ptr_policy_node import policy_node\n"),
        ("ptr_policy_node/ptr_policy_node/policy_node.py", "from ptr_training.export import export\n"),
        ("ptr_policy_node/ptr_policy_node/bundle.py", "import widowx_bringup\n"),
        ("ptr_policy_node/ptr_policy_node/bundle.py", "import torch\n"),
        ("ptr_policy_node/ptr_policy_node/images.py", "from rclpy.node import Node\n"),
    ],
)
def test_an_import_against_the_direction_is_refused(file: str, source: str) -> None:
    assert "TID25" in lint(f"src/{file}", source)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ptr_training/ptr_training/export.py", "from ptr_policy_node import bundle, files, images, spec\n"),
        ("ptr_policy_node/ptr_policy_node/policy_node.py", "import rclpy\n"),
        ("widowx_bringup/widowx_bringup/demo.py", "import ptr_training.train, ptr_policy_node.bundle, rclpy\n"),
    ],
)
def test_an_import_along_the_direction_is_accepted(file: str, source: str) -> None:
    assert "TID25" not in lint(f"src/{file}", source)


def test_the_shared_contracts_load_without_ros_and_without_torch() -> None:
    absent = [*ROS, "torch", "ptr_training", "widowx_bringup"]
    load("ptr_policy_node", ["spec", "files", "images", "bundle"], absent)


def test_training_loads_without_ros() -> None:
    load("ptr_training", modules_of("ptr_training"), [*ROS, "widowx_bringup"])


def test_the_policy_node_loads_without_training_and_without_torch() -> None:
    pytest.importorskip("rclpy", reason="the node needs ROS 2")
    load("ptr_policy_node", modules_of("ptr_policy_node"), ["torch", "ptr_training", "widowx_bringup"])
