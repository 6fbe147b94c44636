"""The limits: every function that a command passes on its way to the servos."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from arm_strategies import LIMITS, allowed_steps, distances, large_steps, readings
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.arm.kinematics import pose, pose_from_proprio
from widowx_bringup.arm.limits import (
    JOINT_HIGH,
    JOINT_LOW,
    Limits,
    LimitsError,
    check_reading,
    clip_action,
    clip_workspace,
    distance_outside,
    limit_joints,
)
from widowx_bringup.arm.refusal import Kind, LimitResult, Refusal

START = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
TINY = 1e-6

anything = st.one_of(
    arrays.arrays(float, st.integers(0, 8), elements=st.floats(width=64)),
    arrays.arrays(float, 6, elements=st.floats(-4, 4)),
    st.none(),
    st.text(),
    st.lists(st.one_of(st.none(), st.floats()), max_size=8),
)


def passed(result: LimitResult | Refusal) -> LimitResult:
    """Return a result that must not be a refusal."""
    assert isinstance(result, LimitResult), result
    return result


def refused(result: object) -> Refusal:
    """Return a result that must be a refusal."""
    assert isinstance(result, Refusal), result
    return result


# --- joint limiter --------------------------------------------------------------------------


def expected_joints(target: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return what the joint limiter should send, joint by joint in plain arithmetic."""
    inside = []
    for value, low, high in zip(target, LIMITS.joint_low, LIMITS.joint_high, strict=True):
        inside.append(min(max(value, low), high))
    longest = max(abs(goal - now) for goal, now in zip(inside, measured, strict=True))
    share = 1.0 if longest <= LIMITS.joint_step else LIMITS.joint_step / longest
    sent = []
    for joint, now in enumerate(measured):
        value = now + share * (inside[joint] - now)
        sent.append(min(max(value, LIMITS.joint_low[joint]), LIMITS.joint_high[joint]))
    return np.array(sent)


def check_joint_target(target: np.ndarray, measured: np.ndarray) -> LimitResult:
    """Return the limiter's result after checking all that is promised of it."""
    result = passed(limit_joints(target, measured, LIMITS))
    assert (result.value >= LIMITS.joint_low).all()
    assert (result.value <= LIMITS.joint_high).all()
    assert np.abs(result.value - measured).max() <= LIMITS.joint_step + 1e-9
    np.testing.assert_allclose(result.value, expected_joints(target, measured), atol=1e-12)
    changed = bool(np.abs(result.value - target).max() > 1e-9)
    assert bool(result.clipped) == changed
    return result


def test_every_joint_target_is_inside_the_limits_and_slow_enough() -> None:
    """Most targets pass the check of the reading, and all limits act on some of them."""
    reached: Counter[str] = Counter()

    @settings(max_examples=500)
    @given(readings, distances)
    def check(measured: np.ndarray, distance: np.ndarray) -> None:
        result = check_joint_target(measured + distance, measured)
        reached["all"] += 1
        for kind in result.clipped:
            reached[kind.value] += 1
            event(kind.value)
        below = (measured < LIMITS.joint_low).any()
        above = (measured > LIMITS.joint_high).any()
        if below or above:
            reached["reading outside the limits"] += 1
            event("reading outside the limits")
        inside = np.clip(measured + distance, LIMITS.joint_low, LIMITS.joint_high)
        line = inside - measured
        share = min(1.0, LIMITS.joint_step / max(np.abs(line).max(), 1e-12))
        moved = measured + share * line
        if (moved < LIMITS.joint_low).any() or (moved > LIMITS.joint_high).any():
            reached["last clip"] += 1
            event("last clip")

    check()
    assert reached["joint speed limit"] > reached["all"] / 4
    assert reached["joint limit"] > 10
    assert reached["reading outside the limits"] > reached["all"] / 4
    assert reached["last clip"] > reached["all"] / 10


def test_a_joint_beyond_its_limit_is_moved_inside_while_another_is_slowed_down() -> None:
    measured = START.copy()
    measured[1] = -1.925  # within the tolerance of readings, outside the limit
    target = START.copy()
    target[0] += 3.0
    target[1] = -1.875
    result = passed(limit_joints(target, measured, LIMITS))
    assert result.value[1] == LIMITS.joint_low[1]
    assert result.clipped == (Kind.JOINT_SPEED,)


