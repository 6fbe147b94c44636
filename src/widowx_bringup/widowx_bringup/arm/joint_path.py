"""A way of the arm's own, to its start or its sleep pose: slow, and never through the table. No ROS, no device."""

from __future__ import annotations

import numpy as np

SPEED = 0.5
"""Fastest joint on the way [rad/s]."""

REACHED, SETTLING = 0.03, 1.0
"""So near [rad] the arm has arrived; so much later [s] it comes no nearer, because it sags."""

SEND_PERIOD = 0.1
"""From one target to the next [s]: often enough to be smooth, with time for everything else on the servos' bus."""

DRAWN_BACK = (-1.2, 1.0)
"""Shoulder, and largest elbow, of an arm that is drawn back over itself [rad]."""


def way_over(start: np.ndarray, goal: np.ndarray) -> list[np.ndarray]:
    """Return joints to pass from one posture to another, the goal last, all (6,) [rad].

    The arm is drawn back first and unfolds where it is going: straight through joint space,
    the gripper would dip up to 8 cm below both ends on its way to the sleep pose, into the
    table.
    """
    through = []
    for joints in (start, goal):
        drawn = np.array(joints, dtype=float)
        drawn[1], drawn[2] = DRAWN_BACK[0], min(drawn[2], DRAWN_BACK[1])
        through.append(drawn)
    return [*through, np.array(goal, dtype=float)]


class JointPath:
    """From one posture to another at the arm's own speed, however its servos move.

    Args:
        start: Joints now, (6,) [rad].
        goal: Joints wanted, (6,) [rad].
        period: Time from one call of `advance` to the next [s].
    """

    def __init__(self, start: np.ndarray, goal: np.ndarray, period: float) -> None:
        self.ended = False
        self._through = way_over(start, goal)
        self._at = np.array(start, dtype=float)
        self._step = SPEED * period
        self._send_every, self._settling = (
            round(SEND_PERIOD / period),
            round(SETTLING / period),
        )
        self._calls = 0
        self._settled = 0  # calls since the goal was told

    def advance(self, measured: np.ndarray) -> np.ndarray | None:
        """Return the joints to send now, (6,) [rad]; None where the last ones still hold, or the way has ended.

        Args:
            measured: Joints as measured now, (6,) [rad].
        """
        self._at = self._at + np.clip(self._through[0] - self._at, -self._step, self._step)
        self._calls += 1
        if np.allclose(self._at, self._through[0]):
            if len(self._through) > 1:
                self._through.pop(0)
            else:
                self._settled += 1
                near = bool(np.abs(self._at - measured).max() < REACHED)
                self.ended = self._settled > 1 and (near or self._settled > self._settling)
        due = (
            self._settled == 1 or self._calls % self._send_every == 0
        )  # the goal itself is always sent
        return self._at if due and not self.ended else None
