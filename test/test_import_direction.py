"""Imports follow the direction of docs/design.md, without circle; each package loads alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from check_imports import circle, graph, main, violations

ROOT = Path(__file__).parents[1]
ROS = [
    "rclpy",
    "ptr_msgs",
    "std_msgs",
    "sensor_msgs",
    "geometry_msgs",
    "builtin_interfaces",
    "launch",
]


def load(package: str, modules: list[str], absent: list[str]) -> None:
    """Import modules of a package in a fresh interpreter that lacks other packages."""
    program = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"for name in {modules!r}:\n"
        f"    importlib.import_module({package!r} + '.' + name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def modules_of(package: str) -> list[str]:
    """Return the dotted names of a package's modules, below the package."""
    folder = ROOT / "src" / package / package
    files = (
        file.relative_to(folder).with_suffix("") for file in sorted(folder.rglob("*.py"))
    )
    return [
        ".".join(file.parts) for file in files if file.name not in ("__init__", "__main__")
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ptr_training.training.train", "import rclpy"),
        ("ptr_training.bags.export", "from sensor_msgs.msg import Image"),
        (
            "ptr_training.bags.export",
            "def read():\n    from ptr_msgs.msg import EefCommand",
        ),
        ("ptr_training.training.train", "def read():\n    import rclpy"),
        ("ptr_training.training.train", "def read():\n    import launch"),
        ("ptr_training.data.store", "def read():\n    import interbotix_xs_msgs"),
        (
            "ptr_training.data.store",
            "def read():\n    from ptr_policy_node.policy_node import PolicyNode",
        ),
        ("ptr_training.data.store", "from ptr_policy_node import bundle"),
        ("ptr_training.deploy.bundle_export", "from ptr_policy_node import policy_node"),
        ("ptr_training.training.train", "import widowx_bringup.sim.world"),
        (
            "ptr_training.models.frozen",
            "def read():\n    from ptr_training.training.checkpoint import Checkpoint",
        ),
        (
            "ptr_training.models.frozen",
            "def read():\n    from ..training.checkpoint import Checkpoint",
        ),
        (
            "ptr_policy_node.policy_node",
            "from ptr_training.deploy.bundle_export import export",
        ),
        ("ptr_policy_node.bundle", "import widowx_bringup"),
        ("ptr_common.images", "from rclpy.node import Node"),
        ("ptr_common.images", "import ptr_policy_node"),
        ("widowx_bringup.arm.limits", "from widowx_bringup.sim.world import World"),
    ],
)
def test_an_import_against_the_direction_is_refused(module: str, source: str) -> None:
    assert violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ptr_training.deploy.bundle_export", "from ptr_policy_node import bundle"),
        (
            "ptr_training.deploy.bundle_export",
            "from ptr_policy_node.bundle import BundleInfo",
        ),
        ("ptr_training.bags.export", "from .reader import BagReader\nimport json"),
        ("ptr_policy_node.policy_node", "import rclpy"),
        ("ptr_common.qos", "import rclpy"),
        (
            "widowx_bringup.evaluation.demo",
            "import ptr_training.training.train, ptr_policy_node.bundle, rclpy",
        ),
    ],
)
def test_an_import_along_the_direction_is_accepted(module: str, source: str) -> None:
    assert not violations(source, module)


def test_a_circle_is_found_and_named_in_order() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) in (
        ["a", "b", "c", "a"],
        ["a", "c", "b", "a"],
        ["b", "c", "a", "b"],
        ["b", "a", "c", "b"],
        ["c", "a", "b", "c"],
        ["c", "b", "a", "c"],
    )
    assert circle({"a": {"b"}, "b": set()}) == []


def test_an_import_inside_a_function_is_an_edge(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    from p.b import name\n")
    (tmp_path / "b.py").write_text("from . import a\n")
    files = {"p.a": tmp_path / "a.py", "p.b": tmp_path / "b.py"}
    assert graph(files) == {"p.a": {"p.b"}, "p.b": {"p.a"}}


def test_no_import_of_ours_is_against_the_direction_and_none_is_in_a_circle() -> None:
    assert main() == 0


def test_what_all_packages_share_loads_without_ros_and_without_torch() -> None:
    absent = [*ROS, "torch", "ptr_policy_node", "ptr_training", "widowx_bringup"]
    modules = [
        name
        for name in modules_of("ptr_common")
        if name not in ("qos", "node", "managed_node")
    ]
    load("ptr_common", modules, absent)


def test_the_format_of_bundles_loads_without_ros_and_without_torch() -> None:
    load(
        "ptr_policy_node",
        ["bundle", "policy"],
        [*ROS, "torch", "ptr_training", "widowx_bringup"],
    )


def test_training_loads_without_ros() -> None:
    load("ptr_training", modules_of("ptr_training"), [*ROS, "widowx_bringup"])


def test_the_policy_node_loads_without_training_and_without_torch() -> None:
    pytest.importorskip("rclpy", reason="the node needs ROS 2")
    load(
        "ptr_policy_node",
        modules_of("ptr_policy_node"),
        ["torch", "ptr_training", "widowx_bringup"],
    )
