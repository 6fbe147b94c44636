"""The policy's inputs and its schedule, without ROS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptr_policy_node.observation import ArmInput, Inputs, StepSchedule

SECOND = 1_000_000_000


def taken(schedule: StepSchedule, stamps: list[int]) -> list[int]:
    return [stamp for stamp in stamps if schedule.take(stamp)]


@pytest.mark.parametrize("rate", [5, 10, 15, 30, 60])
def test_steps_fall_on_pictures_one_period_apart(rate: int) -> None:
    stamps = [round(k * SECOND / rate) for k in range(10 * rate)]
    steps = taken(StepSchedule(5.0), stamps)
    assert len(steps) == 50
    assert np.allclose(np.diff(steps), SECOND / 5, atol=2)


@given(
    st.floats(6.0, 61.0),
    st.lists(st.floats(-0.004, 0.004), min_size=300, max_size=300),
)
def test_rate_is_kept_whatever_the_camera(rate: float, jitter: list[float]) -> None:
    stamps = sorted(round((k / rate + shift) * 1e9) for k, shift in enumerate(jitter))
    steps = taken(StepSchedule(5.0), stamps)
    lasted = (stamps[-1] - stamps[0]) * 1e-9
    assert abs(len(steps) - (1 + lasted * 5.0)) <= 1.0 + lasted * 5.0 * 0.02
    assert min(np.diff(steps)) * 1e-9 > 0.2 - 0.02 - 1 / rate


def test_missed_steps_are_not_made_up_for() -> None:
    schedule = StepSchedule(5.0)
    before = taken(schedule, [0, SECOND // 5])
    after = taken(schedule, [10 * SECOND + k * SECOND // 30 for k in range(6)])
    assert len(before) == 2
    assert len(after) == 1


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=200))
def test_steps_never_follow_each_other_too_closely(pauses: list[float]) -> None:
    steps = taken(StepSchedule(5.0), np.cumsum(np.array(pauses) * SECOND).astype(int).tolist())
    assert np.diff(steps).min(initial=SECOND) >= SECOND // 10


def test_restart_takes_the_next_picture() -> None:
    schedule = StepSchedule(5.0)
    assert schedule.take(0)
    assert not schedule.take(1000)
    schedule.restart()
    assert schedule.take(2000)


def complete_inputs() -> Inputs:
    inputs = Inputs(max_image_age=0.2, max_state_age=0.2)
    inputs.start(SECOND)
    inputs.image_ns = 2 * SECOND
    inputs.arm = ArmInput(2 * SECOND, np.zeros(7))
    return inputs


def test_fresh_inputs_are_complete() -> None:
    assert complete_inputs().problem(2 * SECOND + SECOND // 10) == ""


def test_late_image_is_named() -> None:
    inputs = complete_inputs()
    inputs.arm = ArmInput(3 * SECOND, np.zeros(7))
    assert inputs.problem(3 * SECOND) == "image is 1.000 s old; at most 0.2 s are allowed"


def test_late_arm_state_is_named() -> None:
    inputs = complete_inputs()
    inputs.image_ns = 3 * SECOND
    assert inputs.problem(3 * SECOND) == "arm state is 1.000 s old; at most 0.2 s are allowed"


def test_image_from_before_the_episode_does_not_count() -> None:
    inputs = complete_inputs()
    inputs.image_ns = SECOND - 1
    assert "no image since the episode began" in inputs.problem(SECOND)


def test_missing_arm_state_is_named() -> None:
    inputs = complete_inputs()
    inputs.arm = None
    assert inputs.problem(2 * SECOND) == "no arm state yet"


def test_arm_state_that_is_not_finite_is_refused() -> None:
    inputs = complete_inputs()
    inputs.arm = ArmInput(2 * SECOND, np.array([np.nan] + [0.0] * 6))
    assert "not finite" in inputs.problem(2 * SECOND)


def test_holding_arm_is_not_commanded() -> None:
    inputs = complete_inputs()
    inputs.arm = ArmInput(2 * SECOND, np.zeros(7), "arm does not take commands: stopped by the operator")
    assert "stopped by the operator" in inputs.problem(2 * SECOND)
