"""Checks of `ptr doctor` that concern cameras and the arm's serial port. Roots of the file system are arguments."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_common.files import atomic_file
from widowx_bringup.camera.protocol import CameraError, CameraFeatures

from .results import CheckResult, missing

if TYPE_CHECKING:  # where OpenCV is broken, the line of the camera says so
    import numpy as np

SETTLE, WATCH = 0.7, 1.5
"""A camera first sets its exposure, then its pictures are counted [s]."""

DARK, FLAT = 20.0, 3.0
"""A picture is black or covered below this mean, or below this standard deviation, of 0 to 255."""

PORT = "ttyDXL"
U2D2 = "0403:6014"
RULES = ("99-widowx.rules", "99-interbotix-udev.rules")
RULE_FOLDERS = (
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
)
HOST_SETUP = "sudo docker/host/setup installs our udev rule (of a container: on its host)"

CONTAINER = (".dockerenv", "run/.containerenv")
"""Files that Docker and Podman put into a container."""

VIDIOC_QUERYCAP, VIDIOC_ENUM_FMT = 0x80685600, 0xC0405602  # linux/videodev2.h
VIDEO_CAPTURE = 1  # capability, and type of buffer
COLOUR = {b"YUYV", b"UYVY", b"YVYU", b"MJPG", b"JPEG", b"RGB3", b"BGR3", b"NV12", b"YU12"}


@dataclass(frozen=True)
class VideoDevice:
    """A device that delivers colour pictures."""

    path: Path
    label: str  # what its maker calls it
    by_id: Path | None  # a name that survives a restart and another USB port

    @property
    def name(self) -> str:
        """What a line of the table calls it."""
        return self.path.name


def find_cameras(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[VideoDevice]:
    """Return all cameras, without the devices beside them that deliver metadata, depth or nothing."""
    paths = sorted(
        dev.glob("video[0-9]*"), key=lambda path: int(path.name.removeprefix("video"))
    )
    ids = {
        link.resolve(): link for link in sorted((dev / "v4l/by-id").glob("*"), reverse=True)
    }
    return [
        VideoDevice(
            path,
            _read(sys / "class/video4linux" / path.name / "name"),
            ids.get(path.resolve()),
        )
        for path in paths
        if _delivers_colour(path)
    ]


def _delivers_colour(path: Path) -> bool:
    """Ask the driver; a device that does not say is taken for a camera, so that its line says why."""
    formats = set()
    with contextlib.suppress(OSError):
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            answer = fcntl.ioctl(device, VIDIOC_QUERYCAP, bytes(104))
            if not struct.unpack_from("I", answer, 88)[0] & VIDEO_CAPTURE:
                return False
            for index in range(64):
                answer = fcntl.ioctl(
                    device, VIDIOC_ENUM_FMT, struct.pack("II56x", index, VIDEO_CAPTURE)
                )
                formats.add(struct.unpack_from("4s", answer, 44)[0])
        finally:
            os.close(device)
    return not formats or not formats.isdisjoint(COLOUR)


def no_camera(robot: bool) -> CheckResult:
    """Return the finding where there is no camera."""
    remedy = "plug one in (a container needs the host's /dev); a RealSense: camera_driver:=realsense reads it"
    return missing("no /dev/video* that delivers colour pictures", remedy, robot)


def camera(
    device: VideoDevice,
    folder: Path,
    robot: bool,
    features: CameraFeatures,
    proc: Path = Path("/proc"),
) -> CheckResult:
    """Take a snapshot and measure rate and brightness.

    Args:
        device: The camera, or any source that OpenCV opens.
        folder: Receives the snapshot.
        robot: Whether a camera that does not work is a failure.
        features: Size and rate wanted.
        proc: Root of the running processes.
    """
    broken, name = "fail" if robot else "warn", str(device.by_id or device.path)
    import cv2

    if not os.access(device.path, os.R_OK | os.W_OK):
        return CheckResult(broken, f"{name}: no permission", _join_group(device.path))
    if users := holders(device.path, proc):
        return CheckResult(
            "warn",
            f"{name}: in use by {', '.join(users)}",
            "end that program to have the camera measured",
        )
    try:
        picture, rate = _watch(str(device.path), replace(features, name=device.name))
    except CameraError as error:
        return CheckResult(
            broken,
            f"{error}",
            "unplug it and plug it in again; choose another with video_device:=…",
        )
    file = folder / f"{(device.by_id or device.path).name}.jpg"
    with atomic_file(file) as temporary:
        temporary.write_bytes(
            cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
        )
    size = f"{picture.shape[1]}x{picture.shape[0]}"
    brightness, contrast = float(picture.mean()), float(picture.std())
    found = f"{name} ({device.label or 'no name'}): {size}, {rate:.1f} Hz, brightness {brightness:.0f} of 255; {file}"
    values = {
        "rate": rate,
        "brightness": brightness,
        "contrast": contrast,
        "snapshot": str(file),
    }
    if brightness < DARK or contrast < FLAT:
        remedy = "black or without contrast: take off the lens cap, light the table, or set the exposure (cameras.yaml)"
        return CheckResult("warn", found, remedy, values)
    if rate < 0.9 * features.rate:
        remedy = (
            f"slower than {features.rate:g} Hz: fix its exposure below 1/{features.rate:g} s (`exposure` in "
            "cameras.yaml) and light the table, or give it a USB controller of its own"
        )
        return CheckResult("warn", found, remedy, values)
    if device.by_id is None:
        remedy = "its number may change at the next start: name it in video_device:=… by /dev/v4l/by-path/…"
        return CheckResult("warn", found, remedy, values)
    return CheckResult("ok", found, values=values)


def _watch(source: str, features: CameraFeatures) -> tuple[np.ndarray, float]:
    """Return the last picture, (height, width, 3) uint8 RGB, and the rate reached [Hz]."""
    from widowx_bringup.camera.opencv import OpenCvCamera

    times: list[float] = []
    device = OpenCvCamera(features, source, on_frame=lambda: times.append(time.monotonic()))
    try:
        device.connect()
        time.sleep(SETTLE + WATCH)
        frame = device.read_latest(max_age=WATCH)
    finally:
        if times:  # else it was never opened
            device.disconnect()
    counted = [moment for moment in times if moment > times[0] + SETTLE]
    rate = (len(counted) - 1) / (counted[-1] - counted[0]) if len(counted) > 1 else 0.0
    return frame.image, rate


def serial_port(
    robot: bool,
    dev: Path = Path("/dev"),
    sys: Path = Path("/sys"),
    proc: Path = Path("/proc"),
) -> CheckResult:
    """Look for the port of Interbotix's driver: there, of the right adapter, usable, and used by nobody else."""
    broken, port, u2d2s = "fail" if robot else "warn", dev / PORT, find_u2d2s(sys)
    if not port.exists():
        if u2d2s:
            return CheckResult(
                broken, f"a U2D2 is at {dev / u2d2s[0]}, but there is no {port}", HOST_SETUP
            )
        remedy = "plug in the U2D2 and switch the arm on; a container needs the host's /dev, and the rule on the host"
        return missing(f"no {port}, no U2D2 ({U2D2}) on USB", remedy, robot)
    target = port.resolve()
    found = f"{port} is {target}"
    if (adapter := _usb_id(sys / "class/tty" / target.name)) != U2D2:
        remedy = f"a U2D2 is {U2D2}; see which rule names this one: grep -r {PORT} /etc/udev/rules.d"
        return CheckResult(
            broken, f"{found}, which is {adapter or 'no USB adapter'}", remedy
        )
    if not os.access(target, os.R_OK | os.W_OK):
        return CheckResult(
            broken, f"{found}: no permission", f"{HOST_SETUP}; or {_join_group(target)}"
        )
    others = [user for user in holders(target, proc) if not user.startswith("xs_sdk ")]
    if others:
        remedy = "end that program: two on one bus garble each other's packets"
        return CheckResult(broken, f"{found}, open in {', '.join(others)}", remedy)
    if len(u2d2s) > 1:
        remedy = "tell them apart by serial number: docker/host/99-widowx.rules shows how"
        return CheckResult(
            "warn", f"{found}, one of {len(u2d2s)} U2D2 that all claim this name", remedy
        )
    return CheckResult(
        "ok", f"{found}, a U2D2{', in use by the driver' if holders(target, proc) else ''}"
    )


