"""The gripper: its linkage, and the effort of its motor.

A finger position is the distance of a finger from the middle [m]. Pure arithmetic: times come as
arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FINGER_LIMITS = (0.015, 0.037)
"""Travel of a finger [m], as in the URDF; closed on nothing, the opening reads 0.2."""

HORN_RADIUS = 0.014
"""Radius of the crank on the motor [m]; source: Interbotix's motor configuration."""

ARM_LENGTH = 0.024
"""Length of the rod from the crank to a finger [m]; source: the same."""


def motor_angle(finger: float) -> float:
    """Return the angle of the motor [rad] at a finger position [m], by the law of cosines."""
    sine = (finger**2 + HORN_RADIUS**2 - ARM_LENGTH**2) / (2 * finger * HORN_RADIUS)
    return float(np.arcsin(np.clip(sine, -1.0, 1.0)))


@dataclass
class GripperRegulator:
    """Effort of the gripper's motor from target and measured finger position.

    The effort is proportional to the error and saturates 3.3 mm from the target
    (BridgeData's rule). A finger that stands still before its target has met an object:
    full effort lasts for `grip_time`, then `hold_effort` keeps the object for `hold_time`,
    then the motor rests. A motor that pushes for ever shuts itself off for overload without
    reporting it. At the end of the fingers' travel the motor rests as well.

    Call `effort` some 50 times a second.

    Attributes:
        full_effort: Largest effort [PWM units of the servo, of 885].
        hold_effort: Effort that keeps an object [PWM units].
        grip_time: Duration of the full effort on a finger that stands still [s].
        hold_time: Duration of the hold effort after that [s].
        given_up: Whether the hold time is over and nothing holds the object any more.
    """

    full_effort: float = 350.0
    hold_effort: float = 180.0
    grip_time: float = 1.0
    hold_time: float = 120.0

    GAIN = 300.0  # share of the full effort per metre of error
    LEAST = 50.0  # efforts below this do not move the finger [PWM units]
    STILL = 5e-4  # a finger that moves less than this stands still [m]; its encoder: 2e-5
    END = 5e-4  # a finger this near the end of its travel has reached it [m]
    STEP = 10.0  # efforts are rounded to this, so that few commands are sent [PWM units]
    SAME = 1e-4  # targets closer than this are the same target [m]

    given_up: bool = False
    _target: float | None = None
    _still: tuple[float, float] | None = None  # since when [s] the finger stands, where [m]

    @property
    def target(self) -> float | None:
        """The finger position requested [m]; None before the first."""
        return self._target

    def aim(self, finger: float) -> None:
        """Set the finger position requested [m].

        The same position again does not restart the grip and hold times.
        """
        if self._target is None or abs(finger - self._target) > self.SAME:
            self._restart(finger)

    def rest(self) -> None:
        """Forget the target: the motor pushes no more."""
        self._restart(None)

    def _restart(self, target: float | None) -> None:
        """Set the target [m] and restart the grip and hold times."""
        self._target = target
        self._still = None
        self.given_up = False

    def effort(self, finger: float, now: float) -> float:
        """Return the effort to command [PWM units]; a positive one opens.

        Args:
            finger: Measured finger position [m].
            now: Time on a clock that never jumps [s].
        """
        if self._target is None or not np.isfinite(finger):
            return 0.0
        pushed = self._time_still(finger, now)
        error = self._target - finger
        effort = self.full_effort * float(np.clip(self.GAIN * error, -1.0, 1.0))
        if self._at_end(finger, error) or abs(effort) < self.LEAST:
            return 0.0
        self.given_up = pushed > self.grip_time + self.hold_time
        if self.given_up:
            return 0.0
        if pushed > self.grip_time:
            effort = float(np.clip(effort, -self.hold_effort, self.hold_effort))
        return self.STEP * round(effort / self.STEP)

    def _at_end(self, finger: float, error: float) -> bool:
        """Return whether the finger is at the end of its travel.

        Args:
            finger: Measured finger position [m].
            error: Target minus measured position [m]; only the end in its direction counts.
        """
        low, high = FINGER_LIMITS
        closed = error < 0 and finger <= low + self.END
        opened = error > 0 and finger >= high - self.END
        return closed or opened

    def _time_still(self, finger: float, now: float) -> float:
        """Return how long the finger has stood still [s].

        Args:
            finger: Measured finger position [m].
            now: Time on a clock that never jumps [s].
        """
        if self._still is None or abs(finger - self._still[1]) > self.STILL:
            self._still = (now, finger)
        return now - self._still[0]
