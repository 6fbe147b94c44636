"""One pass over the pictures of a store, in the order of the file, and what is found to be alike.

Every frame is hashed and tested for being blank. Four frames of each episode, evenly
spaced, are shrunk to 8x8 grey
pixels: episodes whose 256 grey levels differ little show the same, whatever the pictures
were stored as.
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
"""Grey levels between the darkest and the brightest pixel of a blank picture, in each colour."""

THUMBNAILS, THUMBNAIL_SIZE = 4, 8


@dataclass(frozen=True)
class FrameScan:
    """What one pass over the pictures of a store gives."""

    digests: np.ndarray  # (N,) uint64, of each frame's bytes
    blank: np.ndarray  # (N,) bool
    thumbnails: np.ndarray  # (episodes, THUMBNAILS * THUMBNAIL_SIZE²) float32, grey levels
    intact: bool  # the pixels have the SHA-256 of the card

    @classmethod
    def read(cls, store: EpisodeStore) -> FrameScan:
        """Read all frames of a store, with a progress bar."""
        digests, blank = (
            np.zeros(len(store.steps), np.uint64),
            np.zeros(len(store.steps), bool),
        )
        thumbnails, pixels = [], hashlib.sha256()
        stride = max(
            1, min(store.frames.shape[1:3]) // 16
        )  # a grid of some 16 x 16 pixels tells whether it is blank
        with tqdm(
            total=len(digests), unit="frame", unit_scale=True, desc="inspect", disable=None
        ) as bar:
            for entry in store.entries:
                rows = slice(entry.start, entry.start + entry.length + 1)
                frames = np.array(store.frames[rows])
                pixels.update(frames.data)
                digests[rows] = [digest_of(frame) for frame in frames]
                grid = frames[:, ::stride, ::stride].reshape(len(frames), -1, 3)
                blank[rows] = (np.ptp(grid, axis=1) <= BLANK_RANGE).all(1)
                thumbnails.append(_thumbnails(frames))
                bar.update(len(frames))
        return cls(
            digests, blank, np.stack(thumbnails), pixels.hexdigest() == store.pixels_sha256
        )


def digest_of(values: np.ndarray) -> int:
    """Return 64 bits that tell the bytes of one array, without gaps, from those of others."""
    return int.from_bytes(hashlib.blake2b(values.data, digest_size=8).digest(), "little")


def _thumbnails(frames: np.ndarray) -> np.ndarray:
    """Return evenly spaced frames of an episode, grey and small, in one vector."""
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    chosen = np.linspace(0, len(frames) - 1, THUMBNAILS).round().astype(int)
    grey = [cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY) for index in chosen]
    return np.stack([resize_area(each, size) for each in grey]).ravel().astype(np.float32)


def another_owner(contents: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return for each item an owner of equal content: the first that is another, else its own; all (n,)."""
    _, group = np.unique(contents, return_inverse=True)
    first, last = np.full(group.max() + 1, len(owner)), np.full(group.max() + 1, -1)
    np.minimum.at(first, group, owner)
    np.maximum.at(last, group, owner)
    return np.where(first[group] != owner, first[group], last[group])


def nearest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the root mean square difference of each point (n, d) to its nearest other one, and which that is."""
    points = points - points.mean(0)  # keeps the differences of squares exact
    squares = (points**2).sum(1)
    partner = np.zeros(len(points), int)
    for start in range(0, len(points), 1024):
        block = slice(start, start + 1024)
        distance = (
            squares - 2 * points[block] @ points.T
        )  # squared, less what is the same for the row
        rows = np.arange(len(distance))
        distance[rows, start + rows] = np.inf
        partner[block] = distance.argmin(1)
    return np.sqrt(((points - points[partner]) ** 2).mean(1)), partner