def find_u2d2s(sys: Path = Path("/sys")) -> list[str]:
    """Return the names (ttyUSB0, …) of the serial ports that are U2D2, or another adapter with the same FTDI chip."""
    return sorted(
        port.name for port in (sys / "class/tty").glob("ttyUSB*") if _usb_id(port) == U2D2
    )


def _usb_id(tty: Path) -> str:
    """Return `vendor:product` of the USB device a serial port belongs to; empty if it is on no USB."""
    for folder in (tty.resolve(), *tty.resolve().parents):
        if (folder / "idVendor").is_file():
            return f"{_read(folder / 'idVendor')}:{_read(folder / 'idProduct')}"
    return ""


def udev_rule(robot: bool, root: Path = Path("/")) -> CheckResult:
    """Look for the rule that gives the U2D2 its name, its permissions and its latency."""
    rule = _find_rule(root)
    contained = any((root / mark).exists() for mark in CONTAINER)
    if rule is None and contained and (root / "dev" / PORT).exists():
        return CheckResult("ok", f"on the host of this container: /dev/{PORT} is there")
    if rule is None:
        return missing(f"none of {', '.join(RULES)} is installed", HOST_SETUP, robot)
    lacking = [
        word
        for word in ("6014", PORT, "latency_timer")
        if word not in rule.read_text(errors="replace")
    ]
    if lacking:
        return CheckResult(
            "fail" if robot else "warn",
            f"{rule} says nothing of {', '.join(lacking)}",
            HOST_SETUP,
        )
    return CheckResult("ok", str(rule))


