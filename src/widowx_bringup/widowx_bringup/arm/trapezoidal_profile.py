"""The time profile by which the servos go from one joint target to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SetPoints:
    """Where a profile has the joints at one instant.

    Attributes:
        positions: Set-points, (n,) [rad].
        velocities: Their speeds, (n,) [rad/s].
    """

    positions: np.ndarray
    velocities: np.ndarray


class TrapezoidalProfile:
    """Joint set-points between targets, as the servos make them in their time-based mode.

    A target is reached after `time` seconds: the speed changes during `acceleration_time`,
    stays, and falls to zero during `acceleration_time`. A new target starts a new profile
    from the present set-point and its speed.

    Args:
        positions: Set-points at the beginning, at rest, (n,) [rad].
        time: Duration of a profile [s]; one number, or one for each joint, (n,).
        acceleration_time: Part of it in which the speed rises, and falls, likewise [s].
    """

    def __init__(
        self,
        positions: np.ndarray,
        time: float | np.ndarray,
        acceleration_time: float | np.ndarray,
    ) -> None:
        self._time = time
        self._acceleration_time = acceleration_time
        self.rest(positions)

    @property
    def set_points(self) -> SetPoints:
        """Where the profile has the joints now."""
        positions, velocities = self._at(np.array([self._elapsed]))
        return SetPoints(positions[0], velocities[0])

    def rest(self, positions: np.ndarray) -> None:
        """Stand still at `positions`, shape (n,) [rad]."""
        self._start = np.array(positions, dtype=float)
        self._goal = self._start
        self._start_speed = np.zeros_like(self._start)
        self._cruise_speed = np.zeros_like(self._start)
        self._elapsed = float(np.max(self._time))

    def plan(self, goal: np.ndarray) -> None:
        """Head for `goal`, shape (n,) [rad], from the present set-point and speed."""
        present = self.set_points
        self._start = present.positions
        self._start_speed = present.velocities
        self._goal = np.array(goal, dtype=float)
        t = self._acceleration_time
        distance = self._goal - self._start - self._start_speed * t / 2
        self._cruise_speed = distance / (self._time - t)
        self._elapsed = 0.0

    def advance(self, count: int, timestep: float) -> np.ndarray:
        """Return the next set-points.

        Args:
            count: Number of set-points.
            timestep: Time from one to the next [s].

        Returns:
            Joint positions, (count, n) [rad].
        """
        times = self._elapsed + timestep * np.arange(1, count + 1)
        self._elapsed = min(float(times[-1]), float(np.max(self._time)))
        positions, _ = self._at(times)
        return positions

    def _at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions [rad] and speeds [rad/s], each (k, n).

        Args:
            times: Times after the last plan, (k,) [s].
        """
        T = self._time
        t = self._acceleration_time
        v0 = self._start_speed
        v1 = self._cruise_speed
        now = np.clip(times[:, None], 0.0, T)
        rising = np.minimum(now, t)  # time spent in each part of the profile [s]
        level = np.clip(now - t, 0.0, T - 2 * t)
        falling = np.maximum(now - (T - t), 0.0)
        position = (
            self._start
            + v0 * rising
            + (v1 - v0) * rising**2 / (2 * t)
            + v1 * level
            + v1 * (falling - falling**2 / (2 * t))
        )
        speed = np.where(now < t, v0 + (v1 - v0) * rising / t, v1 * (1 - falling / t))
        return position, speed