@given(readings, distances)
def test_a_limited_target_passes_unchanged(
    measured: np.ndarray, distance: np.ndarray
) -> None:
    first = passed(limit_joints(measured + distance, measured, LIMITS))
    second = passed(limit_joints(first.value, measured, LIMITS))
    assert not second.clipped
    np.testing.assert_allclose(second.value, first.value, atol=1e-9)


def test_an_allowed_target_passes_untouched() -> None:
    result = passed(limit_joints(START + 0.1, START, LIMITS))
    assert result.clipped == ()
    np.testing.assert_allclose(result.value, START + 0.1, rtol=0, atol=1e-15)


def test_a_fast_target_is_moved_nearer_on_the_straight_line() -> None:
    distance = np.array([1.0, -0.5, 0, 0, 0, 0])
    result = passed(limit_joints(START + distance, START, LIMITS))
    assert result.clipped == (Kind.JOINT_SPEED,)
    expected = distance * LIMITS.joint_step
    np.testing.assert_allclose(result.value - START, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("beyond", "clipped"), [(-TINY, ()), (0.0, ()), (TINY, (Kind.JOINT_SPEED,))]
)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_speed_limit_begins_at_one_joint_step(
    beyond: float, clipped: tuple[Kind, ...], sign: float
) -> None:
    target = np.zeros(6)
    target[0] = sign * (LIMITS.joint_step + beyond)
    result = passed(limit_joints(target, np.zeros(6), LIMITS))
    assert result.clipped == clipped


def test_a_target_beyond_a_limit_at_exactly_one_step_is_a_joint_limit() -> None:
    measured = np.zeros(6)
    measured[1] = LIMITS.joint_high[1] - LIMITS.joint_step
    target = measured.copy()
    target[1] = LIMITS.joint_high[1] + 0.5
    distance = abs(np.clip(target, LIMITS.joint_low, LIMITS.joint_high) - measured).max()
    assert distance == LIMITS.joint_step
    assert passed(limit_joints(target, measured, LIMITS)).clipped == (Kind.JOINT_LIMIT,)


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_slow_target_beyond_a_joint_limit_is_moved_to_it(joint: int, sign: float) -> None:
    limit = (LIMITS.joint_high if sign > 0 else LIMITS.joint_low)[joint]
    measured = np.zeros(6)
    measured[joint] = limit - sign * 0.1
    target = measured.copy()
    target[joint] = limit + sign * 0.05
    result = passed(limit_joints(target, measured, LIMITS))
    assert result.value[joint] == limit
    assert result.clipped == (Kind.JOINT_LIMIT,)


def test_a_joint_limit_moves_a_target_by_more_than_a_billionth() -> None:
    measured = np.zeros(6)
    measured[0] = LIMITS.joint_high[0]
    for beyond, clipped in ((0.995e-9, ()), (1.005e-9, (Kind.JOINT_LIMIT,))):
        target = measured.copy()
        target[0] += beyond
        assert passed(limit_joints(target, measured, LIMITS)).clipped == clipped


def test_the_longest_step_keeps_the_profile_below_the_servos_speed() -> None:
    # From rest, a 250/100 ms trapezoid covers the distance speed * (0.25 - 0.10) s.
    assert LIMITS.joint_step == pytest.approx(np.pi * 0.15)


@pytest.mark.parametrize("length", [0, 5, 7])
def test_a_target_of_another_length_is_refused(length: int) -> None:
    refusal = refused(limit_joints(np.zeros(length), START, LIMITS))
    assert refusal.kind is Kind.LENGTH
    assert refusal.text.startswith("the joint target has shape")


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_refuses_target_and_reading(
    joint: int, value: float
) -> None:
    wrong = START.copy()
    wrong[joint] = value
    target = refused(limit_joints(wrong, START, LIMITS))
    assert target.kind is Kind.NOT_FINITE
    assert target.text.startswith("the joint target")
    reading = refused(limit_joints(START, wrong, LIMITS))
    assert reading.kind is Kind.NOT_FINITE
    assert reading.text.startswith("the joint reading")