def _find_rule(root: Path) -> Path | None:
    candidates = (root / folder / name for name in RULES for folder in RULE_FOLDERS)
    return next((file for file in candidates if file.is_file()), None)


def latency_timer(robot: bool, sys: Path = Path("/sys")) -> CheckResult:
    """Read how long a U2D2 keeps what it has received [ms]."""
    if not (names := find_u2d2s(sys)):
        return missing("no U2D2", "see the line `serial port`", robot)
    slow = []
    for name in names:
        file = sys / "bus/usb-serial/devices" / name / "latency_timer"
        if (value := _read(file)) != "1":
            slow.append((file, value or "unknown"))
    if slow:
        now = "; for now: " + "; ".join(f"echo 1 | sudo tee {file}" for file, _ in slow)
        found = ", ".join(f"{file.parent.name} {value} ms" for file, value in slow)
        return CheckResult(
            "fail" if robot else "warn",
            f"{found}: each reading of the servos waits for it",
            HOST_SETUP + now,
        )
    return CheckResult("ok", f"{', '.join(names)}: 1 ms")


def interference(root: Path = Path("/")) -> CheckResult:
    """Look for programs that open serial ports by themselves."""
    running = {_read(file) for file in (root / "proc").glob("[0-9]*/comm")}
    rule = _find_rule(root)
    if "brltty" in running:
        return CheckResult(
            "warn",
            "brltty runs: it takes USB serial adapters for braille",
            "sudo apt-get remove brltty",
        )
    if "ModemManager" in running and not (
        rule and "ID_MM_DEVICE_IGNORE" in rule.read_text(errors="replace")
    ):
        found = "ModemManager runs, and no rule keeps it from the U2D2: it sends modem commands to the servos"
        return CheckResult(
            "warn", found, f"{HOST_SETUP}; or sudo systemctl disable --now ModemManager"
        )
    return CheckResult("ok", "neither brltty nor ModemManager gets at the port")


def holders(path: Path, proc: Path = Path("/proc")) -> list[str]:
    """Return the programs that have a device open, as `name (PID)`; those of other users only if root asks."""
    return sorted(
        {
            f"{_read(proc / pid / 'comm')} ({pid})"
            for pid, target in _open_files(proc)
            if target == str(path)
        }
    )


def _open_files(proc: Path) -> Iterator[tuple[str, str]]:
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended by now, or another user's
            links: Iterable[Path] = list((process / "fd").iterdir())
            for link in links:
                with contextlib.suppress(OSError):
                    yield process.name, str(link.readlink())


def _join_group(path: Path) -> str:
    group = grp.getgrgid(path.stat().st_gid).gr_name
    return f"sudo usermod -aG {group} $USER, then log out and in again"


def _read(file: Path) -> str:
    """Return the text of a small file; empty where it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
