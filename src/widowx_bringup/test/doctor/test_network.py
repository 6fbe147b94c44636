"""Middleware, profile and discovery as `ptr doctor` judges them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from widowx_bringup.doctor import network
from widowx_bringup.doctor.installation import Installation
from widowx_bringup.graph.environment import PROFILE, profile_file

WHEELS = Installation(
    "/venv/lib/python3.11/site-packages/rclpy/__init__.py", "jazzy", "rmw_fastrtps_cpp"
)


def test_another_middleware_is_a_warning() -> None:
    assert network.check_middleware(WHEELS).level == "ok"
    assert (
        network.check_middleware(replace(WHEELS, middleware="rmw_cyclonedds_cpp")).level
        == "warn"
    )


@pytest.mark.parametrize(
    ("shell", "distribution", "robot", "level"),
    [
        ({}, "jazzy", False, "ok"),
        ({}, "jazzy", True, "warn"),  # everyone is in domain 0
        ({"ROS_DOMAIN_ID": "7"}, "jazzy", True, "ok"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "jazzy", True, "ok"),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
            "humble",
            True,
            "warn",
        ),  # which does not know the variable
        ({"ROS_LOCALHOST_ONLY": "1"}, "humble", True, "ok"),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "ROS_DOMAIN_ID": "7"},
            "jazzy",
            True,
            "fail",
        ),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "jazzy", False, "warn"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "subnet"}, "jazzy", False, "fail"),
        ({"ROS_DOMAIN_ID": "233"}, "jazzy", False, "fail"),
        ({"ROS_DOMAIN_ID": "-1"}, "jazzy", False, "fail"),
        (
            {"ROS_DOMAIN_ID": "150"},
            "jazzy",
            False,
            "warn",
        ),  # ports that the kernel gives away
    ],
)
def test_who_is_found_is_judged(
    shell: dict[str, str], distribution: str, robot: bool, level: str
) -> None:
    result = network.check_discovery(shell, distribution, robot)
    assert result.level == level
    assert bool(result.remedy) == (level != "ok")


def test_a_profile_of_ones_own_is_a_warning_and_a_missing_one_a_failure(
    tmp_path: Path,
) -> None:
    other, copy = tmp_path / "other.xml", tmp_path / "copy.xml"
    other.write_text("<dds/>")
    copy.write_bytes(profile_file().read_bytes())
    levels = [
        network.check_profile({PROFILE: str(file)}, profile_file()).level
        for file in (copy, other, tmp_path / "none.xml")
    ]
    assert levels == ["ok", "warn", "fail"]
    assert network.check_profile({}, profile_file()).level == "ok"
