"""The film of an episode: an MP4 file, the curves under it, and a page that plays both.

A film has one image for each control step, so its time is that of the curves. The page carries
its film, so that a single file can be sent to a phone; the MP4 file beside it is for slides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.files import atomic_file
from ptr_training.importers.video import VideoWriter

from .curves import curves_svg
from .player import player_page
from .timeline import Timeline

MAX_SIDE = 320
"""Longest side of a film [pixels]; larger images are reduced."""

RATE = round(CONTROL_RATE)
"""Images of a film per second."""

OPTIONS = {"crf": "27", "g": "10", "bf": "0", "rc-lookahead": "0", "threads": "1"}
"""H.264 for a look: a tenth of the size of an exact film; a key frame every two seconds."""


@dataclass(frozen=True)
class Film:
    """A film as its files.

    Attributes:
        mp4: H.264.
        curves: SVG element of Q and actions.
        page: HTML page with both.
    """

    mp4: bytes
    curves: str
    page: str

    def write(self, folder: Path, name: str) -> None:
        """Write `NAME.mp4`, `NAME.svg` and, last, `NAME.html` into a folder."""
        with atomic_file(folder / f"{name}.mp4") as path:
            path.write_bytes(self.mp4)
        with atomic_file(folder / f"{name}.svg") as path:
            path.write_text(self.curves, encoding="utf-8")
        with atomic_file(folder / f"{name}.html") as path:
            path.write_text(self.page, encoding="utf-8")


def make_film(timeline: Timeline) -> Film:
    """Return the film of a timeline.

    Raises:
        ViewError: If it has no image, or one cannot be decoded.
        TrainingError: If PyAV is not installed.
    """
    steps = timeline.steps()
    images = timeline.cameras[0].read(steps.tolist())
    with tempfile.TemporaryDirectory(prefix="ptr-film-") as folder:
        file = Path(folder) / "film.mp4"
        _encode(file, images)
        mp4 = file.read_bytes()
    curves = curves_svg(timeline)
    times = timeline.cameras[0].times[steps]
    return Film(mp4, curves, player_page(timeline, times, curves, mp4))


def _encode(file: Path, images: Iterator[np.ndarray]) -> None:
    """Write images, (H, W, 3) uint8 RGB each, into an MP4 file."""
    first = _fitted(next(images))
    height, width = first.shape[:2]
    with VideoWriter(file, RATE, height, width, OPTIONS) as writer:
        writer.add(first)
        for image in images:
            fitted = _fitted(image)
            if fitted.shape != first.shape:  # a camera that was restarted with another size
                fitted = cv2.resize(fitted, (width, height), interpolation=cv2.INTER_AREA)
            writer.add(fitted)


def _fitted(image: np.ndarray) -> np.ndarray:
    """Return an image reduced to `MAX_SIDE`, with an even height and width as H.264 wants it."""
    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return image
