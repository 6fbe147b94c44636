"""Interbotix's URDF of the arm: used where it is installed, and the same arm as ours."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ptr_common.action_space import JOINT_NAMES, pose
from ptr_common.errors import PtrError
from ptr_common.rotation import rotation_from_rpy
from widowx_bringup.arm import urdf
from widowx_bringup.arm.gripper import FINGER_LIMITS
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import Limits
from widowx_bringup.graph.graphs import find_graph
from widowx_bringup.graph.spec import GraphError, NodeSpec


def nodes_of(**given: str) -> dict[str, NodeSpec]:
    graph = find_graph("record")
    return {node.executable: node for node in graph.nodes(graph.resolve(given))}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix with the two packages, and a xacro that shows its arguments."""
    files = {
        f"share/{urdf.DESCRIPTIONS}/urdf/wx250s.urdf.xacro": "",
        f"lib/{urdf.PUBLISHER}/{urdf.PUBLISHER}": "",
        "bin/xacro": "#!/bin/sh\necho '<robot: \"'$*'\">'\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return tmp_path


def test_the_simulated_arm_is_shown_under_its_own_name_where_the_urdf_is_installed(
    installed: Path,
) -> None:
    publisher = nodes_of(robot_name="left")[urdf.PUBLISHER]
    assert (
        "robot_name:=left base_link_frame:=base_link"
        in publisher.parameters["robot_description"]
    )
    assert publisher.full_name == "/left/robot_state_publisher"
    assert publisher.parameters["use_sim_time"] is True


def test_it_can_be_left_out_and_the_real_driver_brings_its_own(installed: Path) -> None:
    assert urdf.PUBLISHER not in nodes_of(urdf="false")
    assert urdf.PUBLISHER not in nodes_of(use_sim="false", teleop="none")


def test_without_the_packages_nothing_is_added_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    assert urdf.PUBLISHER not in nodes_of()
    with pytest.raises(
        GraphError,
        match="not installed here: interbotix_xsarm_descriptions, robot_state_publisher",
    ):
        nodes_of(urdf="true")
    with pytest.raises(PtrError, match="interbotix_xsarm_descriptions is not installed"):
        urdf.robot_description("wx250s")


def test_what_xacro_says_about_a_file_it_refuses_is_told(installed: Path) -> None:
    (installed / "bin/xacro").write_text("#!/bin/sh\necho undefined macro >&2; exit 2\n")
    with pytest.raises(
        PtrError, match=r"(?s)wx250s.urdf.xacro robot_name:=left.*undefined macro"
    ):
        nodes_of(robot_name="left")


@pytest.fixture(scope="module")
def robot() -> ElementTree.Element:
    """The genuine URDF."""
    if urdf.DESCRIPTIONS in urdf.missing() or "xacro" in urdf.missing():
        pytest.skip("interbotix_xsarm_descriptions or xacro is not installed")
    return ElementTree.fromstring(urdf.robot_description("left"))


def numbers(text: str) -> np.ndarray:
    return np.array([float(word) for word in text.split()])


def joint(robot: ElementTree.Element, name: str) -> ElementTree.Element:
    found = robot.find(f"joint[@name='{name}']")
    assert found is not None, f"the URDF has no joint {name}"
    return found


def forward(robot: ElementTree.Element, joints: dict[str, float]) -> np.ndarray:
    """Return T_base_eef of the URDF: the chain from `ee_gripper_link` up to `base_link`."""
    T, link = np.eye(4), "left/ee_gripper_link"
    by_child = {each.find("child").attrib["link"]: each for each in robot.findall("joint")}  # type: ignore[union-attr]
    while link != "left/base_link":
        each = by_child[link]
        link = each.find("parent").attrib["link"]  # type: ignore[union-attr]
        origin = each.find("origin").attrib  # type: ignore[union-attr]
        step = pose(rotation_from_rpy(numbers(origin["rpy"])), numbers(origin["xyz"]))
        if each.attrib["type"] == "revolute":
            axis, angle = (
                numbers(each.find("axis").attrib["xyz"]),
                joints[each.attrib["name"]],
            )  # type: ignore[union-attr]
            K = np.cross(np.eye(3), axis)
            step = step @ pose(
                np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K, np.zeros(3)
            )
        T = step @ T
    return T


def test_the_gripper_is_where_our_kinematics_says(robot: ElementTree.Element) -> None:
    limits, kinematics = Limits(), Kinematics()
    for joints in np.random.default_rng(0).uniform(
        limits.joint_low, limits.joint_high, (200, 6)
    ):
        expected = forward(robot, dict(zip(JOINT_NAMES, joints, strict=True)))
        np.testing.assert_allclose(kinematics.forward(joints), expected, atol=1e-6)


def test_every_joint_that_moves_is_among_the_joint_states(
    robot: ElementTree.Element,
) -> None:
    moving = {
        each.attrib["name"]
        for each in robot.findall("joint")
        if each.attrib["type"] != "fixed"
    }
    assert moving == {*JOINT_NAMES, "gripper", "left_finger", "right_finger"}


def test_our_limits_are_within_those_of_the_urdf(robot: ElementTree.Element) -> None:
    ours = Limits()
    for name, low, high in zip(JOINT_NAMES, ours.joint_low, ours.joint_high, strict=True):
        limit = joint(robot, name).find("limit")
        assert limit is not None
        assert (
            float(limit.attrib["lower"]) - 1e-3
            <= low
            < high
            <= float(limit.attrib["upper"]) + 1e-3
        ), name
    finger = joint(robot, "left_finger").find("limit")
    assert finger is not None
    assert (float(finger.attrib["lower"]), float(finger.attrib["upper"])) == FINGER_LIMITS
