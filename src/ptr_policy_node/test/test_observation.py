"""The policy's buffer and its schedule, without ROS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptr_common.errors import PtrError
from ptr_policy_node.observation import ArmObservation, ObservationBuffer, StepSchedule

SECOND = 1_000_000_000


def taken(schedule: StepSchedule, stamps: list[int]) -> list[int]:
    return [stamp for stamp in stamps if schedule.take(stamp)]


@pytest.mark.parametrize("rate", [5, 10, 15, 30, 60])
def test_steps_fall_on_images_one_period_apart(rate: int) -> None:
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
    steps = taken(
        StepSchedule(5.0), np.cumsum(np.array(pauses) * SECOND).astype(int).tolist()
    )
    assert np.diff(steps).min(initial=SECOND) >= SECOND // 10


def test_stamps_that_go_back_do_not_stop_the_steps() -> None:
    schedule = StepSchedule(5.0)
    assert schedule.take(3600 * SECOND)
    stamps = [k * SECOND // 30 for k in range(30)]
    assert len(taken(schedule, stamps)) == 5


def test_restart_takes_the_next_image() -> None:
    schedule = StepSchedule(5.0)
    assert schedule.take(0)
    assert not schedule.take(1000)
    schedule.restart()
    assert schedule.take(2000)


def complete_buffer() -> ObservationBuffer:
    buffer = ObservationBuffer(max_image_age=0.2, max_state_age=0.2)
    buffer.start(SECOND)
    buffer.image_ns = 2 * SECOND
    buffer.add_arm(ArmObservation(2 * SECOND, np.zeros(7)))
    return buffer


def test_fresh_inputs_are_complete() -> None:
    assert complete_buffer().problem(2 * SECOND + SECOND // 10) == ""


def test_late_image_is_named() -> None:
    buffer = complete_buffer()
    buffer.add_arm(ArmObservation(3 * SECOND, np.zeros(7)))
    assert buffer.problem(3 * SECOND) == "image is 1.000 s old; at most 0.2 s are allowed"


def test_image_of_the_future_is_named() -> None:
    buffer = complete_buffer()
    buffer.image_ns = 5 * SECOND
    expected = "image is stamped 3.000 s in the future; at most 0.05 s are allowed"
    assert buffer.problem(2 * SECOND).startswith(expected)


def test_arm_state_of_the_future_is_named() -> None:
    buffer = complete_buffer()
    buffer.add_arm(ArmObservation(3 * SECOND, np.zeros(7)))
    expected = "arm state is stamped 1.000 s in the future"
    assert buffer.problem(2 * SECOND).startswith(expected)


def test_late_arm_state_is_named() -> None:
    buffer = complete_buffer()
    buffer.image_ns = 3 * SECOND
    assert (
        buffer.problem(3 * SECOND) == "arm state is 1.000 s old; at most 0.2 s are allowed"
    )


def test_image_from_before_the_episode_does_not_count() -> None:
    buffer = complete_buffer()
    buffer.image_ns = SECOND - 1
    assert "no image since the episode began" in buffer.problem(SECOND)


def test_missing_arm_state_is_named() -> None:
    buffer = ObservationBuffer(max_image_age=0.2, max_state_age=0.2)
    buffer.image_ns = 2 * SECOND
    assert buffer.problem(2 * SECOND) == "no arm state yet"


def test_arm_state_that_is_not_finite_is_refused() -> None:
    buffer = complete_buffer()
    buffer.add_arm(ArmObservation(2 * SECOND, np.array([np.nan] + [0.0] * 6)))
    assert "not finite" in buffer.problem(2 * SECOND)


def test_holding_arm_is_not_commanded() -> None:
    buffer = complete_buffer()
    buffer.add_arm(
        ArmObservation(
            2 * SECOND, np.zeros(7), "arm does not take commands: stopped by the operator"
        )
    )
    assert "stopped by the operator" in buffer.problem(2 * SECOND)


def buffer_of(latency: float, image_ms: int, states_ms: range) -> ObservationBuffer:
    """Return a buffer with one image, and arm states whose proprio is their stamp [ms]."""
    buffer = ObservationBuffer(max_image_age=0.2, max_state_age=0.2, camera_latency=latency)
    for ms in states_ms:
        buffer.add_arm(ArmObservation(ms * 1_000_000, np.full(7, ms)))
    buffer.image_ns = image_ms * 1_000_000
    return buffer


def paired(buffer: ObservationBuffer) -> int | None:
    return (
        None if buffer.arm_at_exposure is None else int(buffer.arm_at_exposure.proprio[0])
    )


def test_image_is_paired_with_the_arm_state_of_its_exposure() -> None:
    states = range(0, 2000, 50)
    assert paired(buffer_of(0.1, 1920, states)) == 1800
    assert paired(buffer_of(0.07, 1920, states)) == 1850
    assert paired(buffer_of(0.0699, 1920, states)) == 1850


def test_image_whose_stamp_is_true_is_paired_with_the_newest_arm_state() -> None:
    assert paired(buffer_of(0.0, 1920, range(0, 2000, 50))) == 1950


def test_arm_state_from_after_the_image_was_exposed_does_not_stand_in_for_the_right_one() -> (
    None
):
    buffer = buffer_of(0.1, 1920, range(1850, 2000, 50))
    assert paired(buffer) is None
    assert (
        buffer.problem(1_960_000_000)
        == "no arm state from the time of the image's exposure"
    )


def test_a_hole_in_the_arm_states_where_the_image_was_exposed_is_named() -> None:
    buffer = buffer_of(0.1, 1920, range(1500, 2000, 400))
    assert paired(buffer) == 1500
    assert (
        buffer.problem(1_960_000_000)
        == "arm state of the image is 0.320 s old; at most 0.2 s are allowed"
    )


def test_age_of_a_image_counts_from_its_exposure() -> None:
    buffer = buffer_of(0.1, 1920, range(0, 2000, 50))
    assert buffer.problem(2_010_000_000) == ""
    assert (
        buffer.problem(2_030_000_000) == "image is 0.210 s old; at most 0.2 s are allowed"
    )


def test_image_exposed_before_the_episode_does_not_count_although_it_is_stamped_later() -> (
    None
):
    buffer = buffer_of(0.1, 1920, range(0, 2000, 50))
    buffer.start_ns = 1_830_000_000
    assert "no image since the episode began" in buffer.problem(1_930_000_000)
    buffer.start_ns = 1_820_000_000
    assert buffer.problem(1_930_000_000) == ""


def test_latency_that_no_image_could_be_young_enough_for_is_refused() -> None:
    with pytest.raises(
        PtrError,
        match=r"camera_latency is 0.25 s: no image would be younger than max_image_age, 0.2 s",
    ):
        ObservationBuffer(max_image_age=0.2, max_state_age=0.2, camera_latency=0.25)


@given(st.floats(0.0, 0.19), st.integers(0, 300), st.floats(0.0, 1.0))
def test_the_pair_is_what_the_exporter_would_take(
    latency: float, late_ms: int, phase: float
) -> None:
    """As `alignment.newest` on stamps minus the latency, whatever states came afterwards."""
    stamps = [round((k * 50 + 50 * phase) * 1e6) for k in range(60)]
    image_ns = 2_000_000_000
    buffer = ObservationBuffer(max_image_age=0.2, max_state_age=0.2, camera_latency=latency)
    for stamp in stamps:
        if stamp <= image_ns + late_ms * 1_000_000:
            buffer.add_arm(ArmObservation(stamp, np.full(7, stamp)))
    buffer.image_ns = image_ns
    exposure_ns = image_ns - round(latency * 1e9)
    wanted = (
        buffer.arm
        if exposure_ns == image_ns
        else ArmObservation(
            stamps[np.searchsorted(stamps, exposure_ns, "right") - 1], np.zeros(7)
        )
    )
    assert buffer.arm_at_exposure is not None
    assert wanted is not None
    assert buffer.arm_at_exposure.stamp_ns == wanted.stamp_ns
