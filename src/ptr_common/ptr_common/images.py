"""From a camera's bytes to the network's image: decoding and the one resize function.

The exporter, the simulator and the policy node all call `resize_area`, so that training and
deployment see the same pixels. ROS is not imported: images are read straight from the
serialised message or from any object with the fields of sensor_msgs/Image.
"""

from __future__ import annotations

import array
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .cdr import CdrError, CdrReader
from .errors import PtrError

RESIZE_NAME = "cv2.INTER_AREA"
"""Name of the kernel of `resize_area`, written into every episode store and bundle."""

ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
}
"""Encodings of sensor_msgs/Image that can be decoded: bytes a pixel, and OpenCV's conversion to RGB."""

MAX_PIXELS = 1 << 26
"""Pictures larger than this, twice those of an 8K camera, are refused: a few bytes may claim to hold gigabytes."""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class ImageError(PtrError):
    """An image message cannot be decoded."""


class EncodingError(ImageError):
    """An image message has an encoding that is not supported; so will all others of its topic."""


@dataclass(frozen=True)
class RawImage:
    """The fields of a sensor_msgs/Image; the pixels stay where they were received."""

    stamp_ns: int
    height: int
    width: int
    encoding: str
    step: int  # bytes from one row to the next
    data: np.ndarray  # (step * height,) uint8

    @classmethod
    def from_message(cls, message: Any) -> RawImage:
        """Return the view of a message from rclpy or rosbags."""
        stamp = message.header.stamp
        return cls(
            stamp.sec * 1_000_000_000 + stamp.nanosec,
            message.height,
            message.width,
            message.encoding,
            message.step,
            np.frombuffer(message.data, np.uint8),
        )

    @classmethod
    def from_cdr(cls, buffer: bytes | memoryview) -> RawImage:
        """Return the view of a serialised message.

        Raises:
            ImageError: If the message is truncated.
        """
        reader = CdrReader(buffer)
        try:
            stamp_ns, _ = reader.header()
            height, width, encoding = reader.unsigned(), reader.unsigned(), reader.string()
            reader.position += 1  # is_bigendian: says nothing about one-byte channels
            return cls(
                stamp_ns, height, width, encoding, reader.unsigned(), reader.octets()
            )
        except CdrError as error:
            raise ImageError(str(error)) from error

    def rgb(self) -> np.ndarray:
        """Return the picture, shape (height, width, 3), uint8 RGB; for rgb8 a view without copy.

        Raises:
            EncodingError: If the encoding is not one of `ENCODINGS`.
            ImageError: If the sizes do not fit together.
        """
        if self.encoding not in ENCODINGS:
            raise EncodingError(
                f"image encoding {self.encoding!r} is not supported; set the camera driver to one of: "
                f"{', '.join(ENCODINGS)}"
            )
        depth, conversion = ENCODINGS[self.encoding]
        if (
            not self.height * self.width
            or self.step < self.width * depth
            or len(self.data) < self.step * self.height
        ):
            raise ImageError(
                f"image of {self.width}x{self.height} {self.encoding} with step {self.step} "
                f"has {len(self.data)} bytes; expected {max(self.step, self.width * depth) * self.height}"
            )
        rows = self.data[: self.step * self.height].reshape(self.height, self.step)
        pixels = rows[:, : self.width * depth].reshape(self.height, self.width, depth)
        if conversion is None:
            return pixels
        try:
            return cv2.cvtColor(pixels, conversion)
        except cv2.error as error:  # for instance an odd width in yuv422
            raise ImageError(
                f"image of {self.width}x{self.height} {self.encoding}: {error}"
            ) from error


def decode(buffer: bytes | memoryview, type_name: str) -> np.ndarray:
    """Return the picture of a serialised image message.

    Args:
        buffer: CDR bytes as received.
        type_name: One of `IMAGE_TYPES`.

    Returns:
        Picture, shape (H, W, 3), uint8 RGB.

    Raises:
        EncodingError: If the encoding is not supported.
        ImageError: If the message or its JPEG data is damaged.
    """
    if type_name == "sensor_msgs/msg/Image":
        return RawImage.from_cdr(buffer).rgb()
    reader = CdrReader(buffer)
    try:
        reader.header()
        encoding, data = reader.string(), reader.octets()
    except CdrError as error:
        raise ImageError(str(error)) from error
    return decode_compressed(encoding, data)


def decode_compressed(encoding: str, data: np.ndarray | bytes | array.array) -> np.ndarray:
    """Return the picture of a sensor_msgs/CompressedImage, shape (H, W, 3), uint8 RGB.

    Args:
        encoding: Its field `format`, for instance "jpeg" or "rgb8; jpeg compressed bgr8".
        data: Its field `data`.

    Raises:
        EncodingError: If the format is neither JPEG nor PNG.
        ImageError: If the data are damaged or of more than `MAX_PIXELS`.
    """
    if (
        "jpeg" not in encoding and "jpg" not in encoding and "png" not in encoding
    ) or "Depth" in encoding:
        raise EncodingError(
            f"compressed image format {encoding!r} is not supported; allowed: jpeg, png"
        )
    data = np.frombuffer(data, np.uint8)
    height, width = _size_in_header(data.data)
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"compressed image ({encoding}) is {width}x{height}; at most {MAX_PIXELS} pixels are decoded"
        )
    image = (
        cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if height * width
        else None
    )
    if image is None:
        raise ImageError(
            f"compressed image ({encoding}, {len(data)} bytes) is damaged, or neither JPEG nor PNG"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size_in_header(data: memoryview) -> tuple[int, int]:
    """Return the height and width that a JPEG or PNG says it has; zeros if it is neither or damaged."""
    try:
        if data[:8].tobytes() == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack_from(">II", data, 16)
            return height, width
        position = 2 if data[:2].tobytes() == b"\xff\xd8" else len(data)
        while True:
            fill, marker, length, _, height, width = struct.unpack_from(
                ">BBHBHH", data, position
            )
            if fill != 0xFF:
                return 0, 0
            if 0xC0 <= marker <= 0xCF and marker not in (
                0xC4,
                0xC8,
                0xCC,
            ):  # the others are tables
                return height, width
            position += 1 if marker == 0xFF else 2 + length
    except struct.error:
        return 0, 0


def fill_message(message: Any, image: np.ndarray) -> None:
    """Put a picture into a sensor_msgs/Image as rgb8; the header is left alone.

    Args:
        message: The message to fill.
        image: Picture, shape (H, W, 3), uint8 RGB.
    """
    message.height, message.width = image.shape[:2]
    message.encoding = "rgb8"
    message.is_bigendian = 0
    message.step = 3 * image.shape[1]
    message.data = array.array(
        "B", image.tobytes()
    )  # a numpy array would be copied element by element


def resize_area(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image averaged down to `size` by pixel area.

    Args:
        image: RGB image, shape (H, W, 3), uint8.
        size: Height and width wanted, in pixels; the aspect ratio is not kept.

    Returns:
        Image of shape (*size, 3), uint8.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
