"""Action, proprioception, joints, control rate, and what a stamp may be: names, units, bounds."""

from __future__ import annotations

import numpy as np

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

FUTURE_TOLERANCE = 0.05
"""A stamp may be this far ahead of the clock of the node that uses it [s].

Two processes see simulated time one tick apart.
"""


def early_problem(name: str, stamp_ns: int, now_ns: int) -> str:
    """Return why a stamp is refused as one from the future; empty if it is not.

    Args:
        name: What was stamped, such as "image".
        stamp_ns: Its stamp [ns].
        now_ns: The time now, on the clock of the node that uses it [ns].
    """
    ahead = (stamp_ns - now_ns) * 1e-9
    if ahead <= FUTURE_TOLERANCE:
        return ""
    return (
        f"{name} is stamped {ahead:.3f} s in the future; at most {FUTURE_TOLERANCE:g} s are "
        "allowed: the sender's clock differs from this computer's"
    )


def age_problem(name: str, stamp_ns: int, now_ns: int, max_age: float) -> str:
    """Return why a message is refused as late or as one from the future; empty if it is not.

    Args:
        name: What was stamped, such as "image".
        stamp_ns: Its stamp [ns].
        now_ns: The time now, on the clock of the node that uses it [ns].
        max_age: Maximum age [s].
    """
    age = (now_ns - stamp_ns) * 1e-9
    if age > max_age:
        return f"{name} is {age:.3f} s old; at most {max_age:g} s are allowed"
    return early_problem(name, stamp_ns, now_ns)
