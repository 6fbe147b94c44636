"""Rotations and the angles that actions and proprioception tell them by: R = Rz(yaw) Ry(pitch) Rx(roll) [rad]."""

from __future__ import annotations

import numpy as np


def rotation_from_rpy(rpy: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of roll, pitch and yaw, shape (3,) [rad]."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_rotation(R: np.ndarray) -> np.ndarray:
    """Return roll, pitch, yaw of a rotation matrix; pitch within ±pi/2, roll 0 where it is singular."""
    pitch = np.arctan2(-R[2, 0], np.hypot(R[0, 0], R[1, 0]))
    if np.hypot(R[0, 0], R[1, 0]) < 1e-9:
        return np.array([0.0, pitch, np.arctan2(-R[0, 1], R[1, 1])])
    return np.array([np.arctan2(R[2, 1], R[2, 2]), pitch, np.arctan2(R[1, 0], R[0, 0])])
