"""Limits of the arm and the pure functions that apply them, whatever arm executes the command.

No option switches a limit off; a user can only choose other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_common.errors import PtrError

from .refusal import Kind, LimitResult, Refusal, check_vector

JOINT_LOW = (-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158)
JOINT_HIGH = (3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158)
"""Range of each joint of the wx250s [rad]."""

JOINT_MARGIN = 0.01
"""Targets keep this distance from both ends of a joint's range [rad]."""

REACH = 0.8
"""Largest distance of a side of the workspace box from the base [m]; the arm is 0.66 m long."""

BUS_FAILURE_TOLERANCE = 1e-2
"""A reading within this of -pi in every joint is a failed read of the servo bus [rad]."""

UNCHANGED = 1e-9
"""A limit that moves a value by less than this [m, rad] has not changed it."""


class LimitsError(PtrError):
    """The limits contradict each other or are impossible."""


def _vector(*values: float) -> np.ndarray:
    array = np.array(values, dtype=float)
    array.flags.writeable = False
    return array


def _default_joint_low() -> np.ndarray:
    return _vector(*JOINT_LOW) + JOINT_MARGIN


def _default_joint_high() -> np.ndarray:
    return _vector(*JOINT_HIGH) - JOINT_MARGIN


def _default_workspace_low() -> np.ndarray:
    return _vector(0.10, -0.25, 0.02)


def _default_workspace_high() -> np.ndarray:
    return _vector(0.45, 0.25, 0.33)


@dataclass(frozen=True)
class Limits:
    """What the arm may do. The defaults suit a wx250s on a table at z = 0 of its base frame.

    Attributes:
        workspace_low: Lowest x, y, z of the end effector in the base frame, (3,) [m].
        workspace_high: Highest x, y, z of the end effector, (3,) [m].
        joint_low: Lowest joint targets, (6,) [rad].
        joint_high: Highest joint targets, (6,) [rad].
        joint_speed: Speed of the fastest joint in the middle of a time profile [rad/s].
        profile_time: Duration of the servos' time profile for one target [s].
        profile_acceleration_time: Part of it in which the speed rises, and in which it
            falls [s].
        reading_tolerance: Distance outside the joint limits at which a measured joint is
            still plausible [rad].
        workspace_tolerance: Distance outside the workspace box from which a step may still
            start [m].

    Raises:
        LimitsError: If a limit is impossible.
    """

    workspace_low: np.ndarray = field(default_factory=_default_workspace_low)
    workspace_high: np.ndarray = field(default_factory=_default_workspace_high)
    joint_low: np.ndarray = field(default_factory=_default_joint_low)
    joint_high: np.ndarray = field(default_factory=_default_joint_high)
    joint_speed: float = np.pi
    profile_time: float = 0.25
    profile_acceleration_time: float = 0.10
    reading_tolerance: float = 0.06
    workspace_tolerance: float = 0.10

    def __post_init__(self) -> None:
        _check_range("workspace", self.workspace_low, self.workspace_high, (3,))
        _check_range("joint", self.joint_low, self.joint_high, (6,))
        for corner in (self.workspace_low, self.workspace_high):
            if not np.all(np.abs(corner) <= REACH):
                raise LimitsError(
                    f"the workspace box must be within {REACH} m of the base; found {corner}"
                )
        if not 0 < 2 * self.profile_acceleration_time <= self.profile_time:
            raise LimitsError(
                "profile_acceleration_time must be at most half of profile_time; "
                f"found {self.profile_acceleration_time} and {self.profile_time} s"
            )
        if not 0 < self.joint_speed <= np.pi:
            raise LimitsError(
                f"joint_speed must be in (0, pi] rad/s, the limit of the servos; "
                f"found {self.joint_speed}"
            )
        for tolerance in (self.reading_tolerance, self.workspace_tolerance):
            if not 0 <= tolerance < np.inf:
                raise LimitsError(
                    "reading_tolerance and workspace_tolerance must be finite and not "
                    f"negative; found {tolerance}"
                )

    @property
    def joint_step(self) -> float:
        """Longest distance of a joint from its measured position to its next target [rad].

        From rest, a time profile of duration T with acceleration time t reaches the speed
        distance / (T - t).
        """
        return self.joint_speed * (self.profile_time - self.profile_acceleration_time)


