"""Checks of `ptr doctor` for the arm's serial port: adapter, udev rule, latency, other programs."""

from __future__ import annotations

import os
from pathlib import Path

from .device_files import group_remedy, holders, read_text
from .results import CheckResult, missing

PORT = "ttyDXL"
"""Name under which Interbotix's driver opens the port."""

U2D2 = "0403:6014"
"""USB vendor and product of the arm's adapter, and of other adapters with its FTDI chip."""

RULES = ("99-widowx.rules", "99-interbotix-udev.rules")
RULE_FOLDERS = (
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
)
RULE_WORDS = ("6014", PORT, "latency_timer")
"""What the rule has to contain: the adapter, the port's name, the latency."""

HOST_SETUP = "sudo docker/host/setup installs our udev rule (of a container: on its host)"

CONTAINER = (".dockerenv", "run/.containerenv")
"""Files that Docker and Podman put into a container."""


def check_serial_port(
    robot: bool,
    dev: Path = Path("/dev"),
    sys: Path = Path("/sys"),
    proc: Path = Path("/proc"),
) -> CheckResult:
    """Check that the port of Interbotix's driver exists, is a U2D2, and can be used.

    Args:
        robot: Whether a port that cannot be used is a failure.
        dev: Folder of the device files.
        sys: Root of the kernel's descriptions of devices.
        proc: Root of the running processes.
    """
    broken = "fail" if robot else "warn"
    port = dev / PORT
    adapters = find_u2d2s(sys)
    if not port.exists():
        return _no_port(robot, port, adapters)
    target = port.resolve()
    found = f"{port} is {target}"
    usb_id = _usb_id(sys / "class/tty" / target.name)
    if usb_id != U2D2:
        found += f", which is {usb_id or 'no USB adapter'}"
        return CheckResult(
            broken,
            found,
            f"a U2D2 is {U2D2}; see which rule names this one: "
            f"grep -r {PORT} /etc/udev/rules.d",
        )

    if not os.access(target, os.R_OK | os.W_OK):
        return CheckResult(
            broken,
            f"{found}: no permission",
            f"{HOST_SETUP}; or {group_remedy(target)}",
        )

    return _judge_sharing(found, holders(target, proc), adapters, broken)


def _judge_sharing(
    found: str, programs: list[str], adapters: list[str], broken: str
) -> CheckResult:
    """Judge who else uses the port, and which other adapters claim its name.

    Args:
        found: Description of the port.
        programs: Programs that have it open.
        adapters: All U2D2 on USB.
        broken: Level of a port that cannot be used.
    """
    others = [program for program in programs if not program.startswith("xs_sdk ")]
    if others:
        return CheckResult(
            broken,
            f"{found}, open in {', '.join(others)}",
            "end that program: two programs on one bus garble each other's packets",
        )

    if len(adapters) > 1:
        found += f", one of {len(adapters)} U2D2 that all claim this name"
        return CheckResult(
            "warn",
            found,
            "distinguish them by serial number: docker/host/99-widowx.rules shows how",
        )

    return CheckResult(
        "ok", f"{found}, a U2D2{', in use by the driver' if programs else ''}"
    )


def _no_port(robot: bool, port: Path, adapters: list[str]) -> CheckResult:
    if adapters:
        return CheckResult(
            "fail" if robot else "warn",
            f"a U2D2 is at {port.parent / adapters[0]}, but there is no {port}",
            HOST_SETUP,
        )
    return missing(
        f"no {port}, no U2D2 ({U2D2}) on USB",
        "plug in the U2D2 and switch the arm on; "
        "a container needs the host's /dev, and the rule on the host",
        robot,
    )


def find_u2d2s(sys: Path = Path("/sys")) -> list[str]:
    """Return the names (ttyUSB0, …) of the serial ports that are a U2D2 or have its FTDI chip."""
    ports = (sys / "class/tty").glob("ttyUSB*")
    return sorted(port.name for port in ports if _usb_id(port) == U2D2)


def _usb_id(tty: Path) -> str:
    """Return `vendor:product` of the USB device of a serial port; empty if it is not on USB."""
    device = tty.resolve()
    for folder in (device, *device.parents):
        if (folder / "idVendor").is_file():
            return f"{read_text(folder / 'idVendor')}:{read_text(folder / 'idProduct')}"
    return ""


def check_udev_rule(robot: bool, root: Path = Path("/")) -> CheckResult:
    """Check the rule that gives the U2D2 its name, its permissions and its latency.

    Args:
        robot: Whether a missing rule is a failure.
        root: Root of the file system.
    """
    rule = _find_rule(root)
    if rule is None:
        contained = any((root / name).exists() for name in CONTAINER)
        if contained and (root / "dev" / PORT).exists():
            return CheckResult("ok", f"on the host of this container: /dev/{PORT} exists")
        return missing(f"none of {', '.join(RULES)} is installed", HOST_SETUP, robot)

    text = rule.read_text(errors="replace")
    absent = [word for word in RULE_WORDS if word not in text]
    if absent:
        return CheckResult(
            "fail" if robot else "warn",
            f"{rule} does not contain {', '.join(absent)}",
            HOST_SETUP,
        )

    return CheckResult("ok", str(rule))


def _find_rule(root: Path) -> Path | None:
    for name in RULES:
        for folder in RULE_FOLDERS:
            file = root / folder / name
            if file.is_file():
                return file
    return None


def check_latency_timer(robot: bool, sys: Path = Path("/sys")) -> CheckResult:
    """Check how long a U2D2 keeps received bytes before it passes them on [ms].

    Args:
        robot: Whether a long latency is a failure.
        sys: Root of the kernel's descriptions of devices.
    """
    names = find_u2d2s(sys)
    if not names:
        return missing("no U2D2", "see the line `serial port`", robot)
    slow = []
    commands = []
    for name in names:
        file = sys / "bus/usb-serial/devices" / name / "latency_timer"
        value = read_text(file)
        if value != "1":
            slow.append(f"{name} {value or 'unknown'} ms")
            commands.append(f"echo 1 | sudo tee {file}")

    if not slow:
        return CheckResult("ok", f"{', '.join(names)}: 1 ms")
    return CheckResult(
        "fail" if robot else "warn",
        f"{', '.join(slow)}: each reading of the servos waits for it",
        f"{HOST_SETUP}; for now: {'; '.join(commands)}",
    )


def check_interference(root: Path = Path("/")) -> CheckResult:
    """Check for programs that open serial ports unasked.

    Args:
        root: Root of the file system.
    """
    running = {read_text(file) for file in (root / "proc").glob("[0-9]*/comm")}
    if "brltty" in running:
        return CheckResult(
            "warn",
            "brltty runs: it takes USB serial adapters for braille displays",
            "sudo apt-get remove brltty",
        )

    rule = _find_rule(root)
    ignored = rule and "ID_MM_DEVICE_IGNORE" in rule.read_text(errors="replace")
    if "ModemManager" in running and not ignored:
        return CheckResult(
            "warn",
            "ModemManager runs, and no rule keeps it from the U2D2: "
            "it sends modem commands to the servos",
            f"{HOST_SETUP}; or sudo systemctl disable --now ModemManager",
        )

    return CheckResult("ok", "neither brltty nor ModemManager opens the port")
