"""Live images of a graph's cameras: encoded once for all viewers, and only while there are any."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from functools import partial

import cv2
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.images import ImageError, RawImage
from ptr_common.managed_node import subscribe
from ptr_common.topics import image_topic

PERIOD = 0.1
"""Shortest time between two images of a camera [s]."""

QUALITY = 80
"""Quality of the JPEG images."""

WIDTH = 640
"""Largest width of an image [pixels]; wider ones are made smaller."""


@dataclass(frozen=True)
class Frame:
    """An image as browsers get it.

    Attributes:
        camera: Name of the camera.
        stamp_ns: Stamp of the image [ns].
        jpeg: The image.
    """

    camera: str
    stamp_ns: int
    jpeg: bytes


class CameraImages:
    """Newest image of each camera in the namespace of a node.

    `look` belongs to the thread of the node, `frames` to those of the server.

    Args:
        node: The node that subscribes.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        space = re.escape(node.get_namespace().rstrip("/"))
        self._pattern = re.compile(rf"{space}/{image_topic('([A-Za-z0-9_]+)')}")
        self._subscriptions: dict[str, Subscription] = {}
        self._raw: dict[str, bytes] = {}  # newest message of each camera, not yet encoded
        self._frames: dict[str, Frame] = {}
        self._encoded_at: dict[str, float] = {}
        self._lock = threading.Lock()  # viewers ask from several threads

    def look(self, watched: bool) -> None:
        """Subscribe to every camera that publishes, or to none if nobody watches."""
        if not watched:
            for subscription in self._subscriptions.values():
                self._node.destroy_subscription(subscription)
            self._subscriptions.clear()
            with self._lock:  # who comes later sees nothing old
                self._raw.clear()
                self._frames.clear()
            return
        for topic, _ in self._node.get_topic_names_and_types():
            match = self._pattern.fullmatch(topic)
            if match is None or match[1] in self._subscriptions:
                continue
            take = partial(self._raw.__setitem__, match[1])
            self._subscriptions[match[1]] = subscribe(
                self._node, Image, topic, take, qos.NEWEST_IMAGE, decode=bytes
            )

    def frames(self) -> list[Frame]:
        """Return the newest image of each camera, at most ten a second of each."""
        with self._lock:
            now = time.monotonic()
            for camera in sorted(self._raw):
                if now - self._encoded_at.get(camera, 0.0) >= PERIOD:
                    self._encoded_at[camera] = now
                    self._encode(camera, self._raw.pop(camera))
            return [self._frames[camera] for camera in sorted(self._frames)]

    def _encode(self, camera: str, message: bytes) -> None:
        try:
            self._frames[camera] = encode(camera, message)
        except (ImageError, cv2.error) as error:
            text = f"an image of {camera} cannot be shown: {error}"
            self._node.get_logger().warning(text, throttle_duration_sec=10.0)


def encode(camera: str, message: bytes) -> Frame:
    """Return an image as browsers get it.

    Args:
        camera: Name of its camera.
        message: Serialised sensor_msgs/Image.

    Raises:
        ImageError: If it cannot be decoded.
    """
    raw = RawImage.from_cdr(message)
    pixels = raw.rgb()
    if raw.width > WIDTH:
        size = (WIDTH, round(raw.height * WIDTH / raw.width))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return Frame(camera, raw.stamp_ns, jpeg.tobytes())
