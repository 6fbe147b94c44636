"""The arm's port on a made-up file system; the port is a pseudo-terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from widowx_bringup.doctor import serial_port
from widowx_bringup.doctor.device_files import holders

RULE = (
    'ATTRS{idVendor}=="0403", ATTRS{idProduct}=="6014", ATTR{latency_timer}="1", '
    'SYMLINK+="ttyDXL"'
)


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
    (computer.dev / serial_port.PORT).symlink_to(terminal)
    return computer.dev / serial_port.PORT


def test_a_port_of_a_u2d2_that_can_be_used_is_ok(computer: Computer, port: Path) -> None:
    result = serial_port.check_serial_port(True, computer.dev, computer.sys)
    assert (result.level, result.remedy) == ("ok", "")
    assert str(port.resolve()) in result.found


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "none")])
def test_an_absent_arm_matters_to_a_robot_only(
    computer: Computer, robot: bool, level: str
) -> None:
    assert serial_port.check_serial_port(robot, computer.dev, computer.sys).level == level
    assert serial_port.check_latency_timer(robot, computer.sys).level == level
    assert serial_port.check_udev_rule(robot, computer.root).level == level


def test_a_u2d2_without_its_name_asks_for_the_rule(computer: Computer) -> None:
    computer.adapter("ttyUSB3")
    result = serial_port.check_serial_port(False, computer.dev, computer.sys)
    assert result.level == "warn"
    assert "ttyUSB3" in result.found
    assert "sudo docker/host/setup" in result.remedy


@pytest.mark.parametrize("usb_id", ["067b:2303", "0403:6001"])
def test_another_adapter_under_that_name_is_found_out(
    computer: Computer, terminal: Path, usb_id: str
) -> None:
    computer.adapter(terminal.name, usb_id)
    (computer.dev / serial_port.PORT).symlink_to(terminal)
    result = serial_port.check_serial_port(True, computer.dev, computer.sys)
    assert result.level == "fail"
    assert usb_id in result.found


def test_a_program_that_has_the_port_open_is_named(computer: Computer, port: Path) -> None:
    with port.open("rb", buffering=0):
        result = serial_port.check_serial_port(True, computer.dev, computer.sys)
    assert result.level == "fail"
    assert f"({os.getpid()})" in result.found
    assert holders(port.resolve()) == []


def test_the_driver_may_have_the_port_open(computer: Computer, port: Path) -> None:
    computer.runs("xs_sdk")
    (process,) = (computer.root / "proc").iterdir()
    (process / "fd").mkdir()
    (process / "fd/5").symlink_to(port.resolve())
    result = serial_port.check_serial_port(
        True, computer.dev, computer.sys, computer.root / "proc"
    )
    assert result.level == "ok"
    assert "in use by the driver" in result.found


def test_a_port_without_permission_names_the_group(
    computer: Computer, port: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may open everything
    result = serial_port.check_serial_port(True, computer.dev, computer.sys)
    assert result.level == "fail"
    assert "usermod -aG" in result.remedy


def test_two_u2d2_claim_the_same_name(computer: Computer, port: Path) -> None:
    computer.adapter("ttyUSB0")
    computer.adapter("ttyUSB1")
    result = serial_port.check_serial_port(True, computer.dev, computer.sys)
    assert result.level == "warn"
    assert "99-widowx.rules" in result.remedy


@pytest.mark.parametrize("name", ["99-widowx.rules", "99-interbotix-udev.rules"])
def test_our_rule_and_the_vendors_are_both_known(computer: Computer, name: str) -> None:
    computer.rule(name, RULE)
    assert serial_port.check_udev_rule(True, computer.root).level == "ok"


def test_in_a_container_the_rule_is_the_hosts(computer: Computer, port: Path) -> None:
    assert serial_port.check_udev_rule(True, computer.root).level == "fail"
    (computer.root / ".dockerenv").touch()
    assert serial_port.check_udev_rule(True, computer.root).level == "ok"
    port.unlink()
    assert serial_port.check_udev_rule(True, computer.root).level == "fail"


def test_the_rule_of_this_repository_satisfies_the_doctor(computer: Computer) -> None:
    rule = Path(__file__).parents[4] / "docker/host/99-widowx.rules"
    computer.rule(rule.name, rule.read_text())
    computer.runs("ModemManager")
    assert serial_port.check_udev_rule(True, computer.root).level == "ok"
    assert serial_port.check_interference(computer.root).level == "ok"


def test_a_rule_without_latency_is_incomplete(computer: Computer) -> None:
    computer.rule("99-widowx.rules", RULE.replace('ATTR{latency_timer}="1", ', ""))
    result = serial_port.check_udev_rule(True, computer.root)
    assert result.level == "fail"
    assert "latency_timer" in result.found


def test_a_latency_of_one_millisecond_is_ok(computer: Computer) -> None:
    computer.adapter("ttyUSB0")
    assert serial_port.check_latency_timer(True, computer.sys).level == "ok"


@pytest.mark.parametrize(("robot", "level"), [(True, "fail"), (False, "warn")])
def test_the_kernels_latency_is_too_long(
    computer: Computer, robot: bool, level: str
) -> None:
    computer.adapter("ttyUSB0", latency="16")
    result = serial_port.check_latency_timer(robot, computer.sys)
    assert result.level == level
    assert "ttyUSB0 16 ms" in result.found
    assert "bus/usb-serial/devices/ttyUSB0/latency_timer" in result.remedy


def test_a_modem_manager_is_harmless_with_the_rule_that_keeps_it_away(
    computer: Computer,
) -> None:
    assert serial_port.check_interference(computer.root).level == "ok"
    computer.runs("ModemManager")
    assert serial_port.check_interference(computer.root).level == "warn"
    computer.rule("99-widowx.rules", RULE + ', ENV{ID_MM_DEVICE_IGNORE}="1"')
    assert serial_port.check_interference(computer.root).level == "ok"


def test_brltty_is_in_the_way(computer: Computer) -> None:
    computer.runs("brltty")
    assert "remove brltty" in serial_port.check_interference(computer.root).remedy
