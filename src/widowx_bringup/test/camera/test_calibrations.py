"""The file of calibrations: what is written is read, others' entries stay, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from widowx_bringup.camera.calibrations import (
    CalibrationError,
    CameraCalibration,
    calibration_file,
    read_calibration,
    write_calibration,
)

FOUND = CameraCalibration(
    0.0834, 0.0006, 0.981, 30.0, "2026-01-02T03:04:05+00:00", "/dev/v4l/by-id/usb-x"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_file_is_where_xdg_says_else_in_the_home_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calibration_file() == home / "ptr" / "cameras.yaml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", "/home/ada")
    assert calibration_file() == Path("/home/ada/.config/ptr/cameras.yaml")


def test_what_is_written_is_read_and_the_others_stay() -> None:
    assert read_calibration("front") is None
    write_calibration("front", FOUND, calibration_file())
    write_calibration("wrist", CameraCalibration(0.05), calibration_file())
    assert read_calibration("front") == FOUND
    assert read_calibration("wrist") == CameraCalibration(0.05)
    assert read_calibration("top") is None
    write_calibration("front", CameraCalibration(0.1), calibration_file())
    assert (read_calibration("front"), read_calibration("wrist")) == (
        CameraCalibration(0.1),
        CameraCalibration(0.05),
    )
    assert [path.name for path in calibration_file().parent.iterdir()] == ["cameras.yaml"]


def test_a_latency_alone_written_by_hand_is_enough() -> None:
    calibration_file().parent.mkdir(parents=True)
    calibration_file().write_text("front: {latency: 0.05}\n")
    assert read_calibration("front") == CameraCalibration(0.05)
    calibration_file().write_text("")
    assert read_calibration("front") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("front: {latency: 1.5}", "camera_latency is 1.5; allowed are 0 to 1 s"),
        ("front: {latency: fast}", "camera_latency is 'fast'; allowed are"),
        ("front: {latency: .nan}", "camera_latency is nan; allowed are"),
        ("front: {rate: 30}", r"the entry of front is .* it must have latency \[s\]"),
        ("front: {latency: 0.1, delay: 3}", "the entry of front is"),
        ("front: 0.1", "the entry of front is 0.1"),
        ("[front]", "holds a list; it must map names"),
        ("front: {", "cannot be read"),
        ("front: !!python/object/apply:os.system [ls]", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(text: str, message: str) -> None:
    calibration_file().parent.mkdir(parents=True)
    calibration_file().write_text(text)
    with pytest.raises(CalibrationError, match=message) as caught:
        read_calibration("front")
    assert str(calibration_file()) in str(caught.value)


def test_a_damaged_file_is_not_overwritten() -> None:
    calibration_file().parent.mkdir(parents=True)
    calibration_file().write_text("front: {")
    with pytest.raises(CalibrationError, match="correct or remove it"):
        write_calibration("front", FOUND, calibration_file())
    assert calibration_file().read_text() == "front: {"