@given(anything, anything)
def test_whatever_is_asked_of_the_limiter_the_answer_is_safe(
    target: Any, measured: Any
) -> None:
    result = limit_joints(target, measured, LIMITS)
    if isinstance(result, LimitResult):
        assert np.isfinite(result.value).all()
        assert (result.value >= LIMITS.joint_low).all()
        assert (result.value <= LIMITS.joint_high).all()


def test_a_change_of_exactly_a_billionth_is_none() -> None:
    tiny = 1e-9
    high = LIMITS.joint_high.copy()
    high[0] = 0.0
    target = np.zeros(6)
    target[0] = tiny
    limits = Limits(joint_high=high)
    assert passed(limit_joints(target, np.zeros(6), limits)).clipped == ()
    action = np.zeros(7)
    action[6] = -tiny
    assert passed(clip_action(action)).clipped == ()
    limits = Limits(workspace_low=np.zeros(3))
    assert clip_workspace(at(np.array([0.2, 0.1, -tiny])), limits).clipped == ()


def test_limits_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        LIMITS.joint_speed = 10.0  # type: ignore[misc]


# --- readings -------------------------------------------------------------------------------


@given(readings)
def test_a_plausible_reading_is_returned(measured: np.ndarray) -> None:
    np.testing.assert_array_equal(check_reading(measured, LIMITS), measured)


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_reading_may_be_outside_a_limit_by_the_tolerance(joint: int, sign: float) -> None:
    limit = (LIMITS.joint_high if sign > 0 else LIMITS.joint_low)[joint]
    reading = np.zeros(6)
    reading[joint] = limit + sign * (LIMITS.reading_tolerance - TINY)
    assert isinstance(check_reading(reading, LIMITS), np.ndarray)
    reading[joint] = limit + sign * LIMITS.reading_tolerance
    assert isinstance(check_reading(reading, LIMITS), np.ndarray)
    reading[joint] = limit + sign * (LIMITS.reading_tolerance + TINY)
    refusal = refused(check_reading(reading, LIMITS))
    assert refusal.kind is Kind.READING
    assert refusal.text.startswith(f"joint {joint} reads {reading[joint]:.3f} rad")
    assert isinstance(limit_joints(np.zeros(6), reading, LIMITS), Refusal)


def test_a_reading_outside_the_limits_names_the_first_joint_and_its_range() -> None:
    reading = START.copy()
    reading[2] = 2.5
    reading[4] = 3.0
    refusal = refused(check_reading(reading, LIMITS))
    expected = "joint 2 reads 2.500 rad; its range is -2.197 to 1.656 rad"
    assert refusal == Refusal(Kind.READING, expected)


def test_a_failed_bus_read_is_recognised() -> None:
    refusal = refused(check_reading(np.full(6, -np.pi), LIMITS))
    assert refusal.kind is Kind.READING
    assert "servo bus" in refusal.text
    assert isinstance(limit_joints(START, np.full(6, -np.pi), LIMITS), Refusal)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_failed_bus_read_may_be_off_by_a_hundredth(sign: float) -> None:
    reading = np.full(6, -np.pi)
    reading[0] = -np.pi + sign * (0.01 - TINY)
    assert "servo bus" in refused(check_reading(reading, LIMITS)).text
    reading[0] = -np.pi + sign * (0.01 + TINY)
    assert "servo bus" not in refused(check_reading(reading, LIMITS)).text


def test_five_joints_at_minus_pi_are_no_failed_bus_read() -> None:
    reading = np.full(6, -np.pi)
    reading[5] = 0.0
    assert "joint 1 reads" in refused(check_reading(reading, LIMITS)).text


def test_the_named_poses_are_plausible() -> None:
    for joints in (
        [0] * 6,
        [0, -1.80, 1.55, 0, 0.8, 0],
        [-0.13, -0.76, 0.44, -0.02, 1.76, -0.16],
    ):
        assert isinstance(check_reading(joints, LIMITS), np.ndarray)


