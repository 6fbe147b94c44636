"""Film strips: a few images of a rollout side by side in one JPEG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.images import decode
from ptr_common.topics import image_topic
from ptr_training.bags.reader import Bag

STRIP_FRAMES = 8
"""Images of a film strip."""

STRIP_HEIGHT = 120
"""Height of a film strip [pixels]."""


class FilmStripError(PtrError):
    """A film strip cannot be made."""


def strip_images(
    images: Sequence[np.ndarray], count: int = STRIP_FRAMES
) -> list[np.ndarray]:
    """Return the images that a film strip of some images shows, first and last included.

    Args:
        images: RGB images, each (H, W, 3) uint8; at least one.
        count: Number of images to show.

    Returns:
        `count` of the images; some repeat if there are fewer.
    """
    return [images[index] for index in _evenly_spaced(len(images), count)]


def film_strip(images: Sequence[np.ndarray], count: int = STRIP_FRAMES) -> np.ndarray:
    """Return evenly spaced images side by side, first and last included.

    Args:
        images: RGB images, each (H, W, 3) uint8; at least one.
        count: Number of images to show.

    Returns:
        One RGB image, shape (STRIP_HEIGHT, width, 3), uint8.
    """
    height, width = images[0].shape[:2]
    size = (round(width * STRIP_HEIGHT / height), STRIP_HEIGHT)
    shown = []
    for image in strip_images(images, count):
        shown.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.hstack(shown)


def write_film_strip(path: Path, images: Sequence[np.ndarray]) -> None:
    """Write a film strip of RGB images, each (H, W, 3) uint8, as a JPEG file."""
    bgr = film_strip(images)[..., ::-1]
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not ok:
        raise FilmStripError(f"{path}: the film strip could not be encoded as JPEG")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_images(bag_path: Path, camera: str, count: int = STRIP_FRAMES) -> list[np.ndarray]:
    """Return evenly spaced images of one camera in a bag, first and last included.

    Args:
        bag_path: The bag.
        camera: Name of the camera.
        count: Number of images.

    Returns:
        RGB images, each (H, W, 3) uint8.

    Raises:
        FilmStripError: If the bag has no image of the camera.
    """
    with Bag(bag_path) as bag:
        topics = [topic for topic in bag.types if topic.endswith(image_topic(camera))]
        messages = list(bag.messages(topics))
        if not messages:
            raise FilmStripError(
                f"{bag_path} holds no images of camera {camera!r}; is the camera node running?"
            )
        images = []
        for index in _evenly_spaced(len(messages), count):
            topic, _, data = messages[index]
            images.append(decode(data, bag.types[topic]).copy())
    return images


def _evenly_spaced(length: int, count: int) -> list[int]:
    """Return `count` indices from 0 to `length - 1`; indices repeat if there are too few."""
    return np.linspace(0, length - 1, count).round().astype(int).tolist()
