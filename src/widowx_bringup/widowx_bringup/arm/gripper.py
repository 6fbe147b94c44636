"""The gripper: how far it is open, and the effort that brings it there and keeps hold without overloading its motor.

Openings are 0 (closed) to 1 (open), as in BridgeData; a finger is so many metres from the
middle. Pure arithmetic: times come as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FINGER_CLOSED, FINGER_OPEN = 0.010, 0.035
"""Finger positions that stand for openings 0 and 1 [m]; the fingers' own travel ends earlier, see FINGER_LIMITS."""

FINGER_LIMITS = (0.015, 0.037)
"""Travel of a finger [m], as in the URDF; closed on nothing, the opening reads 0.2."""

HORN_RADIUS, ARM_LENGTH = 0.014, 0.024
"""Linkage between motor and finger [m]; source: Interbotix's motor configuration of the wx250s."""


def finger_of(opening: float) -> float:
    """Return the finger position [m] that an opening stands for."""
    return FINGER_CLOSED + opening * (FINGER_OPEN - FINGER_CLOSED)


def opening_of(finger: float) -> float:
    """Return the opening that a finger position [m] stands for, not clipped."""
    return (finger - FINGER_CLOSED) / (FINGER_OPEN - FINGER_CLOSED)


def motor_angle(finger: float) -> float:
    """Return the angle of the motor [rad] at a finger position [m], by the law of cosines in its crank."""
    sine = (finger**2 + HORN_RADIUS**2 - ARM_LENGTH**2) / (2 * finger * HORN_RADIUS)
    return float(np.arcsin(np.clip(sine, -1.0, 1.0)))


@dataclass
class GripperRegulator:
    """Effort of the gripper's motor from target and measured finger position, at any rate of some 50 Hz.

    Proportional, saturated further than 3.3 mm from the target (BridgeData's rule). Where
    the finger stands still all the same, it has met an object: full force lasts `grip_time`
    longer, then `hold_effort` keeps the object, and after `hold_time` nothing does, because
    a motor that pushes for ever shuts itself off for overload, and then nobody is told. At
    the end of the fingers' travel there is nothing to push against.

    Attributes:
        full_effort: Largest effort [PWM units of the servo, of 885].
        hold_effort: Effort that keeps an object.
        grip_time: How long the full effort acts on a finger that stands still [s].
        hold_time: How long the hold effort acts after that [s].
    """

    full_effort: float = 350.0
    hold_effort: float = 180.0
    grip_time: float = 1.0
    hold_time: float = 120.0

    GAIN = 300.0  # of full effort per metre
    LEAST = 50.0  # efforts below do not move the finger
    STILL = 5e-4  # a finger that stays within this stands still [m]; its encoder's steps are 2e-5
    STEP = (
        10.0  # efforts are rounded to this, so that not every measurement is a new command
    )

    given_up: bool = (
        False  # whether the hold time is over: nothing holds the object any more
    )
    _target: float | None = None
    _still: tuple[float, float] | None = (
        None  # since when [s], and where [m], the finger stands still
    )

    @property
    def target(self) -> float | None:
        """The finger position wanted [m]; None before the first."""
        return self._target

    def aim(self, finger: float) -> None:
        """Set the finger position wanted [m]; the same one again does not start the times anew."""
        if self._target is None or abs(finger - self._target) > 1e-4:
            self._target, self._still, self.given_up = finger, None, False

    def rest(self) -> None:
        """Let the motor push no more."""
        self._target, self._still, self.given_up = None, None, False

    def effort(self, finger: float, now: float) -> float:
        """Return the effort to command, positive opens.

        Args:
            finger: Measured finger position [m].
            now: When, on a clock that never jumps [s].
        """
        if self._target is None or not np.isfinite(finger):
            return 0.0
        pushed = self._pushed_for(finger, now)
        error = self._target - finger
        low, high = FINGER_LIMITS
        ended = (error < 0 and finger <= low + 5e-4) or (
            error > 0 and finger >= high - 5e-4
        )
        wanted = self.full_effort * float(np.clip(self.GAIN * error, -1.0, 1.0))
        if ended or abs(wanted) < self.LEAST:
            return 0.0
        self.given_up = pushed > self.grip_time + self.hold_time
        if self.given_up:
            return 0.0
        if pushed > self.grip_time:
            wanted = float(np.clip(wanted, -self.hold_effort, self.hold_effort))
        return self.STEP * round(wanted / self.STEP)

    def _pushed_for(self, finger: float, now: float) -> float:
        """Return how long the finger has stood still [s]."""
        if self._still is None or abs(finger - self._still[1]) > self.STILL:
            self._still = (now, finger)
        return now - self._still[0]
