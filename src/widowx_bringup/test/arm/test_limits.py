"""Actions and targets against their bounds and the workspace, and the limits themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from arm_strategies import (
    LIMITS,
    allowed_steps,
    anything,
    large_steps,
    passed,
    refused,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, pose, pose_from_proprio
from widowx_bringup.arm.limits import (
    JOINT_HIGH,
    JOINT_LOW,
    Limits,
    LimitsError,
    clip_action,
    clip_workspace,
    distance_outside,
    limit_joints,
)
from widowx_bringup.arm.refusal import Kind, LimitResult

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
