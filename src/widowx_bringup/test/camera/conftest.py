"""A video file for the tests of cameras."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from camera_rig import FEATURES


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A film of 40 images, each a little redder than the one before."""
    path = str(tmp_path_factory.mktemp("video") / "film.avi")
    size = (FEATURES.width, FEATURES.height)
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), FEATURES.rate, size)
    for index in range(40):
        image = np.zeros((FEATURES.height, FEATURES.width, 3), np.uint8)
        image[..., 2] = 6 * index  # OpenCV writes blue, green, red
        writer.write(image)
    writer.release()
    return path
