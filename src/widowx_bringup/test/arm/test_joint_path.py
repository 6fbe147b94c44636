"""Paths of the motions that the arm makes by itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptr_common.action_space import pose_from_proprio
from widowx_bringup.arm.joint_path import (
    REACHED,
    SEND_PERIOD,
    SETTLING,
    SPEED,
    JointPath,
    waypoints,
)
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import Limits

KINEMATICS = Kinematics()
LIMITS = Limits()
START = KINEMATICS.inverse(
    pose_from_proprio(np.array([0.28, 0, 0.15, 0, 0, 0])), np.array([0, 0, 0.2, 0, 1.37, 0])
)
PERIOD = 0.02
SLEEP = np.array([0.0, -1.80, 1.55, 0.0, 0.8, 0.0])


def _proprios() -> st.SearchStrategy[np.ndarray]:
    parts = []
    for low, high in zip(LIMITS.workspace_low, LIMITS.workspace_high, strict=True):
        parts.append(st.floats(low, high))
    return st.tuples(*parts, *[st.floats(-0.5, 0.5)] * 3).map(np.array)


def test_the_speed_and_the_times_of_a_path_are_those_of_the_documents() -> None:
    assert (SPEED, SEND_PERIOD) == (0.5, 0.1)
    assert (REACHED, SETTLING) == (0.03, 1.0)


def heights_along(start: np.ndarray, goal: np.ndarray) -> list[float]:
    """Return the heights of the gripper on the path between two postures [m]."""
    heights = []
    before = start
    for waypoint in waypoints(start, goal):
        for part in np.linspace(0, 1, 20):
            joints = before + part * (waypoint - before)
            heights.append(float(KINEMATICS.forward(joints)[2, 3]))
        before = waypoint
    return heights


def test_on_a_path_the_gripper_is_never_lower_than_at_both_ends() -> None:
    reached: Counter[bool] = Counter()

    @given(_proprios(), _proprios())
    @settings(max_examples=60)
    def check(start: np.ndarray, goal: np.ndarray) -> None:
        ends = []
        for proprio in (start, goal):
            ends.append(KINEMATICS.inverse(pose_from_proprio(proprio), START))
        reachable = all(isinstance(joints, np.ndarray) for joints in ends)
        reached[reachable] += 1
        if not reachable:
            return
        for begin, end in (ends, (ends[0], SLEEP), (SLEEP, ends[1])):
            heights = heights_along(begin, end)
            assert min(heights) > min(heights[0], heights[-1]) - 0.005

    check()
    assert reached[True] > 15


def test_the_arm_is_drawn_back_at_both_ends_of_a_path() -> None:
    goal = np.array([0.5, 0.3, 0.7, 0.1, 0.2, 0.3])
    first, second, last = waypoints(SLEEP, goal)
    np.testing.assert_array_equal(first, [0.0, -1.2, 1.0, 0.0, 0.8, 0.0])
    np.testing.assert_array_equal(second, [0.5, -1.2, 0.7, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(last, goal)


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_targets_move_slowly_and_end_at_the_goal_however_the_servos_move(
    share: float,
) -> None:
    path = JointPath(START, SLEEP, PERIOD)
    measured = START.copy()
    sent = [START]
    while not path.ended:
        target = path.advance(measured)
        if target is not None:
            assert np.abs(target - sent[-1]).max() <= SPEED * SEND_PERIOD + 1e-9
            sent.append(target)
        measured = measured + share * (sent[-1] - measured)
    np.testing.assert_allclose(sent[-1], SLEEP, atol=1e-6)
    np.testing.assert_allclose(measured, SLEEP, atol=0.05)


def test_a_target_is_sent_in_every_fifth_call() -> None:
    path = JointPath(START, SLEEP, PERIOD)
    sent = [path.advance(START) is not None for _ in range(20)]
    assert sent == 4 * [False, False, False, False, True]


def calls_at_goal(error: float) -> int:
    """Return how often a path is advanced at its goal, by an arm that is so far from it."""
    path = JointPath(SLEEP, SLEEP, PERIOD)
    measured = SLEEP.copy()
    measured[5] += error
    calls = 0
    while not path.ended:
        path.advance(measured)
        calls += path._calls_at_goal > 0
    return calls


def test_a_path_ends_in_the_call_after_the_goal_was_sent_if_the_arm_is_near() -> None:
    assert calls_at_goal(0.0) == 2
    assert calls_at_goal(REACHED - 1e-6) == 2


def test_an_arm_that_sags_is_waited_for_one_second() -> None:
    assert calls_at_goal(REACHED + 1e-6) == round(SETTLING / PERIOD) + 1


def test_nothing_is_sent_after_the_end_of_a_path() -> None:
    path = JointPath(SLEEP, SLEEP, PERIOD)
    while not path.ended:
        path.advance(SLEEP)
    for _ in range(20):
        assert path.advance(SLEEP) is None


def test_an_arm_that_sags_arrives_all_the_same() -> None:
    path = JointPath(START, SLEEP, PERIOD)
    calls = 0
    while not path.ended:
        path.advance(SLEEP + 0.1)
        calls += 1
    assert calls * PERIOD < 15.0
