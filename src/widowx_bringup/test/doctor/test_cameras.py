"""Cameras as `ptr doctor` judges them; a video file stands in for a camera."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from widowx_bringup.camera.protocol import CameraFeatures
from widowx_bringup.doctor import cameras
from widowx_bringup.doctor.results import CheckResult

FEATURES = CameraFeatures("doctor", 64, 48, 30.0)


def film(path: Path, image: np.ndarray) -> Path:
    """Write a video of one still image, and return its path."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), FEATURES.rate, (64, 48)
    )
    for _ in range(60):
        writer.write(image)
    writer.release()
    return path


def look(path: Path, folder: Path, by_id: Path | None, robot: bool = False) -> CheckResult:
    return cameras.check_camera(
        cameras.VideoDevice(path, "Film", by_id), folder, robot, FEATURES
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "SETTLE", 0.1)
    monkeypatch.setattr(cameras, "WATCH", 0.4)


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    return film(
        tmp_path / "bright.avi",
        np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8),
    )


def test_a_camera_leaves_a_snapshot_with_its_rate_and_brightness(
    tmp_path: Path, bright: Path
) -> None:
    result = look(bright, tmp_path / "snapshots", Path("/dev/v4l/by-id/usb-Film"))
    image = cv2.imread(str(tmp_path / "snapshots/usb-Film.jpg"))
    assert image is not None
    assert image.shape == (48, 64, 3)
    assert result.values["brightness"] == pytest.approx(image.mean(), abs=3)
    assert result.values["rate"] > 0
    assert result.values["snapshot"] == str(tmp_path / "snapshots/usb-Film.jpg")


def test_a_dark_camera_is_reported(tmp_path: Path) -> None:
    result = look(
        film(tmp_path / "dark.avi", np.zeros((48, 64, 3), np.uint8)), tmp_path, Path("id")
    )
    assert result.level == "warn"
    assert "lens cap" in result.remedy


def test_a_slow_camera_is_reported(
    tmp_path: Path, bright: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cameras,
        "_watch",
        lambda *_: (np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), 15.0),
    )
    result = look(bright, tmp_path, Path("id"))
    assert result.level == "warn"
    assert "15.0 Hz" in result.found
    assert "exposure" in result.remedy


def test_a_camera_without_a_lasting_name_is_reported(
    tmp_path: Path, bright: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cameras,
        "_watch",
        lambda *_: (np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), 30.0),
    )
    assert "by-path" in look(bright, tmp_path, None).remedy
    assert look(bright, tmp_path, Path("id")).level == "ok"


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "warn")])
def test_a_camera_that_delivers_nothing_leaves_no_snapshot(
    tmp_path: Path, robot: bool, level: str
) -> None:
    (tmp_path / "video0").write_bytes(b"nothing")
    result = look(tmp_path / "video0", tmp_path / "snapshots", None, robot)
    assert result.level == level
    assert "cannot be opened" in result.found
    assert not (tmp_path / "snapshots").exists()


def test_a_camera_in_use_is_left_alone(tmp_path: Path, bright: Path) -> None:
    with bright.open("rb"):
        result = look(bright, tmp_path / "snapshots", None)
    assert result.level == "warn"
    assert f"({os.getpid()})" in result.found
    assert not (tmp_path / "snapshots").exists()


def test_cameras_are_found_in_order_with_their_lasting_names(tmp_path: Path) -> None:
    dev, sys = tmp_path / "dev", tmp_path / "sys"
    dev.mkdir()
    for number in (10, 2):
        (dev / f"video{number}").touch()
    (sys / "class/video4linux/video2").mkdir(parents=True)
    (sys / "class/video4linux/video2/name").write_text("C920\n")
    (dev / "v4l/by-id").mkdir(parents=True)
    (dev / "v4l/by-id/usb-C920-index0").symlink_to("../../video2")
    first, second = cameras.find_cameras(dev, sys)
    assert (first.name, first.label) == ("video2", "C920")
    assert first.by_id == dev / "v4l/by-id/usb-C920-index0"
    assert (second.name, second.by_id) == ("video10", None)


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "none")])
def test_no_camera_matters_to_a_robot_only(robot: bool, level: str) -> None:
    assert cameras.no_camera_found(robot).level == level
