"""Rotation matrices and the angles that describe them: R = Rz(yaw) Ry(pitch) Rx(roll) [rad]."""

from __future__ import annotations

import numpy as np

SINGULAR = 1e-9
"""Cosine of the pitch below which roll and yaw cannot be told apart."""


def rotation_from_rpy(rpy: np.ndarray) -> np.ndarray:
    """Return the rotation matrix, shape (3, 3), of roll, pitch and yaw, shape (3,) [rad]."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_rotation(R: np.ndarray) -> np.ndarray:
    """Return roll, pitch and yaw of a rotation matrix.

    Args:
        R: Rotation matrix, shape (3, 3).

    Returns:
        Angles, shape (3,) [rad]; pitch within ±pi/2, roll 0 where the pitch is ±pi/2.
    """
    cos_pitch = np.hypot(R[0, 0], R[1, 0])
    pitch = np.arctan2(-R[2, 0], cos_pitch)
    if cos_pitch < SINGULAR:
        yaw = np.arctan2(-R[0, 1], R[1, 1])
        return np.array([0.0, pitch, yaw])
    roll = np.arctan2(R[2, 1], R[2, 2])
    yaw = np.arctan2(R[1, 0], R[0, 0])
    return np.array([roll, pitch, yaw])