def _check_range(
    name: str, low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Raise LimitsError unless both ends of a range are finite, of a shape, and in order."""
    for end, values in (("low", low), ("high", high)):
        checked = check_vector(f"{name}_{end}", values, shape)
        if isinstance(checked, Refusal):
            raise LimitsError(checked.text)
    if not np.all(np.asarray(low) < np.asarray(high)):
        raise LimitsError(
            f"every lower {name} limit must be below the upper one; found {low} and {high}"
        )


def clip_action(action: object) -> LimitResult | Refusal:
    """Return a step within the action bounds, or why it is not a step.

    Args:
        action: Requested step; anything that should have been seven finite numbers.
    """
    step = check_vector("the action", action, ACTION_LOW.shape)
    if isinstance(step, Refusal):
        return step
    bounded = np.clip(step, ACTION_LOW, ACTION_HIGH)
    if np.abs(bounded - step).max() > UNCHANGED:
        return LimitResult(bounded, (Kind.ACTION_BOUNDS,))
    return LimitResult(bounded)


def clip_workspace(T_base_eef: np.ndarray, limits: Limits) -> LimitResult:
    """Return a target pose, (4, 4), with its position moved into the workspace box.

    Args:
        T_base_eef: Target pose, (4, 4) [m]; it is not changed.
        limits: Workspace box.
    """
    position = T_base_eef[:3, 3]
    inside = np.clip(position, limits.workspace_low, limits.workspace_high)
    target = T_base_eef.copy()
    target[:3, 3] = inside
    if np.abs(inside - position).max() > UNCHANGED:
        return LimitResult(target, (Kind.WORKSPACE_BOX,))
    return LimitResult(target)


def distance_outside(T_base_eef: np.ndarray, limits: Limits) -> float:
    """Return the distance of a pose from the workspace box along the worst axis [m]; 0 inside.

    Args:
        T_base_eef: Pose, (4, 4) [m].
        limits: Workspace box.
    """
    position = T_base_eef[:3, 3]
    below = limits.workspace_low - position
    above = position - limits.workspace_high
    return float(np.max([below, above, np.zeros(3)]))


def check_reading(measured: object, limits: Limits) -> np.ndarray | Refusal:
    """Return measured joints, shape (6,) [rad], or why the reading cannot be true.

    A failed bus read shows up as -pi in every joint with a fresh stamp; three joints cannot
    reach that.

    Args:
        measured: Joint reading; anything that should have been six finite numbers.
        limits: Joint limits and the tolerance of readings.
    """
    joints = check_vector("the joint reading", measured, (6,))
    if isinstance(joints, Refusal):
        return joints
    if np.abs(joints + np.pi).max() <= BUS_FAILURE_TOLERANCE:
        text = "every joint reads -pi: the servo bus could not be read"
        return Refusal(Kind.READING, text)
    low = limits.joint_low - limits.reading_tolerance
    high = limits.joint_high + limits.reading_tolerance
    outside = (joints < low) | (joints > high)
    if not outside.any():
        return joints
    joint = int(np.argmax(outside))
    text = (
        f"joint {joint} reads {joints[joint]:.3f} rad; "
        f"its range is {low[joint]:.3f} to {high[joint]:.3f} rad"
    )
    return Refusal(Kind.READING, text)


def limit_joints(target: object, measured: object, limits: Limits) -> LimitResult | Refusal:
    """Return the joint target that may be sent: inside the limits and within the speed limit.

    This is the joint limiter, the last check before every joint target. A target that is
    too far from the measured joints is moved towards them on the straight line in joint
    space.

    Args:
        target: Joints requested, shape (6,) [rad].
        measured: Joints measured now, shape (6,) [rad].
        limits: Joint limits, speed limit and tolerance of readings.
    """
    joints = check_reading(measured, limits)
    if isinstance(joints, Refusal):
        return joints
    requested = check_vector("the joint target", target, (6,))
    if isinstance(requested, Refusal):
        return requested
    inside = np.clip(requested, limits.joint_low, limits.joint_high)
    distance = inside - joints
    longest = float(np.abs(distance).max())
    kind = Kind.JOINT_LIMIT
    if longest > limits.joint_step:
        kind = Kind.JOINT_SPEED
        distance = distance * (limits.joint_step / longest)
    # A plausible reading may be a little outside the limits, and so may a point between it
    # and the target; the clip moves such a joint inwards by less than one step.
    positions = np.clip(joints + distance, limits.joint_low, limits.joint_high)
    if np.abs(positions - requested).max() <= UNCHANGED:
        return LimitResult(positions)
    return LimitResult(positions, (kind,))
