"""ROS parameters of the arm node: the guard's watchdogs and the workspace."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node

from ptr_common.action_space import CONTROL_RATE
from ptr_common.managed_node import parameter

from .guard import CommandGuard
from .limits import Limits

WATCHDOG_RANGE = (0.05, 2.0)
"""Ages and timeouts [s] that may be chosen; none of them switches a watchdog off."""

PERIOD = 1.0 / CONTROL_RATE

TIMEOUT = 1.8 * PERIOD
"""Default timeout of commands and images during an episode [s]."""


def declare_guard(node: Node) -> CommandGuard:
    """Declare the parameters of the guard and return it.

    Raises:
        PtrError: If a parameter has an impossible value.
    """
    return CommandGuard(
        max_age=parameter(
            node,
            "max_command_age",
            PERIOD,
            "maximum age of a command that is executed [s]",
            WATCHDOG_RANGE,
        ),
        command_timeout=parameter(
            node,
            "max_command_silence",
            TIMEOUT,
            "longest pause between two commands of an episode [s]",
            WATCHDOG_RANGE,
        ),
        image_timeout=parameter(
            node,
            "max_image_age",
            TIMEOUT,
            "maximum age of the latest camera image during an episode [s]",
            WATCHDOG_RANGE,
        ),
        resume_on_start=parameter(
            node,
            "resume_on_start",
            False,
            "whether the START of an episode ends a hold",
        ),
    )


def declare_limits(node: Node) -> Limits:
    """Declare the parameters of the workspace box and return the limits of the arm.

    Raises:
        PtrError: If the box is impossible.
    """
    default = Limits()
    low = parameter(
        node,
        "workspace_low",
        default.workspace_low.tolist(),
        "lowest x, y, z of the end effector [m]",
    )
    high = parameter(
        node,
        "workspace_high",
        default.workspace_high.tolist(),
        "highest x, y, z of the end effector [m]",
    )
    return Limits(np.asarray(low), np.asarray(high))
