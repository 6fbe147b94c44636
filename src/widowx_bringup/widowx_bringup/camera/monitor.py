"""The node `camera_monitor`: publishes rate and age of each camera's images on /diagnostics.

It works with every camera driver. It subscribes to `camera_info`, which a driver publishes
with each image, because these messages are small.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.managed_node import (
    Health,
    now_ns,
    parameter,
    publish_diagnostics,
    run,
    subscribe,
    to_ns,
)
from ptr_common.topics import camera_info_topic

from .node import frame_health, frame_values
from .protocol import FrameMonitor


class CameraMonitor(Node):
    """One entry of /diagnostics for each camera."""

    def __init__(self, **options: Any) -> None:
        """Declare the parameters and subscribe to the cameras.

        Args:
            options: Passed on to `rclpy.node.Node`.

        Raises:
            PtrError: If no camera is named.
        """
        super().__init__("camera_monitor", **options)
        names = parameter(self, "cameras", [""], "names of the cameras")
        cameras = [name for name in names if name]
        rate = parameter(
            self, "rate", 30.0, "expected images per second of each [Hz]", (1.0, 1000.0)
        )
        max_age = parameter(
            self, "max_age", 0.5, "maximum age of the latest image [s]", (0.05, 5.0)
        )
        if not cameras:
            raise PtrError("camera_monitor watches no camera; set its parameter `cameras`")
        for camera in cameras:
            monitor = FrameMonitor(rate, max_age, lambda: now_ns(self))
            subscribe(
                self,
                CameraInfo,
                camera_info_topic(camera),
                functools.partial(_on_image, monitor),
                qos.IMAGES,
            )
            publish_diagnostics(self, camera, functools.partial(_health, monitor), camera)


def _on_image(monitor: FrameMonitor, info: CameraInfo) -> None:
    monitor.on_image(to_ns(info.header.stamp))


def _health(monitor: FrameMonitor) -> Health:
    return frame_health(*monitor.problem(), frame_values(monitor))


def main() -> int:
    """Run the monitor."""
    return run(CameraMonitor)


if __name__ == "__main__":
    sys.exit(main())
