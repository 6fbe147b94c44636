"""Installation, discovery, shared memory and images as `ptr doctor` judges them."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from widowx_bringup.doctor import ros
from widowx_bringup.doctor.image_transport import Crossing, Pictures
from widowx_bringup.doctor.ros import Circumstances, Installation
from widowx_bringup.graph.graphs import PROFILE, environment, profile_file

WHEELS = Installation(
    "/venv/lib/python3.11/site-packages/rclpy/__init__.py", "jazzy", "rmw_fastrtps_cpp"
)
APT = replace(
    WHEELS,
    rclpy="/opt/ros/humble/local/lib/python3.10/dist-packages/rclpy/__init__.py",
    distribution="humble",
)


# --- installation -----------------------------------------------------------------------------------------------


def test_the_ros_in_use_is_asked_in_a_process_of_its_own() -> None:
    found = ros.installation()
    assert (found.error, found.messages) == ("", "")
    assert Path(found.rclpy).is_file()
    assert found.middleware.startswith("rmw_")


def test_a_ros_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_nonsense_cpp")
    found = ros.installation()
    assert "rmw_nonsense_cpp" in found.error
    finding = ros.distribution(found, os.environ)
    assert finding.level == "fail"
    assert "unset RMW_IMPLEMENTATION" in finding.remedy


def test_a_ros_that_is_not_there_is_a_failure() -> None:
    finding = ros.distribution(Installation(error="No module named 'rclpy'"), {})
    assert finding.level == "fail"
    assert "make setup" in finding.remedy


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
    assert ros.distribution(installed, shell, prefix="/venv").level == level


def test_another_middleware_is_a_warning() -> None:
    assert ros.middleware(WHEELS).level == "ok"
    assert ros.middleware(replace(WHEELS, middleware="rmw_cyclonedds_cpp")).level == "warn"


# --- messages and packages --------------------------------------------------------------------------------------


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
    assert ros.messages(WHEELS, source, [prefix]).level == "ok"
    (source / "msg/ArmState.msg").write_text("float64 x\nfloat64 y\n")
    finding = ros.messages(WHEELS, source, [prefix])
    assert finding.level == "fail"
    assert "ArmState.msg" in finding.found


def test_messages_without_a_source_tree_are_taken_as_they_are(
    prefix: Path, tmp_path: Path
) -> None:
    assert ros.messages(WHEELS, tmp_path / "nowhere", [prefix]).level == "ok"


def test_messages_that_do_not_load_are_a_failure(prefix: Path, tmp_path: Path) -> None:
    broken = replace(WHEELS, messages="ImportError: no library")
    assert "no library" in ros.messages(broken, tmp_path, [prefix]).found
    assert ros.messages(WHEELS, tmp_path, []).level == "fail"


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "none")])
def test_the_copy_of_interbotixs_messages_for_tests_is_not_its_driver(
    tmp_path: Path, robot: bool, level: str
) -> None:
    install(tmp_path, "interbotix_xs_msgs")
    assert ros.interbotix([tmp_path], robot).level == level
    install(tmp_path, *ros.DRIVER)
    assert ros.interbotix([tmp_path], robot).level == "ok"


def test_camera_drivers_that_are_installed_are_named(tmp_path: Path) -> None:
    install(tmp_path, "usb_cam")
    there, absent = ros.camera_drivers([tmp_path]).found.split(";")
    assert "usb_cam" in there
    assert "realsense2_camera" in absent


# --- discovery and profile --------------------------------------------------------------------------------------


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
    finding = ros.discovery(shell, distribution, robot)
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def test_a_profile_of_ones_own_is_a_warning_and_a_missing_one_a_failure(
    tmp_path: Path,
) -> None:
    other, copy = tmp_path / "other.xml", tmp_path / "copy.xml"
    other.write_text("<dds/>")
    copy.write_bytes(profile_file().read_bytes())
    levels = [
        ros.profile({PROFILE: str(file)}, profile_file()).level
        for file in (copy, other, tmp_path / "none.xml")
    ]
    assert levels == ["ok", "warn", "fail"]
    assert ros.profile({}, profile_file()).level == "ok"


# --- shared memory and images -----------------------------------------------------------------------------------


def test_segments_of_dead_processes_are_counted_and_living_ones_are_not(
    tmp_path: Path,
) -> None:
    for name in ("fastrtps_0123456789abcdef", "fastrtps_fedcba9876543210"):
        (tmp_path / name).write_bytes(bytes(100_000))
        (tmp_path / f"{name}_el").touch()
    with (tmp_path / "fastrtps_0123456789abcdef_el").open("rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        values = ros.shared_memory(tmp_path).values
    assert values["leftovers"] == 1
    assert 100_000 <= values["leftover_bytes"] < 200_000


@pytest.mark.parametrize(("free", "level"), [(64e6, "fail"), (200e6, "warn"), (4e9, "ok")])
def test_little_shared_memory_is_told_with_the_command_that_grows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, level: str
) -> None:
    blocks = int(free / 4096)
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda _: os.statvfs_result([4096, 4096, blocks, blocks, blocks, *[0] * 5]),
    )
    finding = ros.shared_memory(tmp_path)
    assert finding.level == level
    assert ("--ipc=host" in finding.remedy) == (level != "ok")


OURS = Path("/config/fastdds.xml")
WELL = Circumstances(str(OURS), OURS, memory=1e9, socket_buffer=ros.SOCKET_BUFFER, busy=0.5)


def judge(
    lost: int = 0, latency: float = 0.001, shared: bool = True, where: Circumstances = WELL
) -> ros.CheckResult:
    crossing = Crossing(90, np.full(90 - lost, latency), 0.001, 0.001, shared, ())
    return ros.judge_images(Pictures(), crossing, where)


def test_images_that_all_cross_in_time_are_ok() -> None:
    finding = judge()
    assert (finding.level, finding.remedy) == ("ok", "")
    assert finding.values == {
        "sent": 90, "lost": 0, "shared_memory": True, "other_nodes": [], "median": 0.001, "p99": 0.001
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lost", "level"), [(1, "warn"), (4, "warn"), (5, "fail"), (90, "fail")]
)
def test_lost_images_are_a_warning_and_many_a_failure(lost: int, level: str) -> None:
    assert judge(lost).level == level


def test_late_images_are_a_warning() -> None:
    assert judge(latency=0.06).level == "warn"


@pytest.mark.parametrize(
    ("shared", "circumstances", "remedy"),
    [
        (True, replace(WELL, profile=""), f"export {PROFILE}={OURS}"),
        (True, replace(WELL, memory=64e6), "the line `shared memory`"),
        (False, replace(WELL, socket_buffer=212992), "docker/host/setup --network"),
        (False, WELL, "/dev/shm writable"),
        (True, replace(WELL, busy=2.5), "2.5 processes want each core"),
        (True, WELL, "camera_rate:="),
    ],
)
def test_the_setting_that_mends_images_is_named(
    shared: bool, circumstances: Circumstances, remedy: str
) -> None:
    assert remedy in judge(lost=40, shared=shared, where=circumstances).remedy


def test_images_are_measured_with_the_settings_of_the_nodes() -> None:
    finding = ros.images({**os.environ, **environment({})}, Pictures(seconds=0.5))
    assert finding.values["sent"] == 15
    assert finding.values["shared_memory"]


def test_images_that_cannot_cross_are_a_failure_with_a_remedy() -> None:
    finding = ros.images(
        {**os.environ, **environment({}), "ROS_DOMAIN_ID": "500"}, Pictures(seconds=0.5)
    )
    assert finding.level == "fail"
    assert finding.remedy
