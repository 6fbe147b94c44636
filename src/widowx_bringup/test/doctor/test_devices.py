"""Cameras and the arm's port on made-up file systems; the port is a pseudo-terminal, the camera a video file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from widowx_bringup.camera.protocol import CameraFeatures
from widowx_bringup.doctor import devices

FEATURES = CameraFeatures("doctor", 64, 48, 30.0)
RULE = 'ATTRS{idVendor}=="0403", ATTRS{idProduct}=="6014", ATTR{latency_timer}="1", SYMLINK+="ttyDXL"'


@dataclass
class Computer:
    """The roots of a made-up computer."""

    root: Path

    @property
    def dev(self) -> Path:
        return self.root / "dev"

    @property
    def sys(self) -> Path:
        return self.root / "sys"

    def adapter(self, name: str, usb_id: str = "0403:6014", latency: str = "1") -> None:
        """Plug in a USB serial adapter."""
        device = self.sys / f"devices/usb1/1-{name}"
        (device / f"interface/tty/{name}").mkdir(parents=True)
        for file, value in zip(("idVendor", "idProduct"), usb_id.split(":"), strict=True):
            (device / file).write_text(f"{value}\n")
        (self.sys / "class/tty").mkdir(parents=True, exist_ok=True)
        (self.sys / "class/tty" / name).symlink_to(device / f"interface/tty/{name}")
        (self.sys / "bus/usb-serial/devices" / name).mkdir(parents=True)
        (self.sys / "bus/usb-serial/devices" / name / "latency_timer").write_text(
            f"{latency}\n"
        )

    def rule(self, name: str, text: str) -> None:
        """Install a udev rule."""
        folder = self.root / "etc/udev/rules.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def runs(self, name: str) -> None:
        """Run a program."""
        process = self.root / "proc" / str(1000 + len(name))
        process.mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    (tmp_path / "dev").mkdir()
    return Computer(tmp_path)


@pytest.fixture
def terminal() -> Iterator[Path]:
    """A pseudo-terminal, which nobody has open but the kernel's side of it."""
    ours, theirs = os.openpty()
    path = Path(os.ttyname(theirs))
    os.close(theirs)
    yield path
    os.close(ours)


@pytest.fixture
def port(computer: Computer, terminal: Path) -> Path:
    """/dev/ttyDXL of a U2D2."""
    computer.adapter(terminal.name)
    (computer.dev / devices.PORT).symlink_to(terminal)
    return computer.dev / devices.PORT


# --- the arm's port ---------------------------------------------------------------------------------------------


def test_a_port_of_a_u2d2_that_can_be_used_is_ok(computer: Computer, port: Path) -> None:
    finding = devices.serial_port(True, computer.dev, computer.sys)
    assert (finding.level, finding.remedy) == ("ok", "")
    assert str(port.resolve()) in finding.found


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "none")])
def test_an_absent_arm_matters_to_a_robot_only(
    computer: Computer, robot: bool, level: str
) -> None:
    assert devices.serial_port(robot, computer.dev, computer.sys).level == level
    assert devices.latency_timer(robot, computer.sys).level == level
    assert devices.udev_rule(robot, computer.root).level == level


def test_a_u2d2_without_its_name_asks_for_the_rule(computer: Computer) -> None:
    computer.adapter("ttyUSB3")
    finding = devices.serial_port(False, computer.dev, computer.sys)
    assert finding.level == "warn"
    assert "ttyUSB3" in finding.found
    assert "sudo docker/host/setup" in finding.remedy


@pytest.mark.parametrize("usb_id", ["067b:2303", "0403:6001"])
def test_another_adapter_under_that_name_is_found_out(
    computer: Computer, terminal: Path, usb_id: str
) -> None:
    computer.adapter(terminal.name, usb_id)
    (computer.dev / devices.PORT).symlink_to(terminal)
    finding = devices.serial_port(True, computer.dev, computer.sys)
    assert finding.level == "fail"
    assert usb_id in finding.found


def test_a_program_that_has_the_port_open_is_named(computer: Computer, port: Path) -> None:
    with port.open("rb", buffering=0):
        finding = devices.serial_port(True, computer.dev, computer.sys)
    assert finding.level == "fail"
    assert f"({os.getpid()})" in finding.found
    assert devices.holders(port.resolve()) == []


def test_the_driver_may_have_the_port_open(computer: Computer, port: Path) -> None:
    computer.runs("xs_sdk")
    (process,) = (computer.root / "proc").iterdir()
    (process / "fd").mkdir()
    (process / "fd/5").symlink_to(port.resolve())
    finding = devices.serial_port(True, computer.dev, computer.sys, computer.root / "proc")
    assert finding.level == "ok"
    assert "in use by the driver" in finding.found


