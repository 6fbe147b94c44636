"""One pass over the images of a store, in the order of the file, to find equal ones.

Every frame is hashed and tested for being blank. Four frames of each episode, evenly
spaced, are shrunk to 8x8 grey pixels: episodes whose 256 grey levels differ little show the
same, in any encoding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from ptr_common.images import resize_area
from ptr_training.data.store import EpisodeStore

BLANK_RANGE = 16
"""Levels between the darkest and the brightest pixel of a blank image, in each colour."""

THUMBNAILS, THUMBNAIL_SIZE = 4, 8
"""Small images of each episode, and their height and width [pixels]."""

GRID = 16
"""Rows and columns of the pixels that decide whether an image is blank, about."""

BLOCK = 1024
"""Points that are compared with all others at a time."""


@dataclass(frozen=True)
class FrameScan:
    """The result of one pass over the images of a store."""

    digests: np.ndarray  # (N,) uint64, of each frame's bytes
    blank: np.ndarray  # (N,) bool
    thumbnails: np.ndarray  # (episodes, THUMBNAILS * THUMBNAIL_SIZE²) float32, grey levels
    intact: bool  # the pixels have the SHA-256 of the card

    @classmethod
    def read(cls, store: EpisodeStore) -> FrameScan:
        """Read all frames of a store, with a progress bar."""
        count = len(store.steps)
        digests, blank = np.zeros(count, np.uint64), np.zeros(count, bool)
        thumbnails = []
        pixels = hashlib.sha256()
        with tqdm(
            total=count, unit="frame", unit_scale=True, desc="inspect", disable=None
        ) as bar:
            for entry in store.entries:
                rows = slice(entry.start, entry.start + entry.length + 1)
                frames = np.array(store.frames[rows])
                pixels.update(frames.data)
                digests[rows] = [digest_of(frame) for frame in frames]
                blank[rows] = _are_blank(frames)
                thumbnails.append(_thumbnails(frames))
                bar.update(len(frames))

        intact = pixels.hexdigest() == store.pixels_sha256
        return cls(digests, blank, np.stack(thumbnails), intact)


def _are_blank(frames: np.ndarray) -> np.ndarray:
    """Return whether images (n, height, width, 3) are of a single colour, shape (n,)."""
    stride = max(1, min(frames.shape[1:3]) // GRID)
    grid = frames[:, ::stride, ::stride].reshape(len(frames), -1, 3)
    return (np.ptp(grid, axis=1) <= BLANK_RANGE).all(1)


def digest_of(values: np.ndarray) -> int:
    """Return 64 bits that differ for arrays of different bytes; without gaps in memory."""
    return int.from_bytes(hashlib.blake2b(values.data, digest_size=8).digest(), "little")


def _thumbnails(frames: np.ndarray) -> np.ndarray:
    """Return evenly spaced frames of an episode, grey and small, in one vector, float32."""
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    thumbnails = []
    for index in np.linspace(0, len(frames) - 1, THUMBNAILS).round().astype(int):
        grey = cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY)
        thumbnails.append(resize_area(grey, size))
    return np.stack(thumbnails).ravel().astype(np.float32)


def another_owner(contents: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return for each item another owner of equal content, or its own where there is none.

    Args:
        contents: Digests of the items, shape (n,).
        owner: Their owners, numbers from 0, shape (n,).

    Returns:
        The first owner if that is another, otherwise the last one, shape (n,).
    """
    _, group = np.unique(contents, return_inverse=True)
    first = np.full(group.max() + 1, len(owner))
    last = np.full(group.max() + 1, -1)
    np.minimum.at(first, group, owner)
    np.maximum.at(last, group, owner)
    return np.where(first[group] != owner, first[group], last[group])


def nearest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other point of each point.

    Args:
        points: Shape (n, d).

    Returns:
        Root mean square differences, shape (n,), and the indices of the nearest, shape (n,).
    """
    points = points - points.mean(0)  # keeps the differences of squares exact
    squares = (points**2).sum(1)
    partner = np.zeros(len(points), int)
    for start in range(0, len(points), BLOCK):
        block = slice(start, start + BLOCK)
        # squared, less a part that is the same for all of the row
        distance = squares - 2 * points[block] @ points.T
        rows = np.arange(len(distance))
        distance[rows, start + rows] = np.inf
        partner[block] = distance.argmin(1)

    return np.sqrt(((points - points[partner]) ** 2).mean(1)), partner
