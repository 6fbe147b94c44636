"""Rotation matrices and what describes them.

Angles are roll, pitch and yaw with R = Rz(yaw) Ry(pitch) Rx(roll) [rad]; quaternions x, y, z, w.
"""

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


def quaternion_from_rotation(R: np.ndarray) -> np.ndarray:
    """Return the unit quaternion x, y, z, w, shape (4,), of a rotation matrix; w is not negative.

    Args:
        R: Rotation matrix, shape (3, 3).
    """
    # The outer product of the quaternion (x, y, z, w) with itself, times 4: its longest row is
    # the quaternion but for its length.
    (a, b, c), (d, e, f), (g, h, i) = R
    product = np.array(
        [
            [1 + a - e - i, b + d, c + g, h - f],
            [b + d, 1 - a + e - i, f + h, c - g],
            [c + g, f + h, 1 - a - e + i, d - b],
            [h - f, c - g, d - b, 1 + a + e + i],
        ]
    )
    row = product[np.argmax(np.diag(product))]
    return row / np.linalg.norm(row) * (1.0 if row[3] >= 0 else -1.0)
