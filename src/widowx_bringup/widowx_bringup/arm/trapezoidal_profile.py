"""The time-based profile by which the servos go from one joint target to the next."""

from __future__ import annotations

import numpy as np


class TrapezoidalProfile:
    """Joint set-points between targets, as the servos make them in their time-based mode.

    A target is reached after `time` seconds: speed changes during `acceleration_time`,
    stays, and falls to zero during `acceleration_time`. A new target re-plans from the
    present set-point and its speed. Both times may be one number for each joint.
    """

    def __init__(
        self,
        positions: np.ndarray,
        time: float | np.ndarray,
        acceleration_time: float | np.ndarray,
    ) -> None:
        self._time, self._acceleration_time = time, acceleration_time
        self.rest(positions)

    def rest(self, positions: np.ndarray) -> None:
        """Stand still at `positions`, shape (n,) [rad]."""
        self._start = self._goal = np.array(positions, dtype=float)
        self._start_speed = self._cruise = np.zeros_like(self._start)
        self._elapsed = float(np.max(self._time))

    def plan(self, goal: np.ndarray) -> None:
        """Head for `goal`, shape (n,) [rad], from the present set-point and speed."""
        position, speed = self._at(np.array([self._elapsed]))
        self._start, self._start_speed = position[0], speed[0]
        self._goal = np.array(goal, dtype=float)
        t = self._acceleration_time
        self._cruise = (self._goal - self._start - self._start_speed * t / 2) / (
            self._time - t
        )
        self._elapsed = 0.0

    def advance(self, count: int, timestep: float) -> np.ndarray:
        """Return the next `count` set-points, shape (count, n), `timestep` seconds apart."""
        times = self._elapsed + timestep * np.arange(1, count + 1)
        self._elapsed = min(float(times[-1]), float(np.max(self._time)))
        return self._at(times)[0]

    def _at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and speeds, each (k, n), at `times` (k,) [s] after the last plan."""
        t, T = self._acceleration_time, self._time
        v0, v1 = self._start_speed, self._cruise
        now = np.clip(times[:, None], 0.0, T)
        up, level, down = (
            np.minimum(now, t),
            np.clip(now - t, 0.0, T - 2 * t),
            np.maximum(now - (T - t), 0.0),
        )
        position = (
            self._start
            + v0 * up
            + (v1 - v0) * up**2 / (2 * t)
            + v1 * level
            + v1 * (down - down**2 / (2 * t))
        )
        speed = np.where(now < t, v0 + (v1 - v0) * up / t, v1 * (1 - down / t))
        return position, speed
