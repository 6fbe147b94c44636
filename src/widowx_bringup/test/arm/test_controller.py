from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, JOINT_NAMES
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics, pose_from_proprio, step_target
from widowx_bringup.arm.limits import Limits, distance_outside
from widowx_bringup.arm.protocol import Arm, ArmFeatures, JointReading, JointTarget

KINEMATICS = Kinematics()
LIMITS = Limits()
START = KINEMATICS.inverse(
    pose_from_proprio(np.array([0.28, 0, 0.15, 0, 0, 0])), np.array([0, 0, 0.2, 0, 1.37, 0])
).joints

full_steps = st.tuples(
    *(st.floats(lo, hi) for lo, hi in zip(ACTION_LOW, ACTION_HIGH, strict=True))
).map(np.array)

anything = arrays.arrays(float, st.integers(0, 8), elements=st.floats(width=64))


class LaggingArm:
    """Comes only part of the way to each target: the device below the seam, with nothing of ours in it."""

    def __init__(self, share: float = 0.9) -> None:
        self.features = ArmFeatures(
            "lagging", JOINT_NAMES, LIMITS.joint_low, LIMITS.joint_high, np.full(6, np.pi)
        )
        self.notes: dict[str, object] = {}
        self.share = share
        self.joints = START.copy()
        self.targets: list[JointTarget] = []

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def hold(self) -> None: ...
    def prepare(self) -> None: ...
    def watch(self) -> None: ...

    def read(self, max_age: float = 0.2) -> JointReading:
        return JointReading(len(self.targets), self.joints.copy(), np.zeros(6), 1.0)

    def send(self, target: JointTarget) -> JointTarget:
        self.targets.append(target)
        self.joints = self.joints + self.share * (target.positions - self.joints)
        return target


def controller(arm: Arm, **limits: Any) -> EefController:
    return EefController(arm, KINEMATICS, replace(LIMITS, **limits))


def commanded(control: EefController) -> np.ndarray:
    """Return the position last commanded."""
    assert control.target is not None
    return control.target[:3, 3]


def step(**changes: float) -> np.ndarray:
    names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    return np.array([changes.get(name, 0.0) for name in names])


def test_an_allowed_step_is_executed_as_requested() -> None:
    arm = LaggingArm()
    execution = controller(arm).execute(step(x=0.02, yaw=0.1, gripper=1))
    np.testing.assert_allclose(
        execution.executed, step(x=0.02, yaw=0.1, gripper=1), atol=1e-9
    )
    assert not execution.clipped
    assert not execution.rejected
    assert execution.reason == ""
    moved = (
        KINEMATICS.forward(arm.targets[0].positions)[:3, 3]
        - KINEMATICS.forward(START)[:3, 3]
    )
    np.testing.assert_allclose(moved, [0.02, 0, 0], atol=1e-3)


def test_steps_add_up_on_the_commanded_target() -> None:
    arm = LaggingArm(share=0.3)
    control = controller(arm)
    for _ in range(3):
        control.execute(step(y=0.02))
    np.testing.assert_allclose(
        commanded(control) - KINEMATICS.forward(START)[:3, 3], [0, 0.06, 0], atol=1e-9
    )


def test_reset_starts_again_from_the_measured_pose() -> None:
    arm = LaggingArm(share=0.3)
    control = controller(arm)
    control.execute(step(y=0.04))
    control.reset()
    measured = KINEMATICS.forward(arm.joints)
    control.execute(step(y=0.01))
    np.testing.assert_allclose(
        commanded(control) - measured[:3, 3], [0, 0.01, 0], atol=1e-9
    )


def test_the_first_step_after_a_failed_inverse_starts_from_the_measured_pose() -> None:
    arm = LaggingArm(share=0.3)
    control = controller(
        arm, workspace_high=np.array([0.8, 0.8, 0.8]), workspace_tolerance=1.0
    )
    while not control.execute(step(x=0.05, z=0.05)).rejected:
        assert len(arm.targets) < 40
    sent, measured = len(arm.targets), KINEMATICS.forward(arm.joints)
    assert control.rejected == 1
    control.execute(step(x=-0.01))
    assert len(arm.targets) == sent + 1
    np.testing.assert_allclose(
        commanded(control) - measured[:3, 3], [-0.01, 0, 0], atol=1e-9
    )


