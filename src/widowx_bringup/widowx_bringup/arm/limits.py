"""The gate: pure functions that every command passes last, whatever the arm behind it.

There is no switch to turn a limit off; a person may only choose other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_common.errors import PtrError

JOINT_LOW = (-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158)
JOINT_HIGH = (3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158)


REACH = 0.8
"""No part of the workspace box lies farther than this from the base, along any axis [m]: the arm is 0.66 m long."""


class LimitsError(PtrError):
    """The limits contradict themselves or a command cannot be judged."""


def _vector(*values: float) -> np.ndarray:
    array = np.array(values, dtype=float)
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Limits:
    """What the arm may do. The defaults suit a wx250s on a table at z = 0 of its base frame."""

    workspace_low: np.ndarray = field(
        default_factory=lambda: _vector(0.10, -0.25, 0.02)
    )  # x, y, z [m]
    workspace_high: np.ndarray = field(default_factory=lambda: _vector(0.45, 0.25, 0.33))
    joint_low: np.ndarray = field(
        default_factory=lambda: _vector(*JOINT_LOW) + 0.01
    )  # [rad], margin taken off
    joint_high: np.ndarray = field(default_factory=lambda: _vector(*JOINT_HIGH) - 0.01)
    joint_speed: float = (
        np.pi
    )  # fastest joint in the middle of the servos' time profile [rad/s]
    profile_time: float = 0.25  # duration of the time profile of one target [s]
    profile_acceleration_time: float = (
        0.10  # of which it speeds up, and slows down, for this long [s]
    )
    reading_tolerance: float = (
        0.06  # a measured joint may lie this far outside the limits [rad]
    )
    workspace_tolerance: float = (
        0.10  # steps start at most this far outside the workspace box [m]
    )

    def __post_init__(self) -> None:
        for corner in (self.workspace_low, self.workspace_high):
            if np.shape(corner) != (3,) or not np.all(np.abs(corner) <= REACH):
                raise LimitsError(
                    f"the workspace box has x, y, z within {REACH} m of the base; found {corner}"
                )
        for low, high in (
            (self.workspace_low, self.workspace_high),
            (self.joint_low, self.joint_high),
        ):
            if not np.all(np.asarray(low) < np.asarray(high)):
                raise LimitsError(
                    f"every lower limit must be below the upper one; found {low} and {high}"
                )
        if not 0 < 2 * self.profile_acceleration_time <= self.profile_time:
            raise LimitsError(
                "profile_acceleration_time must be at most half of profile_time; "
                f"found {self.profile_acceleration_time} and {self.profile_time} s"
            )
        if not 0 < self.joint_speed <= np.pi:
            raise LimitsError(
                f"joint_speed must be in (0, pi] rad/s, the servos' limit; found {self.joint_speed}"
            )

    @property
    def joint_step(self) -> float:
        """Longest way of a joint from its measured position to its next target [rad].

        From rest, a time profile T with acceleration time t reaches the speed way / (T -
        t).
        """
        return self.joint_speed * (self.profile_time - self.profile_acceleration_time)


@dataclass(frozen=True)
class LimitResult:
    """What the gate let through: joints, or None with the reason; `clipped` when it changed them."""

    positions: np.ndarray | None  # (6,) [rad]
    clipped: bool = False
    reason: str = ""


def clip_action(action: np.ndarray) -> tuple[np.ndarray | None, bool, str]:
    """Return the step within the action bounds, whether it was shortened, and why if it was refused.

    Args:
        action: Requested step, anything that should have been seven finite numbers.
    """
    try:
        step = np.array(action, dtype=float)
    except (TypeError, ValueError):
        return None, False, "the action is not a vector of numbers"
    if step.shape != ACTION_LOW.shape:
        return None, False, f"the action has shape {step.shape}, not {ACTION_LOW.shape}"
    if not np.isfinite(step).all():
        return None, False, "the action is not finite"
    clipped = np.clip(step, ACTION_LOW, ACTION_HIGH)
    return clipped, bool(np.any(np.abs(clipped - step) > 1e-9)), ""


def clip_workspace(T_base_eef: np.ndarray, limits: Limits) -> tuple[np.ndarray, bool]:
    """Return the target pose with its position in the workspace box, and whether that moved it."""
    inside = np.clip(T_base_eef[:3, 3], limits.workspace_low, limits.workspace_high)
    clipped = bool(np.any(np.abs(inside - T_base_eef[:3, 3]) > 1e-9))
    target = T_base_eef.copy()
    target[:3, 3] = inside
    return target, clipped


def distance_outside(T_base_eef: np.ndarray, limits: Limits) -> float:
    """Return how far a pose lies outside the workspace box along the worst axis [m]; 0 inside."""
    p = T_base_eef[:3, 3]
    return float(np.max([limits.workspace_low - p, p - limits.workspace_high, np.zeros(3)]))


def implausible(measured: np.ndarray, limits: Limits) -> str:
    """Return why a joint reading cannot be trusted, or an empty string.

    A failed bus read shows up as -pi in every joint with a fresh stamp; three joints cannot
    go there.
    """
    if np.shape(measured) != (6,):
        return f"the arm reports joints of shape {np.shape(measured)}, not (6,)"
    if not np.isfinite(measured).all():
        return "the measured joints are not finite"
    if np.allclose(measured, -np.pi, atol=1e-2):
        return "every joint reads -pi: the servo bus could not be read"
    outside = (measured < limits.joint_low - limits.reading_tolerance) | (
        measured > limits.joint_high + limits.reading_tolerance
    )
    if outside.any():
        return f"joint {int(np.argmax(outside))} reads {measured[np.argmax(outside)]:.3f} rad, outside its limits"
    return ""


def gate_joints(target: np.ndarray, measured: np.ndarray, limits: Limits) -> LimitResult:
    """Return the joint target that may be sent: finite, inside the limits and within the speed limit.

    A target too far from the measured joints is brought nearer along the straight line in
    joint space.

    Args:
        target: Joints wanted, shape (6,) [rad].
        measured: Joints as measured now, shape (6,) [rad].
        limits: See `Limits`.
    """
    if reason := implausible(measured, limits):
        return LimitResult(None, reason=reason)
    if np.shape(target) != (6,):
        return LimitResult(
            None, reason=f"the joint target has shape {np.shape(target)}, not (6,)"
        )
    if not np.isfinite(target).all():
        return LimitResult(None, reason="the joint target is not finite")
    inside = np.clip(target, limits.joint_low, limits.joint_high)
    way = inside - measured
    longest = float(np.abs(way).max())
    allowed = measured + way * min(1.0, limits.joint_step / max(longest, 1e-12))
    # A reading may lie a little outside the limits; clipping moves it inwards by less than
    # one step.
    positions = np.clip(allowed, limits.joint_low, limits.joint_high)
    if np.allclose(positions, target, rtol=0, atol=1e-9):
        return LimitResult(positions)
    reason = "joint limit" if longest <= limits.joint_step else "joint speed limit"
    return LimitResult(positions, clipped=True, reason=reason)
