"""The ghost of a scene: its reference photo over the live image, to lay it out alike."""

from __future__ import annotations

import cv2
import numpy as np

SHARE = 0.5
"""Weight of the reference in the ghost."""


def ghost(reference: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Return a reference photo blended over a live image.

    What stands as in the photo looks sharp, and what does not is seen twice.

    Args:
        reference: (H, W, 3) uint8 RGB; brought to the size of the live image.
        live: (h, w, 3) uint8 RGB.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    height, width = live.shape[:2]
    resized = cv2.resize(reference, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.addWeighted(resized, SHARE, live, 1.0 - SHARE, 0.0)
