"""The installed ROS, messages and drivers as `ptr doctor` judges them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from widowx_bringup.doctor import installation
from widowx_bringup.doctor.installation import Installation

WHEELS = Installation(
    "/venv/lib/python3.11/site-packages/rclpy/__init__.py", "jazzy", "rmw_fastrtps_cpp"
)
APT = replace(
    WHEELS,
    rclpy="/opt/ros/humble/local/lib/python3.10/dist-packages/rclpy/__init__.py",
    distribution="humble",
)


def test_the_ros_in_use_is_asked_in_a_process_of_its_own() -> None:
    found = installation.read_installation()
    assert (found.error, found.messages) == ("", "")
    assert Path(found.rclpy).is_file()
    assert found.middleware.startswith("rmw_")


def test_a_ros_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_nonsense_cpp")
    found = installation.read_installation()
    assert "rmw_nonsense_cpp" in found.error
    result = installation.check_distribution(found, os.environ)
    assert result.level == "fail"
    assert "unset RMW_IMPLEMENTATION" in result.remedy


def test_a_ros_that_is_not_there_is_a_failure() -> None:
    result = installation.check_distribution(
        Installation(error="No module named 'rclpy'"), {}
    )
    assert result.level == "fail"
    assert "make setup" in result.remedy


@pytest.mark.parametrize(
    ("installed", "shell", "level"),
    [
        (WHEELS, {}, "ok"),
        (WHEELS, {"ROS_DISTRO": "humble"}, "fail"),
        (
            WHEELS,
            {"ROS_DISTRO": "jazzy", "LD_LIBRARY_PATH": "/x:/opt/ros/jazzy/lib"},
            "fail",
        ),
        (
            APT,
            {"ROS_DISTRO": "humble", "AMENT_PREFIX_PATH": "/ws/install:/opt/ros/humble"},
            "ok",
        ),
        (replace(WHEELS, distribution="kilted"), {}, "warn"),
    ],
)
def test_a_ros_sourced_over_another_is_found_out(
    installed: Installation, shell: dict[str, str], level: str
) -> None:
    assert installation.check_distribution(installed, shell, prefix="/venv").level == level


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Where ptr_msgs is installed, with one message; `source/msg` has the same one."""
    for folder in (tmp_path / "install/share/ptr_msgs/msg", tmp_path / "source/msg"):
        folder.mkdir(parents=True)
        (folder / "ArmState.msg").write_text("float64 x\n")
    install(tmp_path / "install", "ptr_msgs")
    return tmp_path / "install"


def install(prefix: Path, *packages: str) -> None:
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True, exist_ok=True)
    for package in packages:
        (index / package).touch()


def test_installed_messages_must_be_those_of_the_source_tree(
    prefix: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    assert installation.check_messages(WHEELS, source, [prefix]).level == "ok"
    (source / "msg/ArmState.msg").write_text("float64 x\nfloat64 y\n")
    result = installation.check_messages(WHEELS, source, [prefix])
    assert result.level == "fail"
    assert "ArmState.msg" in result.found


def test_messages_without_a_source_tree_are_taken_as_they_are(
    prefix: Path, tmp_path: Path
) -> None:
    assert installation.check_messages(WHEELS, tmp_path / "nowhere", [prefix]).level == "ok"


def test_messages_that_do_not_load_are_a_failure(prefix: Path, tmp_path: Path) -> None:
    broken = replace(WHEELS, messages="ImportError: no library")
    assert "no library" in installation.check_messages(broken, tmp_path, [prefix]).found
    assert installation.check_messages(WHEELS, tmp_path, []).level == "fail"


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "none")])
def test_the_copy_of_interbotixs_messages_for_tests_is_not_its_driver(
    tmp_path: Path, robot: bool, level: str
) -> None:
    install(tmp_path, "interbotix_xs_msgs")
    assert installation.check_interbotix([tmp_path], robot).level == level
    install(tmp_path, *installation.DRIVER_PACKAGES)
    assert installation.check_interbotix([tmp_path], robot).level == "ok"


def test_camera_drivers_that_are_installed_are_named(tmp_path: Path) -> None:
    install(tmp_path, "usb_cam")
    there, absent = installation.check_camera_drivers([tmp_path]).found.split(";")
    assert "usb_cam" in there
    assert "realsense2_camera" in absent