def test_the_step_after_a_joint_limit_starts_from_the_measured_pose() -> None:
    arm = LaggingArm(share=0.5)
    control = controller(arm, joint_speed=0.2)
    assert control.execute(step(x=0.05)).reason == "joint speed limit"
    measured = KINEMATICS.forward(arm.joints)
    control.execute(step(z=0.002))
    np.testing.assert_allclose(
        commanded(control) - measured[:3, 3], [0, 0, 0.002], atol=1e-9
    )


def test_the_workspace_box_stops_the_target_and_it_does_not_run_away() -> None:
    control = controller(LaggingArm())
    for _ in range(10):
        execution = control.execute(step(z=-0.05))
    assert execution.reason == "workspace box"
    assert commanded(control)[2] == pytest.approx(LIMITS.workspace_low[2])
    control.execute(step(z=0.03))
    assert commanded(control)[2] == pytest.approx(LIMITS.workspace_low[2] + 0.03)


def test_clipped_and_rejected_steps_are_counted() -> None:
    control = controller(LaggingArm())
    control.execute(step(x=0.2))
    control.execute(step(x=np.nan))
    control.execute(np.zeros(6))
    assert (control.clipped, control.rejected) == (1, 2)


@pytest.mark.parametrize(
    "action", [np.full(7, np.nan), np.full(7, np.inf), np.zeros(3), None, "up", [[0] * 7]]
)
def test_a_broken_action_is_rejected_and_nothing_is_sent(action: Any) -> None:
    arm = LaggingArm()
    execution = controller(arm).execute(action)
    assert execution.rejected
    assert "action" in execution.reason
    assert not arm.targets
    np.testing.assert_array_equal(execution.executed[:6], np.zeros(6))


@pytest.mark.parametrize(
    "joints", [np.full(6, -np.pi), np.full(6, np.nan), np.zeros(5), np.full(6, 3.0)]
)
def test_nothing_is_sent_on_a_reading_that_cannot_be_true(joints: np.ndarray) -> None:
    arm = LaggingArm()
    arm.joints = joints
    execution = controller(arm).execute(step(x=0.01))
    assert execution.rejected
    assert not arm.targets


def test_nothing_is_sent_while_the_arm_is_far_outside_its_workspace() -> None:
    arm = LaggingArm()
    arm.joints = np.zeros(6)  # straight ahead, 36 cm high
    execution = controller(arm, workspace_high=np.array([0.45, 0.25, 0.25])).execute(
        step(z=-0.01)
    )
    assert "0.11 m outside the workspace box" in execution.reason
    assert not arm.targets


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(full_steps, arrays.arrays(float, 7, elements=st.floats())), max_size=12
    ),
    st.floats(0.1, 1),
)
def test_replaying_the_executed_steps_gives_the_commanded_targets(
    actions: list[np.ndarray], share: float
) -> None:
    arm = LaggingArm(share)
    control = controller(arm)
    target = None
    for action in actions:
        measured = KINEMATICS.forward(arm.joints)
        executed = control.execute(action).executed
        target = step_target(executed, measured, measured if target is None else target)
        expected = measured if control.target is None else control.target
        if control.target is None:
            target = (
                None  # no step was accepted yet: the arm has no target but where it stands
            )
            continue
        np.testing.assert_allclose(target, expected, atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(full_steps, arrays.arrays(float, 7, elements=st.floats(-1, 1)), anything),
        max_size=15,
    ),
    st.floats(0.0, 1.0),
    st.sampled_from([np.pi, 0.5]),
)
def test_whatever_is_asked_the_arm_gets_safe_targets(
    actions: list[np.ndarray], share: float, speed: float
) -> None:
    arm = LaggingArm(share)
    control = controller(arm, joint_speed=speed)
    for action in actions:
        measured, sent = arm.joints, len(arm.targets)
        execution = control.execute(action)
        assert np.isfinite(execution.executed).all()
        assert (len(arm.targets) == sent) == execution.rejected
        if execution.rejected:
            continue
        target = arm.targets[-1]
        assert (target.positions >= LIMITS.joint_low).all()
        assert (target.positions <= LIMITS.joint_high).all()
        assert np.abs(target.positions - measured).max() <= control.limits.joint_step + 1e-9
        assert 0 <= target.gripper <= 1
        outside = distance_outside(KINEMATICS.forward(measured), LIMITS)
        assert (
            distance_outside(KINEMATICS.forward(target.positions), LIMITS) <= outside + 2e-3
        )
