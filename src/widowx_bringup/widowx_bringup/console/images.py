"""Live images of a graph's cameras: encoded once for all viewers, and only while there are any."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from functools import partial

import cv2
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from ptr_common import qos
from ptr_common.images import ImageError, RawImage
from ptr_common.managed_node import subscribe, to_ns
from ptr_common.node import MALFORMED
from ptr_common.topics import image_topic
from widowx_bringup.camera.compressed import PERIOD, jpeg


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

    A camera that publishes compressed images is read there: a second reader of its raw ones
    would take time from the policy.

    `look` belongs to the thread of the node, `frames` to those of the server.

    Args:
        node: The node that subscribes.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        space = re.escape(node.get_namespace().rstrip("/"))
        name = image_topic("([A-Za-z0-9_]+)")
        self._pattern = re.compile(rf"{space}/{name}(/compressed)?")
        self._subscriptions: dict[str, tuple[str, Subscription]] = {}  # by camera
        self._newest: dict[str, tuple[bool, bytes]] = {}  # compressed?, not yet read
        self._frames: dict[str, Frame] = {}
        self._read_at: dict[str, float] = {}
        self._lock = threading.Lock()  # viewers ask from several threads

    def look(self, watched: bool) -> None:
        """Subscribe to every camera that publishes, or to none if nobody watches."""
        if not watched:
            for _, subscription in self._subscriptions.values():
                self._node.destroy_subscription(subscription)
            self._subscriptions.clear()
            with self._lock:  # who comes later sees nothing old
                self._newest.clear()
                self._frames.clear()
            return
        for camera, topic in self._topics().items():
            known = self._subscriptions.get(camera)
            if known is not None and known[0] == topic:
                continue
            if known is not None:
                self._node.destroy_subscription(known[1])
            self._subscribe(camera, topic)

    def _topics(self) -> dict[str, str]:
        """Return the topic to read of each camera."""
        found: dict[str, str] = {}
        for topic, _ in self._node.get_topic_names_and_types():
            match = self._pattern.fullmatch(topic)
            if match and self._node.count_publishers(topic):
                found[match[1]] = max(
                    topic, found.get(match[1], "")
                )  # compressed is longer
        return found

    def _subscribe(self, camera: str, topic: str) -> None:
        compressed = topic.endswith("/compressed")
        subscription = subscribe(
            self._node,
            CompressedImage if compressed else Image,
            topic,
            partial(self._newest.__setitem__, camera),
            qos.NEWEST_IMAGE,
            decode=lambda message: (compressed, bytes(message)),
        )
        self._subscriptions[camera] = (topic, subscription)

    def frames(self) -> list[Frame]:
        """Return the newest image of each camera, at most ten a second of each."""
        with self._lock:
            now = time.monotonic()
            for camera in sorted(self._newest):
                if now - self._read_at.get(camera, 0.0) >= PERIOD:
                    self._read_at[camera] = now
                    self._read(camera, *self._newest.pop(camera))
            return [self._frames[camera] for camera in sorted(self._frames)]

    def _read(self, camera: str, compressed: bool, message: bytes) -> None:
        try:
            self._frames[camera] = (read if compressed else encode)(camera, message)
        except (ImageError, cv2.error) as error:
            text = f"an image of {camera} cannot be shown: {error}"
            self._node.get_logger().warning(text, throttle_duration_sec=10.0)


def read(camera: str, message: bytes) -> Frame:
    """Return a compressed image as browsers get it.

    Args:
        camera: Name of its camera.
        message: Serialised sensor_msgs/CompressedImage.

    Raises:
        ImageError: If it cannot be decoded, or is no JPEG.
    """
    try:
        image = deserialize_message(message, CompressedImage)
    except MALFORMED as error:
        raise ImageError(f"its message is damaged: {error}") from error
    if "jpeg" not in image.format and "jpg" not in image.format:
        raise ImageError(f"its format is {image.format!r}; allowed is jpeg")
    return Frame(camera, to_ns(image.header.stamp), image.data.tobytes())


def encode(camera: str, message: bytes) -> Frame:
    """Return a raw image as browsers get it.

    Args:
        camera: Name of its camera.
        message: Serialised sensor_msgs/Image.

    Raises:
        ImageError: If it cannot be decoded.
    """
    raw = RawImage.from_cdr(message)
    return Frame(camera, raw.stamp_ns, jpeg(raw.rgb()))