def test_a_port_without_permission_names_the_group(
    computer: Computer, port: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may open everything
    finding = devices.serial_port(True, computer.dev, computer.sys)
    assert finding.level == "fail"
    assert "usermod -aG" in finding.remedy


def test_two_u2d2_claim_the_same_name(computer: Computer, port: Path) -> None:
    computer.adapter("ttyUSB0")
    computer.adapter("ttyUSB1")
    finding = devices.serial_port(True, computer.dev, computer.sys)
    assert finding.level == "warn"
    assert "99-widowx.rules" in finding.remedy


# --- rule, latency, other programs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["99-widowx.rules", "99-interbotix-udev.rules"])
def test_our_rule_and_the_vendors_are_both_known(computer: Computer, name: str) -> None:
    computer.rule(name, RULE)
    assert devices.udev_rule(True, computer.root).level == "ok"


def test_in_a_container_the_rule_is_the_hosts(computer: Computer, port: Path) -> None:
    assert devices.udev_rule(True, computer.root).level == "fail"
    (computer.root / ".dockerenv").touch()
    assert devices.udev_rule(True, computer.root).level == "ok"
    port.unlink()
    assert devices.udev_rule(True, computer.root).level == "fail"


def test_the_rule_of_this_repository_satisfies_the_doctor(computer: Computer) -> None:
    rule = Path(__file__).parents[4] / "docker/host/99-widowx.rules"
    computer.rule(rule.name, rule.read_text())
    computer.runs("ModemManager")
    assert devices.udev_rule(True, computer.root).level == "ok"
    assert devices.interference(computer.root).level == "ok"


def test_a_rule_without_latency_is_incomplete(computer: Computer) -> None:
    computer.rule("99-widowx.rules", RULE.replace('ATTR{latency_timer}="1", ', ""))
    finding = devices.udev_rule(True, computer.root)
    assert finding.level == "fail"
    assert "latency_timer" in finding.found


def test_a_latency_of_one_millisecond_is_ok(computer: Computer) -> None:
    computer.adapter("ttyUSB0")
    assert devices.latency_timer(True, computer.sys).level == "ok"


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "warn")])
def test_the_kernels_latency_is_too_long(
    computer: Computer, robot: bool, level: str
) -> None:
    computer.adapter("ttyUSB0", latency="16")
    finding = devices.latency_timer(robot, computer.sys)
    assert finding.level == level
    assert "ttyUSB0 16 ms" in finding.found
    assert "bus/usb-serial/devices/ttyUSB0/latency_timer" in finding.remedy


def test_a_modem_manager_is_harmless_with_the_rule_that_keeps_it_away(
    computer: Computer,
) -> None:
    assert devices.interference(computer.root).level == "ok"
    computer.runs("ModemManager")
    assert devices.interference(computer.root).level == "warn"
    computer.rule("99-widowx.rules", RULE + ', ENV{ID_MM_DEVICE_IGNORE}="1"')
    assert devices.interference(computer.root).level == "ok"


def test_brltty_is_in_the_way(computer: Computer) -> None:
    computer.runs("brltty")
    assert "remove brltty" in devices.interference(computer.root).remedy


# --- cameras ----------------------------------------------------------------------------------------------------


def film(path: Path, picture: np.ndarray) -> Path:
    """Write a video of one still picture, and return its path."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), FEATURES.rate, (64, 48)
    )
    for _ in range(60):
        writer.write(picture)
    writer.release()
    return path


def look(
    path: Path, folder: Path, by_id: Path | None, robot: bool = False
) -> devices.CheckResult:
    return devices.camera(devices.VideoDevice(path, "Film", by_id), folder, robot, FEATURES)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "SETTLE", 0.1)
    monkeypatch.setattr(devices, "WATCH", 0.4)


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    return film(
        tmp_path / "bright.avi",
        np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8),
    )


def test_a_camera_leaves_a_snapshot_with_its_rate_and_brightness(
    tmp_path: Path, bright: Path
) -> None:
    finding = look(bright, tmp_path / "snapshots", Path("/dev/v4l/by-id/usb-Film"))
    picture = cv2.imread(str(tmp_path / "snapshots/usb-Film.jpg"))
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert finding.values["brightness"] == pytest.approx(picture.mean(), abs=3)
    assert finding.values["rate"] > 0
    assert finding.values["snapshot"] == str(tmp_path / "snapshots/usb-Film.jpg")


def test_a_dark_camera_is_told(tmp_path: Path) -> None:
    finding = look(
        film(tmp_path / "dark.avi", np.zeros((48, 64, 3), np.uint8)), tmp_path, Path("id")
    )
    assert finding.level == "warn"
    assert "lens cap" in finding.remedy


def test_a_slow_camera_is_told(
    tmp_path: Path, bright: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        devices,
        "_watch",
        lambda *_: (np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), 15.0),
    )
    finding = look(bright, tmp_path, Path("id"))
    assert finding.level == "warn"
    assert "15.0 Hz" in finding.found
    assert "exposure" in finding.remedy


def test_a_camera_without_a_lasting_name_is_told(
    tmp_path: Path, bright: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        devices,
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
    finding = look(tmp_path / "video0", tmp_path / "snapshots", None, robot)
    assert finding.level == level
    assert "cannot be opened" in finding.found
    assert not (tmp_path / "snapshots").exists()


def test_a_camera_in_use_is_left_alone(tmp_path: Path, bright: Path) -> None:
    with bright.open("rb"):
        finding = look(bright, tmp_path / "snapshots", None)
    assert finding.level == "warn"
    assert f"({os.getpid()})" in finding.found
    assert not (tmp_path / "snapshots").exists()


def test_cameras_are_found_in_order_with_their_lasting_names(computer: Computer) -> None:
    for number in (10, 2):
        (computer.dev / f"video{number}").touch()
    (computer.sys / "class/video4linux/video2").mkdir(parents=True)
    (computer.sys / "class/video4linux/video2/name").write_text("C920\n")
    (computer.dev / "v4l/by-id").mkdir(parents=True)
    (computer.dev / "v4l/by-id/usb-C920-index0").symlink_to("../../video2")
    first, second = devices.find_cameras(computer.dev, computer.sys)
    assert (first.name, first.label) == ("video2", "C920")
    assert first.by_id == computer.dev / "v4l/by-id/usb-C920-index0"
    assert (second.name, second.by_id) == ("video10", None)


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "none")])
def test_no_camera_matters_to_a_robot_only(robot: bool, level: str) -> None:
    assert devices.no_camera(robot).level == level
