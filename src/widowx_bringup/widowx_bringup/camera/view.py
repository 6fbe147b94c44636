"""How a camera sees the robot: its intrinsics and its pose. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CameraView:
    """What is known of a camera's geometry.

    Attributes:
        K: Intrinsic matrix for images of the camera's size, without distortion, (3, 3)
            [pixels]; the middle of the first pixel is (0, 0). None if unknown.
        T_base_optical: Pose of the optical frame (z forward, x right, y down) in the base
            frame, (4, 4) [m]. None if unknown.
    """

    K: np.ndarray | None = None
    T_base_optical: np.ndarray | None = None


def optical_frame(camera: str) -> str:
    """Return the name of a camera's optical frame."""
    return f"{camera}_optical_frame"


def intrinsic_matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Return K, (3, 3), of focal lengths and principal point [pixels]."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
