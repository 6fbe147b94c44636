"""Images as browsers get them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.images import ImageError, fill_message  # noqa: E402
from ptr_common.managed_node import Executor  # noqa: E402
from widowx_bringup.camera.compressed import FORMAT, CompressedImages  # noqa: E402
from widowx_bringup.console.images import CameraImages, Frame, encode, read  # noqa: E402


def message(height: int, width: int) -> bytes:
    image = Image()
    fill_message(image, np.full((height, width, 3), (0, 0, 255), np.uint8))
    image.header.stamp.sec = 3
    return serialize_message(image)


def test_a_raw_image_becomes_a_jpeg() -> None:
    frame = encode("front", message(48, 64))
    assert (frame.camera, frame.stamp_ns) == ("front", 3_000_000_000)
    pixels = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (48, 64, 3)


def test_a_compressed_image_is_passed_on_as_it_is() -> None:
    image = CompressedImage(format=FORMAT, data=b"the image")
    image.header.stamp.sec = 3
    expected = Frame("front", 3_000_000_000, b"the image")
    assert read("front", serialize_message(image)) == expected


def test_what_is_damaged_or_no_jpeg_is_refused() -> None:
    with pytest.raises(ImageError):
        encode("front", message(48, 64)[:200])
    with pytest.raises(ImageError, match="damaged"):
        read("front", b"\0\1\0\0 short")
    image = CompressedImage(format="32FC1; compressedDepth", data=b"1")
    with pytest.raises(ImageError, match="allowed is jpeg"):
        read("front", serialize_message(image))


class Viewer:
    """A node that shows the images of a camera, and the camera beside it."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("viewer", namespace="wx250s")
        self.executor = Executor()
        self.executor.add_node(self.node)
        self.images = CameraImages(self.node)
        self.raw = self.node.create_publisher(Image, "camera/front/image_raw", qos.IMAGES)

    def until(self, condition: Callable[[], object]) -> None:
        """Show images until a condition holds."""
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.images.look(True)
            self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def viewer(ros: None) -> Iterator[Viewer]:
    with contextlib.closing(Viewer()) as viewer:
        yield viewer


def test_a_camera_is_read_where_its_images_are_compressed_once_they_are(
    viewer: Viewer,
) -> None:
    viewer.until(viewer.raw.get_subscription_count)
    compressed = CompressedImages(viewer.node, "camera/front/image_raw/compressed")
    viewer.until(lambda: not viewer.raw.get_subscription_count())
    image = Image()
    fill_message(image, np.zeros((48, 64, 3), np.uint8))
    image.header.stamp.sec = 7

    def shown() -> bool:
        compressed.offer(image)
        return bool(viewer.images.frames())

    viewer.until(shown)
    assert viewer.images.frames()[0].stamp_ns == 7_000_000_000
    compressed.close()
    viewer.images.look(False)
    assert viewer.images.frames() == []
