"""Ways of the arm's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from widowx_bringup.arm.joint_path import SPEED, JointPath, way_over
from widowx_bringup.arm.kinematics import Kinematics, pose_from_proprio
from widowx_bringup.arm.limits import Limits

KINEMATICS = Kinematics()
LIMITS = Limits()
START = KINEMATICS.inverse(
    pose_from_proprio(np.array([0.28, 0, 0.15, 0, 0, 0])), np.array([0, 0, 0.2, 0, 1.37, 0])
).joints
PERIOD = 0.02
SLEEP = np.array([0.0, -1.80, 1.55, 0.0, 0.8, 0.0])

proprios = st.tuples(
    *(
        st.floats(low, high)
        for low, high in zip(LIMITS.workspace_low, LIMITS.workspace_high, strict=True)
    ),
    *[st.floats(-0.5, 0.5)] * 3,
).map(np.array)


@given(proprios, proprios)
@settings(max_examples=60)
def test_on_its_way_over_the_gripper_is_never_lower_than_at_both_ends(
    start: np.ndarray, goal: np.ndarray
) -> None:
    joints = []
    for proprio in (start, goal):
        solution = KINEMATICS.inverse(pose_from_proprio(proprio), START)
        assume(solution.success)
        joints.append(solution.joints)
    for ends in (joints, [joints[0], SLEEP], [SLEEP, joints[1]]):
        at, heights = ends[0], []
        for through in way_over(*ends):
            for part in np.linspace(0, 1, 20):
                heights.append(KINEMATICS.forward(at + part * (through - at))[2, 3])
            at = through
        assert min(heights) > min(heights[0], heights[-1]) - 0.005


@pytest.mark.parametrize("follows", [1.0, 0.05])
def test_targets_move_slowly_and_end_at_the_goal_however_the_servos_move(
    follows: float,
) -> None:
    way, measured, sent = JointPath(START, SLEEP, PERIOD), START.copy(), [START]
    while not way.ended:
        target = way.advance(measured)
        if target is not None:
            assert np.abs(target - sent[-1]).max() <= SPEED * 0.1 + 1e-9
            sent.append(target)
        measured = measured + follows * (sent[-1] - measured)
    np.testing.assert_allclose(sent[-1], SLEEP, atol=1e-6)
    np.testing.assert_allclose(measured, SLEEP, atol=0.05)


def test_an_arm_that_sags_arrives_all_the_same() -> None:
    way, calls = JointPath(START, SLEEP, PERIOD), 0
    while not way.ended:
        way.advance(SLEEP + 0.1)
        calls += 1
    assert calls * PERIOD < 15.0
