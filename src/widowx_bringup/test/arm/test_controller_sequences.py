"""Whole sequences of steps: what the arm is sent is safe and follows from what is reported."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from arm_strategies import LIMITS, LaggingArm, allowed_steps, large_steps, readings
from controller_rig import (
    KINEMATICS,
    STARTS,
    anything,
    controller,
    make_arm,
)
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import step_target
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.limits import distance_outside
from widowx_bringup.arm.refusal import Kind, StepResult


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(allowed_steps, arrays.arrays(float, 7, elements=st.floats())), max_size=12
    ),
    st.floats(0.1, 1),
)
def test_replaying_the_executed_steps_gives_the_commanded_targets(
    actions: list[np.ndarray], share: float
) -> None:
    arm = make_arm(share)
    control = controller(arm)
    target = None
    for action in actions:
        measured = KINEMATICS.forward(arm.joints)
        executed = control.execute(action).executed
        target = step_target(executed, measured, measured if target is None else target)
        if control.target is None:
            target = None  # no step has been accepted: the arm has no target yet
            continue
        np.testing.assert_allclose(target, control.target, atol=1e-8)


def check_step(arm: LaggingArm, control: EefController, action: Any) -> StepResult:
    """Execute a step and check all that is promised of what the arm gets."""
    measured, sent = arm.joints, len(arm.targets)
    result = control.execute(action)
    assert np.isfinite(result.executed).all()
    assert (len(arm.targets) == sent) == result.rejected
    if result.rejected:
        return result
    target = arm.targets[-1]
    assert (target.positions >= LIMITS.joint_low).all()
    assert (target.positions <= LIMITS.joint_high).all()
    assert np.abs(target.positions - measured).max() <= control.limits.joint_step + 1e-9
    assert 0 <= target.gripper <= 1
    before = distance_outside(KINEMATICS.forward(measured), LIMITS)
    after = distance_outside(KINEMATICS.forward(target.positions), LIMITS)
    assert after <= before + 2e-3
    return result


def test_whatever_is_asked_the_arm_gets_safe_targets() -> None:
    """Most steps reach the limits or the arm; insane ones are among them."""
    reached: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(
        st.sampled_from(STARTS),
        st.lists(
            st.one_of(large_steps, large_steps, large_steps, anything),
            min_size=4,
            max_size=15,
        ),
        st.floats(0.0, 1.0),
        st.sampled_from([np.pi, 0.5]),
    )
    def check(
        start: np.ndarray, actions: list[np.ndarray], share: float, speed: float
    ) -> None:
        arm = LaggingArm(start, share)
        control = controller(arm, joint_speed=speed)
        for action in actions:
            result = check_step(arm, control, action)
            reached["all"] += 1
            reached["sent"] += not result.rejected
            for kind in result.clipped:
                reached[kind.value] += 1
                event(kind.value)

    check()
    assert reached["sent"] > reached["all"] / 4
    assert reached[Kind.ACTION_BOUNDS.value] > reached["all"] / 10
    assert reached[Kind.WORKSPACE_BOX.value] > 5
    assert reached[Kind.JOINT_SPEED.value] > 5


def test_from_every_plausible_reading_the_arm_gets_a_safe_target_or_none() -> None:
    """The arm starts near its start pose, with some joints at or beyond their limits."""
    reached: Counter[bool] = Counter()

    @settings(max_examples=100)
    @given(readings, st.sets(st.integers(0, 5), max_size=2), large_steps)
    def check(reading: np.ndarray, joints: set[int], action: np.ndarray) -> None:
        arm = make_arm()
        for joint in joints:
            arm.joints[joint] = reading[joint]
        result = check_step(arm, controller(arm), action)
        reached[result.rejected] += 1

    check()
    assert reached[False] > 20