# --- actions --------------------------------------------------------------------------------


@given(anything)
def test_whatever_is_asked_the_action_is_within_bounds_or_refused(action: Any) -> None:
    result = clip_action(action)
    if isinstance(result, LimitResult):
        assert (result.value >= ACTION_LOW).all()
        assert (result.value <= ACTION_HIGH).all()


def test_actions_are_clipped_to_the_bounds_and_no_further() -> None:
    reached: Counter[bool] = Counter()

    @settings(max_examples=300)
    @given(st.one_of(large_steps, allowed_steps))
    def check(action: np.ndarray) -> None:
        result = passed(clip_action(action))
        for value, asked, low, high in zip(
            result.value, action, ACTION_LOW, ACTION_HIGH, strict=True
        ):
            assert value == min(max(asked, low), high)
        changed = bool(np.abs(result.value - action).max() > 1e-9)
        assert result.clipped == ((Kind.ACTION_BOUNDS,) if changed else ())
        again = passed(clip_action(result.value))
        np.testing.assert_array_equal(again.value, result.value)
        assert not again.clipped
        reached[changed] += 1

    check()
    assert reached[True] > 50
    assert reached[False] > 5


@pytest.mark.parametrize("index", range(7))
def test_each_dimension_of_an_action_has_two_bounds(index: int) -> None:
    for bound, sign in ((ACTION_LOW, -1.0), (ACTION_HIGH, 1.0)):
        action = np.zeros(7)
        action[index] = bound[index]
        assert passed(clip_action(action)).clipped == ()
        action[index] = bound[index] + sign * 0.995e-9
        assert passed(clip_action(action)).clipped == ()
        action[index] = bound[index] + sign * 1.005e-9
        result = passed(clip_action(action))
        assert result.clipped == (Kind.ACTION_BOUNDS,)
        assert result.value[index] == bound[index]


@pytest.mark.parametrize("index", range(7))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_with_one_number_that_is_not_finite_is_refused(
    index: int, value: float
) -> None:
    action = np.zeros(7)
    action[index] = value
    refusal = refused(clip_action(action))
    assert refusal.kind is Kind.NOT_FINITE
    assert refusal.text.startswith("the action")


@pytest.mark.parametrize("length", [0, 6, 8])
def test_an_action_of_another_length_is_refused(length: int) -> None:
    assert refused(clip_action(np.zeros(length))).kind is Kind.LENGTH


# --- workspace ------------------------------------------------------------------------------


def at(position: np.ndarray) -> np.ndarray:
    """Return a pose at a position (3,) [m]."""
    return pose(np.eye(3), np.asarray(position, dtype=float))


def middle() -> np.ndarray:
    return (LIMITS.workspace_low + LIMITS.workspace_high) / 2


def test_the_workspace_box_moves_the_position_and_keeps_the_rotation() -> None:
    target = pose_from_proprio(np.array([0.6, -0.4, -0.1, 0.1, 0.2, 0.3]))
    before = target.copy()
    result = clip_workspace(target, LIMITS)
    assert result.clipped == (Kind.WORKSPACE_BOX,)
    np.testing.assert_allclose(result.value[:3, 3], [0.45, -0.25, 0.02])
    np.testing.assert_array_equal(result.value[:3, :3], target[:3, :3])
    np.testing.assert_array_equal(result.value[3], [0, 0, 0, 1])
    np.testing.assert_array_equal(target, before)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_each_side_of_the_workspace_box_limits_and_measures(axis: int, sign: float) -> None:
    side = (LIMITS.workspace_high if sign > 0 else LIMITS.workspace_low)[axis]
    position = middle()
    position[axis] = side
    assert clip_workspace(at(position), LIMITS).clipped == ()
    assert distance_outside(at(position), LIMITS) == 0.0
    position[axis] = side + sign * 0.995e-9
    assert clip_workspace(at(position), LIMITS).clipped == ()
    position[axis] = side + sign * 1.005e-9
    result = clip_workspace(at(position), LIMITS)
    assert result.clipped == (Kind.WORKSPACE_BOX,)
    assert result.value[axis, 3] == side
    position[axis] = side + sign * 0.07
    assert distance_outside(at(position), LIMITS) == pytest.approx(0.07)


