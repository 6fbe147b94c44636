from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.arm.kinematics import pose_from_proprio
from widowx_bringup.arm.limits import (
    Limits,
    LimitsError,
    clip_action,
    clip_workspace,
    gate_joints,
    implausible,
)

LIMITS = Limits()
START = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])

anything = st.one_of(
    arrays.arrays(float, st.integers(0, 8), elements=st.floats(width=64)),
    arrays.arrays(float, 6, elements=st.floats(-4, 4)),
    st.none(),
    st.text(),
    st.lists(st.one_of(st.none(), st.floats()), max_size=8),
)


@given(
    target=arrays.arrays(float, 6, elements=st.floats()),
    measured=arrays.arrays(float, 6, elements=st.floats(-4, 4)),
)
def test_whatever_leaves_the_gate_is_finite_inside_and_slow_enough(
    target: np.ndarray, measured: np.ndarray
) -> None:
    gated = gate_joints(target, measured, LIMITS)
    if gated.positions is None:
        assert gated.reason
        return
    assert np.isfinite(gated.positions).all()
    assert (gated.positions >= LIMITS.joint_low).all()
    assert (gated.positions <= LIMITS.joint_high).all()
    assert np.abs(gated.positions - measured).max() <= LIMITS.joint_step + 1e-9


@given(
    arrays.arrays(float, 6, elements=st.floats(-4, 4)),
    arrays.arrays(float, 6, elements=st.floats(-1.5, 1.5)),
)
def test_the_gate_lets_its_own_answer_pass_unchanged(
    target: np.ndarray, measured: np.ndarray
) -> None:
    first = gate_joints(target, measured, LIMITS)
    assert first.positions is not None
    second = gate_joints(first.positions, measured, LIMITS)
    assert second.positions is not None
    assert not second.clipped
    np.testing.assert_allclose(second.positions, first.positions, atol=1e-9)


def test_an_allowed_target_passes_untouched() -> None:
    gated = gate_joints(START + 0.1, START, LIMITS)
    assert not gated.clipped
    np.testing.assert_array_equal(gated.positions, START + 0.1)


def test_a_fast_target_is_brought_nearer_on_the_straight_line() -> None:
    way = np.array([1.0, 0.5, 0, 0, 0, 0])
    gated = gate_joints(START + way, START, LIMITS)
    assert gated.clipped
    assert gated.reason == "joint speed limit"
    np.testing.assert_allclose(gated.positions - START, way * LIMITS.joint_step, atol=1e-9)


def test_the_longest_step_keeps_the_profile_below_the_servos_speed() -> None:
    # A 250/100 ms trapezoid from rest covers way = speed * (0.25 - 0.10) s.
    assert LIMITS.joint_step == pytest.approx(np.pi * 0.15)


@pytest.mark.parametrize("length", [0, 5, 7])
def test_a_target_of_another_length_is_refused(length: int) -> None:
    assert "shape" in gate_joints(np.zeros(length), START, LIMITS).reason


def test_a_failed_bus_read_is_recognised() -> None:
    assert "servo bus" in implausible(np.full(6, -np.pi), LIMITS)
    assert gate_joints(START, np.full(6, -np.pi), LIMITS).positions is None


def test_a_reading_outside_the_limits_names_the_joint() -> None:
    reading = START.copy()
    reading[2] = 2.5
    assert "joint 2 reads 2.500 rad" in implausible(reading, LIMITS)


def test_the_named_poses_are_plausible() -> None:
    for q in (
        [0] * 6,
        [0, -1.80, 1.55, 0, 0.8, 0],
        [-0.13, -0.76, 0.44, -0.02, 1.76, -0.16],
    ):
        assert implausible(np.array(q, dtype=float), LIMITS) == ""


@given(anything)
def test_whatever_leaves_the_action_check_is_within_bounds(action: Any) -> None:
    step, _, reason = clip_action(action)
    if step is None:
        assert reason
        return
    assert (step >= ACTION_LOW).all()
    assert (step <= ACTION_HIGH).all()


@given(arrays.arrays(float, 7, elements=st.floats(-1e6, 1e6)))
def test_clipping_an_action_twice_changes_nothing_more(action: Any) -> None:
    once, _, _ = clip_action(action)
    assert once is not None
    twice, shortened, _ = clip_action(once)
    np.testing.assert_array_equal(once, twice)
    assert not shortened


def test_the_workspace_box_moves_the_position_and_keeps_the_rotation() -> None:
    target = pose_from_proprio(np.array([0.6, -0.4, -0.1, 0.1, 0.2, 0.3]))
    inside, clipped = clip_workspace(target, LIMITS)
    assert clipped
    np.testing.assert_allclose(inside[:3, 3], [0.45, -0.25, 0.02])
    np.testing.assert_array_equal(inside[:3, :3], target[:3, :3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workspace_low": np.array([0.5, 0, 0])}, "lower limit"),
        ({"workspace_high": np.full(3, np.inf)}, "within 0.8 m of the base"),
        ({"workspace_low": np.full(3, np.nan)}, "within 0.8 m of the base"),
        ({"workspace_low": np.zeros(2)}, "x, y, z within"),
        ({"profile_acceleration_time": 0.2}, "half of profile_time"),
        ({"joint_speed": 10.0}, "joint_speed"),
        ({"joint_speed": np.nan}, "joint_speed"),
    ],
)
def test_contradictory_limits_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LimitsError, match=message):
        Limits(**change)
