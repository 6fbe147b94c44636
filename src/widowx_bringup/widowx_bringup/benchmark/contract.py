"""Actions and proprioception of a policy in the units of SimplerEnv's WidowX, and back.

Both sides have 7 numbers at 5 Hz in the robot's base frame. What differs, and gives a success
rate of 0 where it is missed: the order of a rotation's axes, the sense and the range of the
gripper, and the frame and zero of the pose.
"""

from __future__ import annotations

import numpy as np

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    CONTROL_RATE,
    pose,
    proprio_from_pose,
)
from ptr_common.images import resize_area
from ptr_common.rotation import rotation_from_rpy

from .tasks import BenchmarkError

CAMERA = "3rd_view_camera"
"""Name of the benchmark's camera."""

IMAGE_SIZE = (480, 640)
"""Height and width of its images [pixels]."""

FINGER_CLOSED = 0.015
"""Finger position of the opening 0 [m]; other than ours, the benchmark's arm ends there."""

FINGER_OPEN = 0.037
"""Finger position of the opening 1 [m]."""


def to_simpler(action: np.ndarray) -> np.ndarray:
    """Return an action as ManiSkill's controller takes it.

    Translation: unchanged. Rotation: ours is R = Rz(yaw) Ry(pitch) Rx(roll), theirs
    R = Rx(a) Ry(b) Rz(c), so that two equal triples turn differently once two angles are not
    zero. Gripper: 0 closed … 1 open becomes -1 closed … +1 open.

    Args:
        action: Within the bounds, (7,), see action_space.ACTION_NAMES.

    Returns:
        Action, (7,) float32: [m], [rad], gripper.
    """
    R = rotation_from_rpy(action[3:6])
    angles = np.array(
        [
            np.arctan2(-R[1, 2], R[2, 2]),
            np.arcsin(np.clip(R[0, 2], -1.0, 1.0)),
            np.arctan2(-R[0, 1], R[0, 0]),
        ]
    )
    gripper = 2.0 * action[6] - 1.0
    return np.concatenate([action[:3], angles, [gripper]]).astype(np.float32)


def bounded(action: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the closest action within the bounds, (7,), and whether it is another one.

    The arm's limits do this on a robot; the benchmark's controller would take any step.

    Args:
        action: Requested action, (7,).

    Raises:
        BenchmarkError: If it has another shape, or a value that is not finite.
    """
    if np.shape(action) != (7,) or not np.isfinite(action).all():
        raise BenchmarkError(f"the policy's action is {action}; expected 7 finite values")
    closest = np.clip(action, ACTION_LOW, ACTION_HIGH)
    return closest, bool(np.abs(closest - action).max() > 1e-6)


def to_proprio(base: np.ndarray, end_effector: np.ndarray, finger: float) -> np.ndarray:
    """Return proprioception, (7,), see action_space.PROPRIO_NAMES.

    Args:
        base: Pose of the robot's base in the world, (4, 4) [m].
        end_effector: Pose of the link `ee_gripper_link` in the world, (4, 4) [m].
        finger: Position of a finger [m].
    """
    opening = (finger - FINGER_CLOSED) / (FINGER_OPEN - FINGER_CLOSED)
    return proprio_from_pose(np.linalg.inv(base) @ end_effector, opening)


def pose_of(position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Return a pose, (4, 4), of a position (3,) [m] and a quaternion w, x, y, z."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    R = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return pose(R, position)


def to_camera(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the benchmark's image in the size of a policy's camera, (height, width, 3) uint8.

    The whole image is resized, so that another aspect squeezes it, as BridgeData does with its
    640 x 480 pixels; nothing is cropped.

    Args:
        image: Shape (480, 640, 3), uint8 RGB.
        height: Of the policy's camera [pixels].
        width: Of the policy's camera [pixels].
    """
    return resize_area(image, (height, width))


def check_rate(rate: float) -> None:
    """Refuse a simulator that steps at another rate than our actions.

    Args:
        rate: Control rate of the simulator [Hz].
    """
    if rate != CONTROL_RATE:
        raise BenchmarkError(
            f"the simulator takes actions at {rate:g} Hz, expected {CONTROL_RATE:g} Hz; "
            "install the version of mani_skill that requirements/optional/benchmark.txt names"
        )
