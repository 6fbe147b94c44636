"""The path of a motion that the arm makes by itself, to its start or its sleep pose.

Such a motion is slow and never lowers the gripper into the table. No ROS, no device.
"""

from __future__ import annotations

import numpy as np

SPEED = 0.5
"""Speed of the fastest joint along a path [rad/s]."""

REACHED = 0.03
"""A joint this near its goal has arrived [rad]."""

SETTLING = 1.0
"""An arm that sags does not come nearer to its goal later than this [s]."""

SEND_PERIOD = 0.1
"""Time from one target to the next [s].

It is short enough for a smooth motion and leaves time for other messages on the servo bus.
"""

RETRACTED_SHOULDER = -1.2
"""Shoulder of an arm that is drawn back over its base [rad]."""

RETRACTED_ELBOW = 1.0
"""Largest elbow of an arm that is drawn back over its base [rad]."""


def waypoints(start: np.ndarray, goal: np.ndarray) -> list[np.ndarray]:
    """Return the joints to pass between two postures, the goal last.

    The arm is drawn back at the start and unfolds at the goal. On the straight line in
    joint space the gripper would dip up to 8 cm below both ends of a path to the sleep
    pose, into the table.

    Args:
        start: Joints at the start, (6,) [rad].
        goal: Joints at the goal, (6,) [rad].

    Returns:
        Three joint vectors, each (6,) [rad].
    """
    return [_retracted(start), _retracted(goal), np.array(goal, dtype=float)]


def _retracted(joints: np.ndarray) -> np.ndarray:
    """Return joints with the arm drawn back over its base, (6,) [rad].

    Args:
        joints: Joints of any posture, (6,) [rad].
    """
    retracted = np.array(joints, dtype=float)
    retracted[1] = RETRACTED_SHOULDER
    retracted[2] = min(retracted[2], RETRACTED_ELBOW)
    return retracted


class JointPath:
    """Slow set-points from one posture to another, whatever the speed of the servos.

    Args:
        start: Joints now, (6,) [rad].
        goal: Joints at the end, (6,) [rad].
        period: Time from one call of `advance` to the next [s].

    Attributes:
        ended: Whether the arm has arrived, or has had time enough to.
    """

    def __init__(self, start: np.ndarray, goal: np.ndarray, period: float) -> None:
        self.ended = False
        self._waypoints = waypoints(start, goal)
        self._set_point = np.array(start, dtype=float)
        self._step = SPEED * period  # longest distance of a joint in one call [rad]
        self._send_calls = round(SEND_PERIOD / period)
        self._settling_calls = round(SETTLING / period)
        self._calls = 0
        self._calls_at_goal = 0

    def advance(self, measured: np.ndarray) -> np.ndarray | None:
        """Return the joints to send now, (6,) [rad].

        Args:
            measured: Joints as measured now, (6,) [rad].

        Returns:
            None if the joints sent last remain the target, or if the path has ended.
        """
        waypoint = self._waypoints[0]
        distance = np.clip(waypoint - self._set_point, -self._step, self._step)
        self._set_point = self._set_point + distance
        self._calls += 1
        if np.allclose(self._set_point, waypoint):
            if len(self._waypoints) > 1:
                self._waypoints.pop(0)
            else:
                self._settle(measured)
        if self.ended:
            return None
        if self._calls_at_goal == 1 or self._calls % self._send_calls == 0:
            return self._set_point
        return None

    def _settle(self, measured: np.ndarray) -> None:
        """Count a call at the goal, and end the path once the arm has arrived.

        The goal itself is sent in the first of these calls, so the path does not end in it.

        Args:
            measured: Joints as measured now, (6,) [rad].
        """
        self._calls_at_goal += 1
        arrived = bool(np.abs(self._set_point - measured).max() < REACHED)
        late = self._calls_at_goal > self._settling_calls
        self.ended = self._calls_at_goal > 1 and (arrived or late)
