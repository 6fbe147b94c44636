"""What the recorder finds wrong with the topics that it records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from ptr_common.images import RawImage
from ptr_msgs.msg import ArmState

from .recorded_topic import RecordedTopic

FROZEN_AFTER_NS = 300_000_000
"""An image is frozen if it is still the same this long after the arm moved [ns]."""

FROZEN_MOTION = 0.002
"""Motion of the end effector that must change the image [m]."""

SAMPLE = 4096
"""Bytes in the middle of an image that are compared before all of it."""


def decode(topic: RecordedTopic, message_type: type, data: bytes) -> Any:
    """Return a message; an image as `RawImage`, whose pixels are not copied.

    Args:
        topic: Where it came from.
        message_type: Its message class.
        data: The serialised message (CDR).

    Raises:
        PtrError: If an image is malformed.
        RuntimeError: If another message is.
    """
    if topic.type_name == "sensor_msgs/msg/Image":
        return RawImage.from_cdr(data)
    return deserialize_message(data, message_type)


def rival_publishers(node: Node, topics: Iterable[RecordedTopic]) -> str:
    """Return which topic has several publishers and who they are; empty if none has.

    Args:
        node: Any node of the graph.
        topics: Topics; those that may be shared are left out.
    """
    for topic in topics:
        names: list[str] = []
        if not topic.shared and node.count_publishers(topic.name) > 1:
            for info in node.get_publishers_info_by_topic(topic.name):
                names.append(f"{info.node_namespace.rstrip('/')}/{info.node_name}")
        if len(names) > 1:
            return (
                f"{len(names)} nodes publish {topic.name}: {', '.join(sorted(names))}; "
                "stop all but one"
            )
    return ""


class FrozenImages:
    """Notices a camera that goes on sending the same image, to the byte, while the arm moves."""

    def __init__(self) -> None:
        self._position: np.ndarray | None = None  # of the end effector, (3,) [m]
        self._previous: RawImage | None = None
        self._start: np.ndarray | None = None  # position at the first of the equal images
        self._moved = 0.0  # since then, as of FROZEN_AFTER_NS ago [m]
        self._recent: deque[tuple[int, float]] = deque()  # times [ns] and distances [m]

    @property
    def frozen(self) -> bool:
        """Whether the latest image is the same as before the arm moved."""
        return self._moved > FROZEN_MOTION

    def on_arm(self, state: ArmState) -> None:
        """Note the position of the end effector."""
        self._position = np.asarray(state.proprio[:3])

    def on_image(self, image: RawImage, now_ns: int) -> None:
        """Compare an image that arrived now with the one before.

        Args:
            image: The image.
            now_ns: The time now [ns].
        """
        same = self._previous is not None and _are_equal(image.data, self._previous.data)
        self._previous = image
        if not same or self._start is None or self._position is None:
            self._start, self._moved = self._position, 0.0
            self._recent.clear()
            return
        distance = float(np.linalg.norm(self._position - self._start))
        self._recent.append((now_ns, distance))
        while self._recent[0][0] <= now_ns - FROZEN_AFTER_NS:
            self._moved = max(self._moved, self._recent.popleft()[1])


def _are_equal(pixels: np.ndarray, before: np.ndarray) -> bool:
    """Return whether two images have the same bytes, each (n,) uint8."""
    middle = slice(len(pixels) // 2, len(pixels) // 2 + SAMPLE)
    if len(pixels) != len(before) or not np.array_equal(pixels[middle], before[middle]):
        return False
    return np.array_equal(pixels, before)
