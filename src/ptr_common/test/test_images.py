"""Decoding of camera messages and the one resize."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from ptr_common import images
from ptr_common.cdr import stamp_of

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types


def image_message(
    data: np.ndarray,
    encoding: str,
    width: int,
    frame_id: str = "cam",
    step: int | None = None,
) -> Any:
    """A sensor_msgs/Image over rows of bytes, shape (height, step)."""
    stamp = T["builtin_interfaces/msg/Time"](sec=12, nanosec=345)
    header = T["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
    return T["sensor_msgs/msg/Image"](
        header,
        len(data),
        width,
        encoding,
        0,
        data.shape[1] if step is None else step,
        data.reshape(-1),
    )


def serialise(message: Any, *, big_endian: bool = False) -> bytes:
    return bytes(
        STORE.serialize_cdr(message, message.__msgtype__, little_endian=not big_endian)
    )


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


@settings(max_examples=50)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 5),
    frame_id=st.text("abc/é", max_size=7),
    big_endian=st.booleans(),
)
def test_serialised_rgb8_is_read_whatever_its_stride_frame_and_byte_order(
    height: int, width: int, padding: int, frame_id: str, big_endian: bool
) -> None:
    rows = np.random.default_rng(height * width).integers(
        0, 256, (height, 3 * width + padding), np.uint8
    )
    buffer = serialise(image_message(rows, "rgb8", width, frame_id), big_endian=big_endian)
    view = images.RawImage.from_cdr(buffer)
    np.testing.assert_array_equal(
        view.rgb(), rows[:, : 3 * width].reshape(height, width, 3)
    )
    assert view.stamp_ns == stamp_of(buffer) == 12_000_000_345


def test_rgb8_is_a_view_without_copy(picture: np.ndarray) -> None:
    buffer = serialise(image_message(picture.reshape(6, -1), "rgb8", 8))
    assert np.shares_memory(
        images.decode(buffer, "sensor_msgs/msg/Image"), np.frombuffer(buffer, np.uint8)
    )


def test_bgr8_and_mono8_become_rgb(picture: np.ndarray) -> None:
    bgr = serialise(image_message(picture[..., ::-1].reshape(6, -1), "bgr8", 8))
    np.testing.assert_array_equal(images.decode(bgr, "sensor_msgs/msg/Image"), picture)
    mono = serialise(image_message(picture[..., 0], "mono8", 8))
    np.testing.assert_array_equal(
        images.decode(mono, "sensor_msgs/msg/Image"), np.repeat(picture[..., :1], 3, axis=2)
    )


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422_yuy2", [0, 1, 2, 3]), ("yuv422", [1, 0, 3, 2])]
)
def test_yuv422_keeps_grey_levels(encoding: str, order: list[int]) -> None:
    grey = np.array([16, 128, 126, 128, 235, 128, 16, 128], np.uint8).reshape(2, 4)[
        :, order
    ]  # Y U Y V
    decoded = images.decode(
        serialise(image_message(grey, encoding, 2)), "sensor_msgs/msg/Image"
    )
    np.testing.assert_allclose(decoded[..., 0], [[0, 128], [255, 0]], atol=1)
    assert (decoded == decoded[..., :1]).all()


def decoded(rows: np.ndarray, encoding: str, width: int) -> np.ndarray:
    message = serialise(image_message(rows, encoding, width))
    return images.decode(message, "sensor_msgs/msg/Image")


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgba8", [0, 1, 2]), ("bgra8", [2, 1, 0])]
)
def test_images_with_alpha_become_rgb(
    picture: np.ndarray, encoding: str, order: list[int]
) -> None:
    alpha = np.full((*picture.shape[:2], 1), 7, np.uint8)
    rows = np.concatenate([picture[..., order], alpha], -1).reshape(6, -1)
    np.testing.assert_array_equal(decoded(rows, encoding, 8), picture)


@pytest.mark.parametrize(
    ("encoding", "same"), [("yuyv", "yuv422_yuy2"), ("uyvy", "yuv422")]
)
def test_new_names_of_yuv422_are_the_old_encodings(encoding: str, same: str) -> None:
    rows = np.random.default_rng(1).integers(0, 256, (4, 16), np.uint8)
    np.testing.assert_array_equal(decoded(rows, encoding, 8), decoded(rows, same, 8))


@pytest.mark.parametrize("is_bigendian", [False, True])
def test_mono16_keeps_its_high_byte(is_bigendian: bool) -> None:
    grey = np.array([[0, 255, 256, 65535], [1000, 4096, 32768, 7]])
    rows = grey.astype(">u2" if is_bigendian else "<u2").view(np.uint8)
    message = image_message(rows, "mono16", 4)
    message.is_bigendian = int(is_bigendian)
    for found in (
        images.RawImage.from_message(message).rgb(),
        images.decode(serialise(message), "sensor_msgs/msg/Image"),
    ):
        np.testing.assert_array_equal(found, np.repeat((grey >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("colour", [[250, 10, 20], [10, 250, 20], [20, 10, 250]])
def test_bayer_patterns_keep_the_colour(pattern: str, colour: list[int]) -> None:
    values = dict(zip("rgb", colour, strict=True))
    cell = np.array([values[letter] for letter in pattern], np.uint8).reshape(2, 2)
    found = decoded(np.tile(cell, (4, 4)), f"bayer_{pattern}8", 8)
    np.testing.assert_array_equal(found[2:-2, 2:-2], np.full((4, 4, 3), colour))


def test_message_objects_and_serialised_bytes_agree(picture: np.ndarray) -> None:
    message = image_message(picture.reshape(6, -1), "rgb8", 8)
    np.testing.assert_array_equal(images.RawImage.from_message(message).rgb(), picture)


def test_filled_message_decodes_to_the_same_picture(picture: np.ndarray) -> None:
    message = SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2))
    )
    images.fill_message(message, picture)
    np.testing.assert_array_equal(images.RawImage.from_message(message).rgb(), picture)


def test_jpeg_message_decodes_close_to_the_original() -> None:
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    message = T["sensor_msgs/msg/CompressedImage"](
        image_message(smooth.reshape(32, -1), "rgb8", 32).header,
        "rgb8; jpeg compressed bgr8",
        jpeg.reshape(-1),
    )
    decoded = images.decode(serialise(message), "sensor_msgs/msg/CompressedImage")
    assert np.abs(decoded.astype(int) - smooth).mean() < 3


def test_unknown_encoding_is_refused_with_the_allowed_ones(picture: np.ndarray) -> None:
    buffer = serialise(image_message(picture.reshape(6, -1), "16UC1", 8))
    with pytest.raises(
        images.EncodingError, match=r"'16UC1' is not supported.*rgb8, bgr8, rgba8"
    ):
        images.decode(buffer, "sensor_msgs/msg/Image")
    with pytest.raises(images.EncodingError, match="compressedDepth"):
        images.decode_compressed("16UC1; compressedDepth png", b"")


def test_damaged_images_are_refused(picture: np.ndarray) -> None:
    buffer = serialise(image_message(picture.reshape(6, -1), "rgb8", 8))
    with pytest.raises(images.ImageError, match="truncated"):
        images.decode(buffer[:-1], "sensor_msgs/msg/Image")
    short = image_message(picture.reshape(6, -1)[:5], "rgb8", 8)
    short.height = 6
    with pytest.raises(images.ImageError, match="expected 144"):
        images.decode(serialise(short), "sensor_msgs/msg/Image")
    with pytest.raises(images.ImageError, match="damaged"):
        images.decode_compressed("jpeg", b"\xff\xd8nonsense")
    with pytest.raises(images.ImageError, match="0x0"):
        images.decode(
            serialise(image_message(np.zeros((0, 0), np.uint8), "rgb8", 0)),
            "sensor_msgs/msg/Image",
        )


def encoded(kind: str, picture: np.ndarray) -> bytes:
    return cv2.imencode(kind, picture)[1].tobytes()


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_pictures_that_claim_to_be_huge_are_refused_before_they_are_decoded(
    kind: str, picture: np.ndarray
) -> None:
    data = encoded(kind, picture)
    sizes = (
        (b"\0\x06\0\x08", b"\xea\x60\xea\x60")
        if kind == ".jpg"
        else (bytes([0, 0, 0, 8, 0, 0, 0, 6]), b"\0\0\xea\x60" * 2)
    )
    huge = data.replace(*sizes, 1)
    assert huge != data
    with pytest.raises(
        images.ImageError, match="is 60000x60000; at most 67108864 pixels are decoded"
    ):
        images.decode_compressed("jpeg, png", huge)


def test_jpeg_with_fill_bytes_is_decoded_and_other_formats_are_not(
    picture: np.ndarray,
) -> None:
    data = encoded(".jpg", picture)
    filled = data[:2] + b"\xff\xff" + data[2:]
    np.testing.assert_array_equal(
        images.decode_compressed("jpeg", filled),
        images.decode_compressed("jpeg", np.frombuffer(data, np.uint8)),
    )
    for kind in (".bmp", ".tiff", ".webp"):
        with pytest.raises(images.ImageError, match="damaged"):
            images.decode_compressed("jpeg", encoded(kind, picture))


@settings(max_examples=50)
@given(st.binary(max_size=60))
def test_what_is_no_picture_is_refused_whatever_it_is(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(images.ImageError):
            images.decode_compressed("jpeg", start + data)


@pytest.mark.parametrize("size", [(48, 64), (64, 64), (7, 5)])
def test_resize_keeps_the_mean_and_the_wanted_size(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    small = images.resize_area(picture, size)
    assert small.shape == (*size, 3)
    np.testing.assert_allclose(small.mean((0, 1)), picture.mean((0, 1)), atol=1.0)


def test_resize_to_the_same_size_changes_nothing(picture: np.ndarray) -> None:
    assert images.resize_area(picture, (6, 8)) is picture


def test_an_image_file_is_read_as_it_was_written(
    tmp_path: Path, picture: np.ndarray
) -> None:
    images.write_jpeg(tmp_path / "image.jpg", np.full((20, 30, 3), (200, 10, 90), np.uint8))
    found = images.read_image(tmp_path / "image.jpg")
    np.testing.assert_allclose(found.mean((0, 1)), (200, 10, 90), atol=3)
    cv2.imwrite(str(tmp_path / "image.png"), picture[..., ::-1])
    np.testing.assert_array_equal(images.read_image(tmp_path / "image.png"), picture)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    for name in ("a.jpg", "none.png"):
        with pytest.raises(images.ImageError, match=f"{name} is missing, or no image"):
            images.read_image(tmp_path / name)
