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


def limits(folder: Path, receive: int, send: int) -> Path:
    """Return a folder with the kernel's limits of socket buffers [bytes]."""
    (folder / "rmem_max").write_text(f"{receive}\n")
    (folder / "wmem_max").write_text(f"{send}\n")
    return folder


@pytest.mark.parametrize(
    ("domain", "first", "last"), [("", 7400, 7649), ("0", 7400, 7649), ("42", 17900, 18149)]
)
def test_the_ports_of_the_domain_are_named_for_the_firewall(
    tmp_path: Path, domain: str, first: int, last: int
) -> None:
    buffers = limits(tmp_path, network.SOCKET_BUFFER, network.SOCKET_BUFFER)
    line = network.check_second_computer({"ROS_DOMAIN_ID": domain}, "jazzy", buffers)
    assert line.level == "ok"
    assert f"UDP ports {first} to {last}" in line.found


def test_small_buffers_for_images_to_another_computer_are_a_warning(tmp_path: Path) -> None:
    for receive, send in ((212992, network.SOCKET_BUFFER), (network.SOCKET_BUFFER, 212992)):
        line = network.check_second_computer({}, "jazzy", limits(tmp_path, receive, send))
        assert line.level == "warn"
        assert "docker/host/setup --network" in line.remedy


@pytest.mark.parametrize(
    ("shell", "distribution"),
    [
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "jazzy"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "jazzy"),
        ({"ROS_LOCALHOST_ONLY": "1"}, "humble"),
        ({"ROS_DOMAIN_ID": "seven"}, "jazzy"),
    ],
)
def test_where_no_other_computer_is_reached_nothing_is_asked_for(
    shell: dict[str, str], distribution: str
) -> None:
    assert network.check_second_computer(shell, distribution).level == "none"
