"""Disk, clock, processor and GPU as `ptr doctor` judges them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from widowx_bringup.doctor import computer
from widowx_bringup.doctor.computer import ClockState


def test_a_disk_is_measured_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[Path] = []

    def look(descriptor: int) -> None:
        names.extend(tmp_path.iterdir())

    monkeypatch.setattr(os, "fsync", look)
    assert computer.write_rate(tmp_path, seconds=5, most=10e6) > 0
    assert names == []  # nor would Ctrl-C leave anything: there is no name to remove
    assert list(tmp_path.iterdir()) == []


def test_measuring_a_disk_ends_in_time(tmp_path: Path) -> None:
    assert computer.write_rate(tmp_path, seconds=0.05, most=1e15) > 0


@pytest.mark.parametrize(
    ("rate", "robot", "level"),
    [
        (300e6, True, "ok"),
        (40e6, True, "warn"),
        (20e6, True, "fail"),
        (20e6, False, "warn"),
    ],
)
def test_a_disk_must_take_what_a_camera_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, robot: bool, level: str
) -> None:
    monkeypatch.setattr(computer, "write_rate", lambda _: rate)
    result = computer.check_disk(tmp_path / "bags/not/there/yet", robot)
    assert result.level == level
    assert result.values["rate"] == rate
    assert not (tmp_path / "bags").exists()


def test_little_disk_space_is_a_failure_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    monkeypatch.setattr(computer, "write_rate", lambda _: pytest.fail("it was written to"))
    result = computer.check_disk(tmp_path, robot=False)
    assert result.level == "fail"
    assert "1 GB free" in result.found


def test_a_folder_that_takes_no_file_is_a_failure() -> None:
    result = computer.check_disk(Path("/proc"), robot=False)
    assert result.level == "fail"


def test_the_kernel_reports_the_error_of_its_clock() -> None:
    assert computer.clock_state().error >= 0


def test_a_clock_that_nobody_sets_is_a_warning() -> None:
    before = computer.clock_offset()
    assert (
        computer.check_clock(before, ClockState(synchronised=True, error=0.002)).level
        == "ok"
    )
    result = computer.check_clock(before, ClockState(synchronised=False, error=16.0))
    assert result.level == "warn"
    assert "timedatectl" in result.remedy


@pytest.mark.parametrize(("jump", "level"), [(0.07, "warn"), (0.5, "fail"), (-0.5, "fail")])
def test_a_clock_that_jumps_is_reported(jump: float, level: str) -> None:
    result = computer.check_clock(
        computer.clock_offset() - jump, ClockState(synchronised=True, error=0.002)
    )
    assert result.level == level
    assert f"jumped by {jump:.2f}" in result.found


def governor(cpu: Path, name: str, driver: str) -> Path:
    folder = cpu / "cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text(f"{name}\n")
    (folder / "scaling_driver").write_text(f"{driver}\n")
    return cpu


@pytest.mark.parametrize(
    ("name", "driver", "level"),
    [
        ("performance", "acpi-cpufreq", "ok"),
        ("powersave", "intel_pstate", "ok"),
        ("powersave", "acpi-cpufreq", "warn"),
    ],
)
def test_a_processor_held_at_its_lowest_rate_is_reported(
    tmp_path: Path, name: str, driver: str, level: str
) -> None:
    assert computer.check_processor(0.5, 8, governor(tmp_path, name, driver)).level == level


def test_a_busy_processor_is_reported(tmp_path: Path) -> None:
    assert computer.check_processor(7.9, 8, tmp_path).level == "ok"
    assert computer.check_processor(8.1, 8, tmp_path).level == "warn"


def torch(available: bool, cuda: str | None) -> Any:
    """What is asked of PyTorch, on a computer with or without GPU."""
    device = SimpleNamespace(name="RTX", total_memory=24e9)
    gpus = SimpleNamespace(
        is_available=lambda: available,
        get_device_properties=lambda _: device,
        device_count=lambda: 1,
    )
    return SimpleNamespace(
        cuda=gpus, version=SimpleNamespace(cuda=cuda), __version__="2.13.0"
    )


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    (tmp_path / "driver/nvidia").mkdir(parents=True)
    (tmp_path / "driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
    )
    return tmp_path


def test_a_gpu_is_reported_with_memory_and_driver(driver: Path) -> None:
    result = computer.check_gpu(torch(True, "12.6"), driver)
    assert result.level == "ok"
    assert "RTX, 24 GB; driver 550.54.14, CUDA 12.6" in result.found


def test_no_gpu_is_no_fault(tmp_path: Path) -> None:
    assert computer.check_gpu(torch(False, None), tmp_path).level == "none"


@pytest.mark.parametrize(
    ("cuda", "remedy"), [(None, "TORCH_INDEX="), ("13.0", "a driver for CUDA 13.0")]
)
def test_a_gpu_that_pytorch_does_not_use_is_reported(
    driver: Path, cuda: str | None, remedy: str
) -> None:
    result = computer.check_gpu(torch(False, cuda), driver)
    assert result.level == "warn"
    assert remedy in result.remedy


def test_the_simulated_scene_is_rendered() -> None:
    assert computer.check_rendering(robot=False).level == "ok"


@pytest.mark.parametrize(("robot", "level"), [(True, "warn"), (False, "fail")])
def test_rendering_that_does_not_work_matters_to_the_simulation(
    monkeypatch: pytest.MonkeyPatch, robot: bool, level: str
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    result = computer.check_rendering(robot)
    assert result.level == level
    assert "nonsense" in result.found