def test_the_distance_from_the_workspace_box_is_that_of_the_worst_axis() -> None:
    position = LIMITS.workspace_high + np.array([0.01, 0.03, 0.02])
    assert distance_outside(at(position), LIMITS) == pytest.approx(0.03)
    position = LIMITS.workspace_low - np.array([0.01, 0.02, 0.04])
    assert distance_outside(at(position), LIMITS) == pytest.approx(0.04)
    assert distance_outside(at(middle()), LIMITS) == 0.0


# --- limits themselves ----------------------------------------------------------------------


def test_the_default_limits_are_those_of_the_documents() -> None:
    assert LIMITS.workspace_low.tolist() == [0.10, -0.25, 0.02]
    assert LIMITS.workspace_high.tolist() == [0.45, 0.25, 0.33]
    np.testing.assert_allclose(LIMITS.joint_low, np.array(JOINT_LOW) + 0.01, atol=1e-15)
    np.testing.assert_allclose(LIMITS.joint_high, np.array(JOINT_HIGH) - 0.01, atol=1e-15)
    assert JOINT_LOW == (-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158)
    assert JOINT_HIGH == (3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158)
    assert LIMITS.joint_speed == np.pi
    assert LIMITS.profile_time == 0.25
    assert LIMITS.profile_acceleration_time == 0.10
    assert LIMITS.reading_tolerance == 0.06
    assert LIMITS.workspace_tolerance == 0.10


def test_the_default_workspace_cannot_be_written() -> None:
    for corner in (LIMITS.workspace_low, LIMITS.workspace_high):
        with pytest.raises(ValueError, match="read-only"):
            corner[0] = 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"workspace_low": np.full(3, -0.8)},
        {"workspace_high": np.full(3, 0.8)},
        {"profile_acceleration_time": 0.125},
        {"joint_speed": np.pi},
        {"joint_speed": 1e-3},
        {"reading_tolerance": 0.0, "workspace_tolerance": 0.0},
        {"workspace_low": np.array([0.4499, -0.25, 0.02])},
    ],
)
def test_limits_at_the_edge_of_what_is_possible_are_accepted(
    change: dict[str, Any],
) -> None:
    Limits(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workspace_low": np.array([0.5, 0, 0])}, "lower workspace limit"),
        ({"workspace_low": LIMITS.workspace_high}, "lower workspace limit"),
        ({"workspace_low": np.array([0.1, 0.3, 0.02])}, "lower workspace limit"),
        ({"joint_low": LIMITS.joint_high}, "lower joint limit"),
        ({"workspace_high": np.full(3, np.inf)}, "workspace_high is not finite"),
        ({"workspace_low": np.full(3, np.nan)}, "workspace_low is not finite"),
        ({"workspace_low": np.zeros(2)}, r"workspace_low has shape \(2,\)"),
        ({"workspace_high": np.full(3, 0.81)}, "within 0.8 m of the base"),
        ({"workspace_high": np.array([0.45, 0.25, 0.81])}, "within 0.8 m of the base"),
        ({"workspace_low": np.full(3, -0.81)}, "within 0.8 m of the base"),
        ({"joint_low": np.zeros(5)}, r"joint_low has shape \(5,\)"),
        ({"joint_high": np.full(6, np.nan)}, "joint_high is not finite"),
        ({"profile_acceleration_time": 0.126}, "half of profile_time"),
        ({"profile_acceleration_time": 0.0}, "half of profile_time"),
        ({"joint_speed": np.pi + 1e-6}, "joint_speed"),
        ({"joint_speed": 0.0}, "joint_speed"),
        ({"joint_speed": np.nan}, "joint_speed"),
        ({"reading_tolerance": np.nan}, "reading_tolerance"),
        ({"reading_tolerance": -1e-3}, "reading_tolerance"),
        ({"workspace_tolerance": np.inf}, "workspace_tolerance"),
        ({"workspace_tolerance": np.nan}, "workspace_tolerance"),
    ],
)
def test_contradictory_limits_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LimitsError, match=message):
        Limits(**change)
