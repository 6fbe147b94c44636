"""Actions of recordings without commands: the step from each measured pose to the next.

The pose is that of `arm/state`, or by forward kinematics that of the joint states which
Interbotix's driver publishes. A grid of one period from the first state on takes the place of
the commands.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ptr_common.action_space import (
    JOINT_NAMES,
    opening_of,
    pose_from_proprio,
    pose_of_joints,
    proprio_from_pose,
    step_between,
)

from .alignment import PERIOD_NS
from .errors import BagError
from .streams import MessageStatus, Stream

FINGERS = {"left_finger": 1.0, "right_finger": -1.0}
"""Joints of the gripper in joint states, and the sign of their positions."""

BUS_FAILURE_TOLERANCE = 1e-2
"""Joints that all are this near to -pi were not read: the servo bus failed [rad]."""


def proprio_of(message: Any, topic: str) -> np.ndarray | None:
    """Return the proprioception in a state of the arm, (7,); None of a failed reading.

    Where joints are not finite, nothing of it is.

    Args:
        message: An ArmState, or a JointState with the joints of the arm and a finger.
        topic: Where it was recorded, for the error message.

    Raises:
        BagError: If a joint is missing.
    """
    if hasattr(message, "proprio"):
        return np.asarray(message.proprio)
    positions = dict(zip(message.name, message.position, strict=False))
    finger = next((name for name in FINGERS if name in positions), "")
    missing = [name for name in JOINT_NAMES if name not in positions]
    if missing or not finger:
        raise BagError(
            f"{topic}: a message names the joints {', '.join(message.name) or 'none'}; "
            f"needed are {', '.join(JOINT_NAMES)} and {' or '.join(FINGERS)}"
        )
    joints = np.array([positions[name] for name in JOINT_NAMES])
    if np.abs(joints + np.pi).max() <= BUS_FAILURE_TOLERANCE:
        return None
    if not np.isfinite(joints).all():
        return np.full(7, np.nan)
    opening = opening_of(FINGERS[finger] * float(positions[finger]))
    return proprio_from_pose(pose_of_joints(joints), opening)


def grid_of(states: Stream) -> Stream:
    """Return a stream of one command for each period in which there are states.

    Its messages have no payloads, and log times at which nothing is recorded.
    """
    order = states.readable()
    stamps = states.stamps[order]
    if len(stamps):
        stamps = stamps[0] + np.unique((stamps - stamps[0]) // PERIOD_NS) * PERIOD_NS
    count = len(stamps)
    return Stream(
        topic="the states",
        type_name="",
        stamps=stamps,
        logs=np.full(count, -1),
        unstamped=np.zeros(count, bool),
        payloads=[],
        status=np.full(count, MessageStatus.OUTSIDE_EPISODE, np.int8),
    )


def actions_between(proprio: np.ndarray) -> np.ndarray:
    """Return the steps, (T, 7), from each proprioception, (T + 1, 7), to the next.

    The motion is BridgeData's step about the measured pose; the gripper is the next opening.
    """
    poses = [pose_from_proprio(row) for row in proprio]
    steps = [
        step_between(after, before, before) for before, after in itertools.pairwise(poses)
    ]
    return np.column_stack([np.array(steps), proprio[1:, 6]])
