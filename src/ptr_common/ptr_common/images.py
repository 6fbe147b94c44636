"""From a camera's bytes to the network's image: decoding and the one resize function.

The exporter, the simulator and the policy node all call `resize_area`, so that training and
deployment see the same pixels. ROS is not imported: images are read from the serialised
message or from any object with the fields of sensor_msgs/Image.
"""

from __future__ import annotations

import array
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .cdr import CdrError, CdrReader
from .errors import PtrError
from .files import atomic_file

RESIZE_NAME = "cv2.INTER_AREA"
"""Kernel of `resize_area`, as named in every episode store and bundle."""

ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    # OpenCV names a pattern by the second pixels of its second row, ROS by its first row
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
"""Supported encodings of sensor_msgs/Image: bytes per pixel, and OpenCV's conversion to RGB."""

MAX_PIXELS = 1 << 26
"""Largest compressed image that is decoded [pixels], twice that of an 8K camera.

The header of a small message may claim a size that needs gigabytes.
"""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
"""Message types that `decode` reads."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
JPEG_TABLES = (0xC4, 0xC8, 0xCC)
"""JPEG markers from 0xC0 to 0xCF that do not begin a frame."""


class ImageError(PtrError):
    """An image message cannot be decoded."""


class EncodingError(ImageError):
    """An image message has an unsupported encoding, as all others of its topic will have."""


@dataclass(frozen=True)
class RawImage:
    """The fields of a sensor_msgs/Image; the pixels are not copied."""

    stamp_ns: int
    height: int
    width: int
    encoding: str
    step: int  # bytes from one row to the next
    data: np.ndarray  # (step * height,) uint8
    is_bigendian: bool = False  # of channels of two bytes

    @classmethod
    def from_message(cls, message: Any) -> RawImage:
        """Return a view of a message object of rclpy or rosbags."""
        stamp = message.header.stamp
        return cls(
            stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            data=np.frombuffer(message.data, np.uint8),
            is_bigendian=bool(message.is_bigendian),
        )

    @classmethod
    def from_cdr(cls, buffer: bytes | memoryview) -> RawImage:
        """Return a view of a serialised message.

        Raises:
            ImageError: If the message is truncated.
        """
        reader = CdrReader(buffer)
        try:
            stamp_ns, _ = reader.header()
            height = reader.unsigned()
            width = reader.unsigned()
            encoding = reader.string()
            is_bigendian = bool(reader.octet())
            step = reader.unsigned()
            data = reader.octets()
        except CdrError as error:
            raise ImageError(str(error)) from error
        return cls(stamp_ns, height, width, encoding, step, data, is_bigendian)

    def rgb(self) -> np.ndarray:
        """Return the image, shape (height, width, 3), uint8 RGB; a view without copy for rgb8.

        Raises:
            EncodingError: If the encoding is not one of `ENCODINGS`.
            ImageError: If height, width, step and length of the data contradict each other.
        """
        if self.encoding not in ENCODINGS:
            raise EncodingError(
                f"image encoding {self.encoding!r} is not supported; set the camera driver to "
                f"one of: {', '.join(ENCODINGS)}"
            )
        depth, conversion = ENCODINGS[self.encoding]
        row_bytes = self.width * depth
        is_empty = not self.height * self.width
        if is_empty or self.step < row_bytes or len(self.data) < self.step * self.height:
            expected = max(self.step, row_bytes) * self.height
            raise ImageError(
                f"image of {self.width}x{self.height} {self.encoding} with step {self.step} "
                f"has {len(self.data)} bytes; expected {expected}"
            )
        rows = self.data[: self.step * self.height].reshape(self.height, self.step)
        pixels = rows[:, :row_bytes].reshape(self.height, self.width, depth)
        if conversion is None:
            return pixels
        if self.encoding == "mono16":  # its high byte
            pixels = np.ascontiguousarray(pixels[..., int(not self.is_bigendian)])
        try:
            return cv2.cvtColor(pixels, conversion)
        except cv2.error as error:  # for example an odd width in yuv422
            raise ImageError(
                f"image of {self.width}x{self.height} {self.encoding}: {error}"
            ) from error


def write_jpeg(path: Path, image: np.ndarray, quality: int = 85) -> None:
    """Write an RGB image, (H, W, 3) uint8, as a JPEG file.

    Raises:
        ImageError: If it cannot be encoded.
    """
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ImageError(f"{path}: an image {image.shape} could not be encoded as JPEG")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_image(path: Path) -> np.ndarray:
    """Return the image of a file, (H, W, 3) uint8 RGB.

    Raises:
        ImageError: If it cannot be read, or is none.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f"{path} is missing, or no image that can be read (JPEG, PNG, …)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode(buffer: bytes | memoryview, type_name: str) -> np.ndarray:
    """Return the image of a serialised image message.

    Args:
        buffer: CDR bytes as received.
        type_name: One of `IMAGE_TYPES`.

    Returns:
        Image, shape (H, W, 3), uint8 RGB.

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
    """Return the image of a sensor_msgs/CompressedImage, shape (H, W, 3), uint8 RGB.

    Args:
        encoding: Its field `format`, for example "jpeg" or "rgb8; jpeg compressed bgr8".
        data: Its field `data`.

    Raises:
        EncodingError: If the format is neither JPEG nor PNG.
        ImageError: If the data are damaged, or the image has more than `MAX_PIXELS`.
    """
    is_known = "jpeg" in encoding or "jpg" in encoding or "png" in encoding
    if not is_known or "Depth" in encoding:
        raise EncodingError(
            f"compressed image format {encoding!r} is not supported; allowed: jpeg, png"
        )
    data = np.frombuffer(data, np.uint8)
    height, width = _size_in_header(data.data)
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"compressed image ({encoding}) is {width}x{height}; "
            f"at most {MAX_PIXELS} pixels are decoded"
        )
    image = None
    if height * width:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ImageError(
            f"compressed image ({encoding}, {len(data)} bytes) is damaged, or neither JPEG nor PNG"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size_in_header(data: memoryview) -> tuple[int, int]:
    """Return height and width from the header of a JPEG or PNG; zeros without such a header."""
    try:
        if data[:8].tobytes() == PNG_SIGNATURE:
            width, height = struct.unpack_from(">II", data, 16)
            return height, width
        if data[:2].tobytes() == JPEG_START:
            return _size_of_jpeg(data)
    except struct.error:  # truncated
        pass
    return 0, 0


def _size_of_jpeg(data: memoryview) -> tuple[int, int]:
    """Return height and width from a JPEG's frame header; zeros where no marker is expected."""
    position = len(JPEG_START)
    while True:
        fill, marker, length, _, height, width = struct.unpack_from(
            ">BBHBHH", data, position
        )
        if fill != 0xFF:
            return 0, 0
        if 0xC0 <= marker <= 0xCF and marker not in JPEG_TABLES:
            return height, width
        position += 1 if marker == 0xFF else 2 + length


def fill_message(message: Any, image: np.ndarray) -> None:
    """Put an image into a sensor_msgs/Image as rgb8; the header does not change.

    Args:
        message: The message to fill.
        image: Image, shape (H, W, 3), uint8 RGB.
    """
    message.height, message.width = image.shape[:2]
    message.encoding = "rgb8"
    message.is_bigendian = 0
    message.step = 3 * image.shape[1]
    # rclpy would copy a NumPy array element by element.
    message.data = array.array("B", image.tobytes())


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
