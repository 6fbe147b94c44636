"""Joint targets and readings against the joints' ranges and speed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from arm_strategies import (
    LIMITS,
    START,
    TINY,
    anything,
    distances,
    passed,
    readings,
    refused,
)
from hypothesis import event, given, settings

from widowx_bringup.arm.limits import (
    Limits,
    check_reading,
    limit_joints,
)
from widowx_bringup.arm.refusal import Kind, LimitResult, Refusal

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
    high = LIMITS.joint_high.copy()
    high[1] = LIMITS.joint_step
    limits = Limits(joint_high=high)
    target = np.zeros(6)
    target[1] = high[1] + 0.5
    assert passed(limit_joints(target, np.zeros(6), limits)).clipped == (Kind.JOINT_LIMIT,)


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
    assert LIMITS.joint_step == pytest.approx(0.9 * np.pi * 0.15)


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
