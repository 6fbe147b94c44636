"""Limits of the arm and the pure functions that apply them, whatever arm executes the command.

No option switches a limit off; a user can only choose other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_common.errors import PtrError

from .refusal import Kind, LimitResult, Refusal, check_vector
from .trapezoidal_profile import SetPoints

JOINT_LOW = (-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158)
JOINT_HIGH = (3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158)
"""Range of each joint of the wx250s [rad]."""

JOINT_MARGIN = 0.01
"""Targets keep this distance from both ends of a joint's range [rad]."""

REACH = 0.8
"""Largest distance of a side of the workspace box from the base [m]; the arm is 0.66 m long."""

BUS_FAILURE_TOLERANCE = 1e-2
"""A reading within this of -pi in every joint is a failed read of the servo bus [rad]."""

SPEED_SHARE = 0.9
"""Share of the speed limit that a time profile may reach.

Joints that lag behind their profile catch up faster than it, by up to 6 % in simulation.
"""

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
        joint_speed: Largest speed of a joint [rad/s].
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
        cruise_time = self.profile_time - self.profile_acceleration_time
        return SPEED_SHARE * self.joint_speed * cruise_time


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


def limit_joints(
    target: object, measured: object, limits: Limits, set_points: SetPoints | None = None
) -> LimitResult | Refusal:
    """Return the joint target that may be sent: inside the limits and within the speed limit.

    This is the joint limiter, the last check before every joint target. A target that is
    too far is moved, on the straight line in joint space, towards the joints at which the
    servos would come to rest if they slowed down now (`_slow_targets`).

    Args:
        target: Joints requested, shape (6,) [rad].
        measured: Joints measured now, shape (6,) [rad].
        limits: Joint limits, speed limit and tolerance of readings.
        set_points: Where the servos' time profile has the joints now; None if the servos
            stand still at the measured joints.
    """
    joints = check_reading(measured, limits)
    if isinstance(joints, Refusal):
        return joints
    requested = check_vector("the joint target", target, (6,))
    if isinstance(requested, Refusal):
        return requested
    present = set_points or SetPoints(joints, np.zeros(6))
    low, high = _slow_targets(joints, present, limits)
    if (low > high).any():
        joint = int((low - high).argmax())
        text = (
            f"joint {joint} is at {joints[joint]:.2f} rad, but its servo was sent to "
            f"{present.positions[joint]:.2f} rad; no target is near both"
        )
        return Refusal(Kind.READING, text)
    low, high = _keep_in_range(low, high, present, limits)
    resting = np.clip(_resting_joints(present, limits), low, high)
    inside = np.clip(requested, limits.joint_low, limits.joint_high)
    share = _share_within(resting, inside, low, high)
    kind = Kind.JOINT_SPEED if share < 1 else Kind.JOINT_LIMIT
    # A plausible reading may be a little outside the limits, and so may a point between it
    # and the target; the clip moves such a joint inwards by less than one step.
    reached = inside if share == 1 else resting + share * (inside - resting)
    positions = np.clip(reached, limits.joint_low, limits.joint_high)
    if np.abs(positions - requested).max() <= UNCHANGED:
        return LimitResult(positions)
    return LimitResult(positions, (kind,))


def _resting_joints(present: SetPoints, limits: Limits) -> np.ndarray:
    """Return the joints at which servos that slow down now come to rest, (6,) [rad]."""
    return present.positions + present.velocities * limits.profile_acceleration_time / 2


def _slow_targets(
    joints: np.ndarray, present: SetPoints, limits: Limits
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest targets that the servos reach slowly enough.

    A new target starts a new profile. Its speed changes from that of the set-points to a
    cruise speed, which is the distance of the target from the resting joints over
    `profile_time - profile_acceleration_time`. Neither this speed nor the change may be
    larger than in the longest step from rest: a servo that were asked for more would lag,
    and then catch up faster than its profile. The measured joints stay near as well.

    Args:
        joints: Joints measured, (6,) [rad].
        present: Where the profile has the joints now.
        limits: Speed limit and profile times.

    Returns:
        Both (6,) [rad]; the first is above the second where the measured joints are so far
        from the set-points that no target is near both.
    """
    step = limits.joint_step
    resting = _resting_joints(present, limits)
    cruise_time = limits.profile_time - limits.profile_acceleration_time
    coasting = present.velocities * cruise_time
    low = np.maximum(joints, resting + np.maximum(coasting, 0.0)) - step
    high = np.minimum(joints, resting + np.minimum(coasting, 0.0)) + step
    return low, high


def _keep_in_range(
    low: np.ndarray, high: np.ndarray, present: SetPoints, limits: Limits
) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets with which the set-points stay in the joints' range on their way.

    Args:
        low: Lowest targets that are slow enough, (6,) [rad].
        high: Highest ones, (6,) [rad].
        present: Where the profile has the joints now.
        limits: Joint limits and profile times.

    Returns:
        The lowest and the highest targets, inside `low` and `high`, each (6,) [rad].
    """
    resting = _resting_joints(present, limits)
    room_above = limits.joint_high - present.positions
    room_below = present.positions - limits.joint_low
    highest = resting - _pull_back(present.velocities, room_above, limits)
    lowest = resting + _pull_back(-present.velocities, room_below, limits)
    return np.clip(lowest, low, high), np.clip(highest, low, high)


def _pull_back(speeds: np.ndarray, room: np.ndarray, limits: Limits) -> np.ndarray:
    """Return how far behind its resting point each joint's target must be, (6,) [rad].

    A joint that moves towards an end of its range at speed v, with acceleration time t,
    goes on for v t / 2 if its cruise speed becomes zero. With less room than that, it has to
    be sent back at the cruise speed with which it turns round within the room.

    Args:
        speeds: Speeds of the set-points towards that end, (6,) [rad/s].
        room: Distances of the set-points from that end, (6,) [rad].
        limits: Profile times.

    Returns:
        Negative infinity where there is room enough.
    """
    time = limits.profile_acceleration_time
    needed = speeds * time / 2
    tight = (speeds > 0) & (needed > room)
    back = speeds * (needed / np.maximum(room, UNCHANGED) - 1)
    return np.where(tight, back * (limits.profile_time - time), -np.inf)


def _share_within(
    base: np.ndarray, target: np.ndarray, low: np.ndarray, high: np.ndarray
) -> float:
    """Return how much of the line from `base` to `target` is between `low` and `high`.

    Args:
        base: Where the line begins, between both in every joint, (6,) [rad].
        target: Where it ends, (6,) [rad].
        low: Lowest joints, (6,) [rad].
        high: Highest joints, (6,) [rad].

    Returns:
        A share of the line, 0..1.
    """
    line = target - base
    room = np.where(line > 0, high - base, base - low)
    length = np.abs(line)
    beyond = length > room
    return float(np.min(room[beyond] / length[beyond], initial=1.0))
