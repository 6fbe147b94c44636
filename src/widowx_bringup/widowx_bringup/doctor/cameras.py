"""Checks of `ptr doctor` for cameras: found in /dev, opened, and measured."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptr_common.files import atomic_file
from widowx_bringup.camera.protocol import CameraError, CameraFeatures

from .device_files import group_remedy, holders, read_text
from .results import CheckResult, missing

if TYPE_CHECKING:  # where OpenCV is broken, the check of the camera has to report it
    import numpy as np

SETTLE = 0.7
"""Time in which a camera sets its exposure before its images are counted [s]."""

WATCH = 1.5
"""Time in which the images of a camera are counted [s]."""

DARK = 20.0
"""Mean brightness below which an image is black, of 0 to 255."""

FLAT = 3.0
"""Standard deviation of the brightness below which an image has no contrast, of 0 to 255."""

VIDIOC_QUERYCAP, VIDIOC_ENUM_FMT = 0x80685600, 0xC0405602  # linux/videodev2.h
VIDEO_CAPTURE = 1  # capability, and type of buffer
MOST_FORMATS = 64
COLOUR = {b"YUYV", b"UYVY", b"YVYU", b"MJPG", b"JPEG", b"RGB3", b"BGR3", b"NV12", b"YU12"}


@dataclass(frozen=True)
class VideoDevice:
    """A device that delivers colour images.

    Attributes:
        path: The device file.
        label: Name given by its maker; may be empty.
        by_id: Name that survives a restart and another USB port, if there is one.
    """

    path: Path
    label: str
    by_id: Path | None

    @property
    def name(self) -> str:
        """The name of the check's line in the table."""
        return self.path.name

    @property
    def best_path(self) -> Path:
        """The lasting name where there is one, the device file otherwise."""
        return self.by_id or self.path


def find_cameras(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[VideoDevice]:
    """Return all cameras, in the order of their numbers.

    Cameras often bring further devices for metadata or depth, which are left out.

    Args:
        dev: Folder of the device files.
        sys: Root of the kernel's descriptions of devices.
    """
    links = {}
    for link in sorted((dev / "v4l/by-id").glob("*"), reverse=True):
        links[link.resolve()] = link
    cameras = []
    for path in sorted(dev.glob("video[0-9]*"), key=_video_number):
        if _delivers_colour(path):
            label = read_text(sys / "class/video4linux" / path.name / "name")
            cameras.append(VideoDevice(path, label, links.get(path.resolve())))

    return cameras


def _video_number(path: Path) -> int:
    return int(path.name.removeprefix("video"))


def _delivers_colour(path: Path) -> bool:
    """Ask the driver for colour formats.

    A device that does not answer counts as a camera, so that its check says why.
    """
    formats: set[bytes] = set()
    with contextlib.suppress(OSError):
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            answer = fcntl.ioctl(device, VIDIOC_QUERYCAP, bytes(104))
            if not struct.unpack_from("I", answer, 88)[0] & VIDEO_CAPTURE:
                return False
            for index in range(MOST_FORMATS):  # until the driver has no further one
                request = struct.pack("II56x", index, VIDEO_CAPTURE)
                answer = fcntl.ioctl(device, VIDIOC_ENUM_FMT, request)
                formats.add(struct.unpack_from("4s", answer, 44)[0])
        finally:
            os.close(device)

    return not formats or not formats.isdisjoint(COLOUR)


def no_camera_found(robot: bool) -> CheckResult:
    """Return the result for a computer without a camera."""
    return missing(
        "no /dev/video* that delivers colour images",
        "plug one in (a container needs the host's /dev); "
        "a RealSense is read with camera_driver:=realsense",
        robot,
    )


def check_camera(
    device: VideoDevice,
    folder: Path,
    robot: bool,
    features: CameraFeatures,
    proc: Path = Path("/proc"),
) -> CheckResult:
    """Take a snapshot and measure image rate and brightness.

    Args:
        device: The camera, or any source that OpenCV opens.
        folder: Receives the snapshot.
        robot: Whether a camera that does not work is a failure.
        features: Wanted size and rate.
        proc: Root of the running processes.
    """
    broken = "fail" if robot else "warn"
    name = str(device.best_path)
    if not os.access(device.path, os.R_OK | os.W_OK):
        return CheckResult(broken, f"{name}: no permission", group_remedy(device.path))
    if programs := holders(device.path, proc):
        return CheckResult(
            "warn",
            f"{name}: in use by {', '.join(programs)}",
            "end that program to have the camera measured",
        )

    try:
        image, rate = _watch(str(device.path), replace(features, name=device.name))
    except CameraError as error:
        return CheckResult(
            broken,
            str(error),
            "unplug it and plug it in again, or choose another with video_device:=…",
        )

    snapshot = folder / f"{device.best_path.name}.jpg"
    _save_snapshot(image, snapshot)
    return _judge_camera(device, image, rate, features.rate, snapshot)


def _save_snapshot(image: np.ndarray, file: Path) -> None:
    """Write an image, (height, width, 3) uint8 RGB, as a JPEG file."""
    import cv2

    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with atomic_file(file) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _judge_camera(
    device: VideoDevice, image: np.ndarray, rate: float, wanted_rate: float, snapshot: Path
) -> CheckResult:
    """Judge the last image, (height, width, 3) uint8 RGB, and the image rate [Hz]."""
    size = f"{image.shape[1]}x{image.shape[0]}"
    brightness, contrast = float(image.mean()), float(image.std())
    found = (
        f"{device.best_path} ({device.label or 'no name'}): {size}, {rate:.1f} Hz, "
        f"brightness {brightness:.0f} of 255; {snapshot}"
    )
    values: dict[str, Any] = {
        "rate": rate,
        "brightness": brightness,
        "contrast": contrast,
        "snapshot": str(snapshot),
    }
    remedy = ""
    if brightness < DARK or contrast < FLAT:
        remedy = (
            "the image is black or without contrast: take off the lens cap, light the table, "
            "or set the exposure (cameras.yaml)"
        )
    elif rate < 0.9 * wanted_rate:
        remedy = (
            f"the camera is slower than {wanted_rate:g} Hz: fix its exposure below "
            f"1/{wanted_rate:g} s (`exposure` in cameras.yaml) and light the table, "
            "or give it a USB controller that nothing shares"
        )
    elif device.by_id is None:
        remedy = (
            "its number may change at the next start: "
            "name it in video_device:=… by /dev/v4l/by-path/…"
        )

    return CheckResult("warn" if remedy else "ok", found, remedy, values)


def _watch(source: str, features: CameraFeatures) -> tuple[np.ndarray, float]:
    """Return the last image, (height, width, 3) uint8 RGB, and the rate reached [Hz]."""
    from widowx_bringup.camera.opencv import OpenCvCamera

    times: list[float] = []
    camera = OpenCvCamera(features, source, on_frame=lambda: times.append(time.monotonic()))
    try:
        camera.connect()
        time.sleep(SETTLE + WATCH)
        frame = camera.read_latest(max_age=WATCH)
    finally:
        if times:  # without an image it was never opened
            camera.disconnect()

    counted = [moment for moment in times if moment > times[0] + SETTLE]
    if len(counted) < 2:
        return frame.image, 0.0
    return frame.image, (len(counted) - 1) / (counted[-1] - counted[0])
