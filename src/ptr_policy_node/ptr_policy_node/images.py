"""From a camera's bytes to the network's image: decoding and the one resize function.

The exporter, the simulator and the policy node all call `resize_area`, so that training and
deployment see the same pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

RESIZE_NAME = "cv2.INTER_AREA"
"""Name of the kernel of `resize_area`, written into every episode store and bundle."""


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
