"""Shared memory and images between processes as `ptr doctor` judges them."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from widowx_bringup.doctor import images, network
from widowx_bringup.doctor.image_transport import ImageStream, TransportResult
from widowx_bringup.doctor.images import Circumstances
from widowx_bringup.doctor.results import CheckResult
from widowx_bringup.graph.environment import PROFILE, environment


def test_segments_of_dead_processes_are_counted_and_living_ones_are_not(
    tmp_path: Path,
) -> None:
    for name in ("fastrtps_0123456789abcdef", "fastrtps_fedcba9876543210"):
        (tmp_path / name).write_bytes(bytes(100_000))
        (tmp_path / f"{name}_el").touch()
    with (tmp_path / "fastrtps_0123456789abcdef_el").open("rb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        values = images.check_shared_memory(tmp_path).values
    assert values["leftovers"] == 1
    assert 100_000 <= values["leftover_bytes"] < 200_000


@pytest.mark.parametrize(("free", "level"), [(64e6, "fail"), (200e6, "warn"), (4e9, "ok")])
def test_little_shared_memory_is_reported_with_the_command_that_grows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, level: str
) -> None:
    blocks = int(free / 4096)
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda _: os.statvfs_result([4096, 4096, blocks, blocks, blocks, *[0] * 5]),
    )
    result = images.check_shared_memory(tmp_path)
    assert result.level == level
    assert ("--ipc=host" in result.remedy) == (level != "ok")


OURS = Path("/config/fastdds.xml")
WELL = Circumstances(
    str(OURS), OURS, memory=1e9, socket_buffer=network.SOCKET_BUFFER, busy=0.5
)


def judge(
    lost: int = 0, latency: float = 0.001, shared: bool = True, where: Circumstances = WELL
) -> CheckResult:
    transport = TransportResult(90, np.full(90 - lost, latency), 0.001, 0.001, shared, ())
    return images.judge_images(ImageStream(), transport, where)


def test_images_that_all_arrive_in_time_are_ok() -> None:
    result = judge()
    assert (result.level, result.remedy) == ("ok", "")
    assert result.values == {
        "sent": 90,
        "lost": 0,
        "shared_memory": True,
        "other_nodes": [],
        "median": 0.001,
        "p99": 0.001,
    }


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
def test_the_setting_that_improves_images_is_named(
    shared: bool, circumstances: Circumstances, remedy: str
) -> None:
    assert remedy in judge(lost=40, shared=shared, where=circumstances).remedy


def test_images_are_measured_with_the_settings_of_the_nodes() -> None:
    result = images.check_images(
        {**os.environ, **environment({})}, ImageStream(seconds=0.5)
    )
    assert result.values["sent"] == 15
    assert result.values["shared_memory"]


def test_images_that_cannot_arrive_are_a_failure_with_a_remedy() -> None:
    result = images.check_images(
        {**os.environ, **environment({}), "ROS_DOMAIN_ID": "500"}, ImageStream(seconds=0.5)
    )
    assert result.level == "fail"
    assert result.remedy
