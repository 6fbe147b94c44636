"""The gripper's linkage and the effort that closes it without overloading its motor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptr_common.action_space import finger_of, opening_of
from widowx_bringup.arm.gripper import (
    ARM_LENGTH,
    FINGER_LIMITS,
    HORN_RADIUS,
    GripperRegulator,
    motor_angle,
)

CLOSED, OPEN = finger_of(0.0), finger_of(1.0)
OBJECT = 0.021  # half its width [m]


def push(
    regulator: GripperRegulator, finger: float, seconds: float, begin: float = 0.0
) -> list[float]:
    """Return the efforts of a time in which the finger stands still, at 50 Hz."""
    return [
        regulator.effort(finger, begin + step * 0.02)
        for step in range(round(seconds / 0.02))
    ]


def test_openings_are_those_of_bridge_data() -> None:
    assert (CLOSED, OPEN) == (0.010, 0.035)
    assert opening_of(FINGER_LIMITS[0]) == pytest.approx(0.2)


@given(st.floats(*FINGER_LIMITS))
def test_the_motor_angle_inverts_the_linkage(finger: float) -> None:
    angle = motor_angle(finger)
    position = HORN_RADIUS * np.sin(angle) + np.sqrt(
        ARM_LENGTH**2 - HORN_RADIUS**2 * np.cos(angle) ** 2
    )
    assert position == pytest.approx(finger, abs=1e-9)


@pytest.mark.parametrize(
    ("finger", "angle"), [(0.0195, 0.0), (0.015, -0.378), (0.035, 1.040), (0.037, 1.268)]
)
def test_the_linkage_has_the_angles_of_the_makers_numbers(
    finger: float, angle: float
) -> None:
    assert motor_angle(finger) == pytest.approx(angle, abs=2e-3)


def test_effort_is_proportional_near_the_target_and_full_far_from_it() -> None:
    regulator = GripperRegulator()
    regulator.aim(OPEN)
    assert regulator.effort(0.020, 0.0) == 350.0
    assert regulator.effort(OPEN - 0.002, 0.02) == pytest.approx(350 * 300 * 0.002, abs=5)
    assert regulator.effort(OPEN - 0.0004, 0.04) == 0.0  # too little to move it


def test_before_the_first_target_nothing_pushes() -> None:
    assert GripperRegulator().effort(0.02, 0.0) == 0.0


def test_a_finger_that_meets_an_object_is_held_gently_after_a_second_and_let_go_at_last() -> (
    None
):
    regulator = GripperRegulator(hold_time=5.0)
    regulator.aim(CLOSED)
    efforts = push(regulator, OBJECT, 8.0)
    assert efforts[0] == -350.0
    assert efforts[60] == -180.0
    assert efforts[-1] == 0.0
    assert regulator.given_up


def test_the_same_target_again_does_not_begin_anew_and_another_does() -> None:
    regulator = GripperRegulator()
    regulator.aim(CLOSED)
    push(regulator, OBJECT, 2.0)
    regulator.aim(CLOSED)
    assert regulator.effort(OBJECT, 2.0) == -180.0
    regulator.aim(OPEN)
    assert regulator.effort(OBJECT, 2.02) == 350.0


def test_a_moving_finger_gets_the_full_effort_however_long_it_takes() -> None:
    regulator = GripperRegulator()
    regulator.aim(CLOSED)
    fingers = np.linspace(OPEN, 0.016, 300)
    assert {
        regulator.effort(float(finger), step * 0.02) for step, finger in enumerate(fingers)
    } == {-350.0}


def test_a_gripper_at_the_end_of_its_travel_does_not_push() -> None:
    regulator = GripperRegulator()
    regulator.aim(CLOSED)
    assert regulator.effort(FINGER_LIMITS[0] + 2e-4, 0.0) == 0.0


@given(st.floats(), st.floats(0, 1), st.floats(0, 1e4))
def test_whatever_is_measured_the_effort_is_finite_and_no_larger_than_allowed(
    finger: float, opening: float, now: float
) -> None:
    regulator = GripperRegulator()
    regulator.aim(finger_of(opening))
    effort = regulator.effort(finger, now)
    assert np.isfinite(effort)
    assert abs(effort) <= 350.0
