"""Action, proprioception, joints and control rate: names, units, bounds, and what they mean.

A pose is a 4x4 matrix T_base_eef: the frame `ee_gripper_link` in `base_link` [m]. Euler angles
are roll, pitch, yaw with R = Rz(yaw) Ry(pitch) Rx(roll) [rad].
"""

from __future__ import annotations

import numpy as np

from .rotation import rotation_from_rpy, rpy_from_rotation

ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
"""The seven action dimensions [m, m, m, rad, rad, rad, 0 closed .. 1 open].

Base-frame axes; the rotation is about the end effector, as in BridgeData.
"""

ACTION_LOW = np.array([-0.05, -0.05, -0.05, -0.25, -0.25, -0.25, 0.0])
"""Smallest action, shape (7,), in the units of `ACTION_NAMES`."""

ACTION_HIGH = np.array([0.05, 0.05, 0.05, 0.25, 0.25, 0.25, 1.0])
"""Largest action, shape (7,), in the units of `ACTION_NAMES`."""

ACTION_LOW.flags.writeable = ACTION_HIGH.flags.writeable = False

PROPRIO_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""Measured end-effector pose in the base frame [m, rad] and gripper opening [0 closed .. 1 open].

With roll = pitch = yaw = 0 the gripper points straight down.
"""

RELEASED = 0.75
"""Gripper opening of the proprioception above which nothing is held."""

JOINT_NAMES = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
"""The six joints of the arm, from the base outwards."""

CONTROL_RATE = 5.0
"""Control rate [Hz]."""

BASE_FRAME = "base_link"
"""Frame of actions and proprioception."""

FINGER_CLOSED = 0.010
"""Finger position of the opening 0 [m]; the travel of the fingers ends earlier."""

FINGER_OPEN = 0.035
"""Finger position of the opening 1 [m], as in BridgeData."""


def finger_of(opening: float) -> float:
    """Return the finger position [m] of an opening."""
    return FINGER_CLOSED + opening * (FINGER_OPEN - FINGER_CLOSED)


def opening_of(finger: float) -> float:
    """Return the opening of a finger position [m], not clipped."""
    return (finger - FINGER_CLOSED) / (FINGER_OPEN - FINGER_CLOSED)


DEFAULT_ROTATION = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Orientation at which proprioception reads roll = pitch = yaw = 0: gripper straight down.

Source: BridgeData's robot stack.
"""
DEFAULT_ROTATION.flags.writeable = False


def pose(R: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return a pose, (4, 4).

    Args:
        R: Rotation, (3, 3).
        p: Position, (3,) [m].
    """
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = p
    return T


_LINKS = (
    ((0, 0, 1), (0, 0, 0.072)),
    ((0, 1, 0), (0, 0, 0.03865)),
    ((0, 1, 0), (0.04975, 0, 0.25)),
    ((1, 0, 0), (0.175, 0, 0)),
    ((0, 1, 0), (0.075, 0, 0)),
    ((1, 0, 0), (0.065, 0, 0)),
)
"""Axis of each joint and its distance from the one before [m]; source: Interbotix's URDF."""

_LAST_LINK = (0.093575, 0, 0)
"""Distance of `ee_gripper_link` from the last joint [m]."""


def pose_of_joints(joints: np.ndarray) -> np.ndarray:
    """Return the pose T_base_eef, (4, 4) [m], of joints in the order of `JOINT_NAMES`, (6,) [rad].

    The forward kinematics of the wx250s, without its model.
    """
    R, p = np.eye(3), np.zeros(3)
    for (axis, offset), angle in zip(_LINKS, joints, strict=True):
        p = p + R @ offset
        R = R @ rotation_from_rpy(angle * np.array(axis))
    return pose(R, p + R @ _LAST_LINK)


def proprio_from_pose(T_base_eef: np.ndarray, gripper: float) -> np.ndarray:
    """Return proprioception: x, y, z [m], roll, pitch, yaw [rad], gripper opening, (7,).

    Args:
        T_base_eef: Pose of the end effector, (4, 4) [m].
        gripper: Opening of the gripper.
    """
    rpy = rpy_from_rotation(T_base_eef[:3, :3] @ DEFAULT_ROTATION.T)
    return np.concatenate([T_base_eef[:3, 3], rpy, [gripper]])


def pose_from_proprio(proprio: np.ndarray) -> np.ndarray:
    """Return the pose T_base_eef, (4, 4) [m], of proprioception.

    Args:
        proprio: x, y, z [m], roll, pitch, yaw [rad]; a gripper opening is ignored, (7,) or (6,).
    """
    return pose(rotation_from_rpy(proprio[3:6]) @ DEFAULT_ROTATION, proprio[:3])


def step_target(
    action: np.ndarray, measured: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Return the pose that one end-effector step asks for.

    With p the measured position, (R_t, p_t) the previous commanded target and R(a) the
    step's rotation: R' = R(a) R_t and p' = R(a) (p_t - p) + p + a_xyz. Steps therefore add
    up on what was commanded, and a rotation turns about base-frame axes through the
    measured position.

    Args:
        action: Step, shape (7,) or (6,): [m] and [rad] in base-frame axes.
        measured: Measured pose, (4, 4).
        previous: Previous commanded target pose, (4, 4); the measured one after a reset.

    Source: BridgeData's robot stack, without its clipping.
    """
    R_a = rotation_from_rpy(action[3:6])
    p = measured[:3, 3]
    position = R_a @ (previous[:3, 3] - p) + p + action[:3]
    return pose(R_a @ previous[:3, :3], position)


def step_between(
    target: np.ndarray, measured: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Return the step, shape (6,), for which `step_target` gives `target`.

    Args:
        target: Target pose, (4, 4).
        measured: Measured pose, (4, 4).
        previous: Previous commanded target pose, (4, 4).
    """
    R_a = target[:3, :3] @ previous[:3, :3].T
    p = measured[:3, 3]
    xyz = target[:3, 3] - p - R_a @ (previous[:3, 3] - p)
    return np.concatenate([xyz, rpy_from_rotation(R_a)])
