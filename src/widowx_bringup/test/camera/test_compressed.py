"""Compressed images of a camera: small, few, and only for who looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from probe_rig import ProbeRig

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.images import fill_message  # noqa: E402
from widowx_bringup.camera import compressed  # noqa: E402
from widowx_bringup.camera.compressed import WIDTH, CompressedImages, jpeg  # noqa: E402

RED = (255, 0, 0)


class Camera(ProbeRig):
    """A node that offers images, and a probe that may look."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("camera_node", namespace="camera/front")
        self.probe = rclpy.create_node("probe")
        self.add_nodes()
        self.compressed = CompressedImages(self.node)
        self.seen: list[CompressedImage] = []

    def offer(self, stamp: int) -> None:
        image = Image()
        fill_message(image, np.full((48, 64, 3), RED, np.uint8))
        image.header.stamp.sec = stamp
        image.header.frame_id = "front_optical_frame"
        self.compressed.offer(image)

    def look(self) -> None:
        topic = "camera/front/image_raw/compressed"
        self.probe.create_subscription(CompressedImage, topic, self.seen.append, qos.IMAGES)

    def close(self) -> None:
        self.compressed.close()
        super().close()


@pytest.fixture
def camera(ros: None) -> Iterator[Camera]:
    with contextlib.closing(Camera()) as camera:
        yield camera


@pytest.mark.parametrize(
    ("size", "expected"), [((48, 64), (48, 64)), ((1080, 1920), (360, WIDTH))]
)
def test_an_image_keeps_its_shape_and_is_never_wider_than_a_page_needs(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    content = jpeg(np.full((*size, 3), RED, np.uint8))
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (*expected, 3)
    np.testing.assert_allclose(pixels[5, 5], [0, 0, 255], atol=8)


def test_who_looks_gets_the_image_with_its_stamp_and_frame(camera: Camera) -> None:
    camera.look()

    def arrived() -> bool:
        camera.offer(7)
        return bool(camera.seen)

    camera.until(arrived)
    image = camera.seen[0]
    assert (image.header.stamp.sec, image.header.frame_id) == (7, "front_optical_frame")
    assert "jpeg" in image.format
    pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(pixels[20, 20], [0, 0, 255], atol=8)


def test_nothing_is_encoded_while_nobody_looks(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[np.ndarray] = []
    monkeypatch.setattr(compressed, "jpeg", lambda pixels: encoded.append(pixels) or b"")
    camera.offer(1)
    camera.compressed.close()
    assert encoded == []


def test_between_two_images_is_a_tenth_of_a_second(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera.look()
    camera.until(camera.compressed._publisher.get_subscription_count)
    now = [100.0]
    monkeypatch.setattr(compressed.time, "monotonic", lambda: now[0])
    stamps = []
    for number in range(30):  # an image every 0.03 s
        camera.offer(number)
        camera.compressed._busy.result()
        if camera.compressed._offered == now[0]:
            stamps.append(number)
        now[0] += 0.03
    assert stamps == [0, 4, 8, 12, 16, 20, 24, 28]
