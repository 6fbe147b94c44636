"""A second graph in an occupied namespace is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ptr_common.errors import PtrError
from widowx_bringup.graph.environment import environment
from widowx_bringup.graph.occupied import check_free, names_of
from widowx_bringup.graph.session import own_domain
from widowx_bringup.graph.spec import NodeSpec

NODE = """
import rclpy
from ptr_common.managed_node import Health, publish_diagnostics
rclpy.init()
node = rclpy.create_node("recorder_node", namespace="/here")
publish_diagnostics(node, "toy", Health)
print("up", flush=True)
rclpy.spin(node)
"""


def spec(namespace: str, executable: str = "recorder_node") -> NodeSpec:
    return NodeSpec("widowx_bringup", executable, namespace=namespace)


def test_a_namespace_holds_one_arm_whichever_graph_it_belongs_to() -> None:
    names = names_of([spec("wx", "arm_node"), spec("wx/camera/front", "camera_node")])
    assert {"/wx/simulation", "/wx/arm_node", "/wx/camera/front/camera_node"} <= names
    assert "/wx/camera/front/simulation" not in names


def test_a_second_graph_in_an_occupied_namespace_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment({}).items():  # as the nodes of a graph have it
        monkeypatch.setenv(name, value)
    process = subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        refused = pytest.raises(
            PtrError, match="a graph runs here already: /here/recorder_node"
        )
        with refused, own_domain([spec("here", "policy_node")]):  # as a session starts
            pytest.fail("two graphs in one namespace and one domain")
        check_free([spec("elsewhere")], os.environ)
    finally:
        process.kill()
        process.wait()
