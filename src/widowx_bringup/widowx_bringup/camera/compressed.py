"""A camera's images as JPEG, for people who look on: small, few, and only while somebody looks."""

from __future__ import annotations

import array
import time
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from ptr_common import qos
from ptr_common.images import RawImage
from ptr_common.process.priority import lower_priority

FORMAT = "rgb8; jpeg compressed bgr8"
"""What the field `format` says, as image_transport writes it."""

PERIOD = 0.1
"""Shortest time between two images [s]."""

QUALITY = 80
"""Quality of the JPEG images."""

WIDTH = 640
"""Largest width of an image [pixels]; wider ones are made smaller."""


def jpeg(pixels: np.ndarray) -> bytes:
    """Return an image as JPEG, at most `WIDTH` pixels wide.

    Args:
        pixels: Shape (H, W, 3), uint8 RGB.
    """
    height, width = pixels.shape[:2]
    if width > WIDTH:
        size = (WIDTH, round(height * WIDTH / width))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


class CompressedImages:
    """Publishes some of a camera's images a second time, while anybody subscribes.

    A reader of raw images takes time from the policy that reads them too. Images are encoded in a
    thread of its own, which waits for all others; while it is busy, images are passed over.

    Args:
        node: The node of the camera.
        topic: Where; image_transport's subscribers find it beside `image_raw`.
    """

    def __init__(self, node: Node, topic: str = "image_raw/compressed") -> None:
        self._node = node
        self._publisher = node.create_publisher(CompressedImage, topic, qos.IMAGES)
        self._worker = ThreadPoolExecutor(1, "compressed images", lower_priority)
        self._busy: Future[None] = Future()
        self._busy.set_result(None)
        self._offered = -PERIOD  # time of the newest one, on the monotonic clock [s]

    def offer(self, image: Image) -> None:
        """Publish an image, unless nobody looks or one was published just now."""
        now = time.monotonic()
        if now - self._offered < PERIOD or not self._busy.done():
            return
        if not self._publisher.get_subscription_count():
            return
        if error := self._busy.exception():
            text = f"no compressed image: {error}"
            self._node.get_logger().warning(text, throttle_duration_sec=10.0)
        self._offered = now
        self._busy = self._worker.submit(self._publish, image)

    def _publish(self, image: Image) -> None:
        message = CompressedImage(header=image.header, format=FORMAT)
        message.data = array.array("B", jpeg(RawImage.from_message(image).rgb()))
        self._publisher.publish(message)

    def close(self) -> None:
        """Wait for what is being encoded."""
        self._worker.shutdown()
