"""One camera on the ROS graph: publishes its images and its calibration.

A lifecycle node. Its topics are relative: the namespace `camera/<name>` makes them those of
`image_topic` and `camera_info_topic`, where every camera driver of ROS publishes. The kinds
of device are handed in; the executable with all of them is `sim/camera_node.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo, Image

from ptr_common import qos
from ptr_common.images import fill_message
from ptr_common.managed_node import (
    PIXELS,
    Health,
    ManagedNode,
    now_ns,
    parameter,
    to_stamp,
)

from .opencv import CameraSettings, OpenCvCamera
from .protocol import Camera, CameraError, CameraFeatures, Frame, FrameMonitor

PATIENCE = 5.0
"""Time without an image before the log reports the camera [s]; other nodes may still be
starting. /diagnostics reports it at once."""


@dataclass(frozen=True)
class DeviceKind:
    """One kind of camera that the node can read.

    Attributes:
        declare: Declares the parameters that only this kind has.
        connect: Returns a connected camera. It also arranges that `publish_newest` of the
            node is called after every new image. Raises CameraError if the device cannot
            be opened.
    """

    declare: Callable[[CameraNode], None]
    connect: Callable[[CameraNode, CameraFeatures], Camera]


class CameraNode(ManagedNode):
    """ROS side of one camera: connected while configured, publishing while active.

    Attributes:
        camera: The connected camera; exists once the node is configured.
    """

    camera: Camera

    def __init__(self, devices: Mapping[str, DeviceKind], **options: Any) -> None:
        """Declare the parameters.

        Args:
            devices: Kinds of camera by the value of the parameter `device`; the first is
                its default.
            options: Passed on to `ManagedNode`.
        """
        super().__init__("camera_node", **options)
        self._devices = devices
        self._problem = ""
        parameter(
            self, "camera", "front", "name of the camera, part of its frame", settable=True
        )
        parameter(self, "width", 640, "image width [pixels]", PIXELS, settable=True)
        parameter(self, "height", 480, "image height [pixels]", PIXELS, settable=True)
        parameter(
            self, "rate", 30.0, "images per second [Hz]", (1.0, 1000.0), settable=True
        )
        oldest = "maximum age of a published image [s]"
        parameter(self, "max_age", 0.5, oldest, (0.05, 5.0), settable=True)
        kinds = f"kind of camera: {', '.join(devices)}"
        parameter(self, "device", next(iter(devices)), kinds, settable=True)
        for kind in devices.values():
            kind.declare(self)
        self.publish_health("camera")

    # --- life cycle -------------------------------------------------------------------------

    def configure(self) -> None:
        """Connect the camera.

        Raises:
            CameraError: If it cannot be opened or its images have another size.
        """
        device = self.value("device")
        if device not in self._devices:
            raise CameraError(
                f"device {device!r} is no kind of camera; "
                f"there are: {', '.join(self._devices)}"
            )
        features = CameraFeatures(
            self.value("camera"),
            self.value("width"),
            self.value("height"),
            self.value("rate"),
        )
        self._max_age = self.value("max_age")
        self._monitor = FrameMonitor(features.rate, self._max_age, lambda: now_ns(self))
        self._last_stamp_ns = -1
        self._last_well = time.monotonic()
        self._image = self.create_publisher(Image, "image_raw", qos.IMAGES)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos.IMAGES)
        self.camera = self._devices[device].connect(self, features)

    def cleanup(self) -> None:
        """Disconnect the camera."""
        self.camera.disconnect()

    # --- images and their state -------------------------------------------------------------

    def publish_newest(self) -> None:
        """Publish the newest image unless it has been published."""
        if not self.active:
            return
        try:
            frame = self.camera.read_latest(self._max_age)
        except CameraError as error:
            self._problem = str(error)
            return
        self._problem = ""
        self._last_well = time.monotonic()
        if frame.stamp_ns == self._last_stamp_ns:
            return
        self._last_stamp_ns = frame.stamp_ns
        image = _image_message(frame, self.camera.features.name)
        info = CameraInfo(header=image.header, width=image.width, height=image.height)
        self._image.publish(image)
        self._info.publish(info)
        self._monitor.on_image(frame.stamp_ns)

    def health(self) -> Health:
        """Return the entry of /diagnostics: rate and age of the newest image."""
        if not self.active:
            return Health(message="not active")
        missing, problem = self._monitor.problem()
        if missing:
            self.publish_newest()  # the device then reports its problem
            problem = self._problem or problem
        if self._problem and time.monotonic() - self._last_well > PATIENCE:
            self.get_logger().error(self._problem, throttle_duration_sec=5.0)
        values = {"camera": self.camera.features.name, **frame_values(self._monitor)}
        if isinstance(self.camera, OpenCvCamera) and self.camera.refused:
            values["settings not taken"] = "; ".join(self.camera.refused)
        return frame_health(missing, problem, values)


def frame_values(monitor: FrameMonitor) -> dict[str, str]:
    """Return rate [Hz] and age [s] for /diagnostics."""
    return {"rate": f"{monitor.rate:.1f}", "age": f"{monitor.age:.3f}"}


def frame_health(missing: bool, problem: str, values: dict[str, str]) -> Health:
    """Return a camera's entry of /diagnostics.

    Args:
        missing: Whether images are missing, which is an error; slow images are a warning.
        problem: Description of the problem; empty if there is none.
        values: Values of the entry.
    """
    if not problem:
        return Health(values=values)
    level = DiagnosticStatus.ERROR if missing else DiagnosticStatus.WARN
    return Health(level, problem, values)


def _image_message(frame: Frame, camera: str) -> Image:
    message = Image()
    fill_message(message, frame.image)
    message.header.stamp = to_stamp(frame.stamp_ns)
    message.header.frame_id = f"{camera}_optical_frame"
    return message


# --- the device `opencv` --------------------------------------------------------------------


def _declare_opencv(node: CameraNode) -> None:
    parameter(
        node,
        "source",
        "0",
        "opencv: index, device path, stream or video file",
        settable=True,
    )
    parameter(
        node,
        "pixel_format",
        "MJPG",
        "opencv: FOURCC code; empty: the camera's own",
        settable=True,
    )
    parameter(
        node,
        "exposure",
        -1,
        "opencv: [100 us]; -1: automatic",
        (-1, 100_000),
        settable=True,
    )
    parameter(
        node,
        "white_balance",
        -1,
        "opencv: [K]; -1: automatic",
        (-1, 20_000),
        settable=True,
    )
    parameter(
        node,
        "focus",
        -1,
        "opencv: in the camera's units; -1: automatic",
        (-1, 10_000),
        settable=True,
    )


def _connect_opencv(node: CameraNode, features: CameraFeatures) -> OpenCvCamera:
    # The reading thread wakes the executor through this condition.
    new_image = node.create_guard_condition(node.publish_newest)
    settings = CameraSettings(
        node.value("pixel_format"),
        node.value("exposure"),
        node.value("white_balance"),
        node.value("focus"),
    )
    camera = OpenCvCamera(
        features, node.value("source"), settings, lambda: now_ns(node), new_image.trigger
    )
    camera.connect()
    if camera.refused:
        node.get_logger().warning(
            f"camera {features.name} does not take every setting: "
            f"{'; '.join(camera.refused)}"
        )
    return camera


DEVICES = {"opencv": DeviceKind(_declare_opencv, _connect_opencv)}
"""Kinds of real camera; another one needs an entry here and nothing else."""
