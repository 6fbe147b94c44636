"""Images as browsers get them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ptr_common.images import ImageError, fill_message  # noqa: E402
from widowx_bringup.console.images import WIDTH, encode  # noqa: E402


def message(height: int, width: int) -> bytes:
    image = Image()
    fill_message(image, np.full((height, width, 3), (0, 0, 255), np.uint8))
    image.header.stamp.sec = 3
    return serialize_message(image)


@pytest.mark.parametrize(
    ("size", "expected"), [((48, 64), (48, 64)), ((1080, 1920), (360, WIDTH))]
)
def test_an_image_keeps_its_shape_and_is_never_wider_than_a_page_needs(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    frame = encode("front", message(*size))
    assert (frame.camera, frame.stamp_ns) == ("front", 3_000_000_000)
    pixels = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (*expected, 3)
    np.testing.assert_allclose(pixels[5, 5], [255, 0, 0], atol=8)


def test_a_damaged_message_is_refused() -> None:
    with pytest.raises(ImageError):
        encode("front", message(48, 64)[:200])
