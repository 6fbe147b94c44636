"""Action, proprioception, joints and control rate: names, order, units and bounds."""

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
