"""From steps of the end effector to joint targets, on an arm that lags behind its targets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from arm_strategies import LIMITS, LaggingArm
from controller_rig import (
    KINEMATICS,
    START,
    commanded,
    controller,
    joints_at,
    make_arm,
)

from ptr_common.action_space import proprio_from_pose
from widowx_bringup.arm.controller import STRAY_TOLERANCE, EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import Limits, distance_outside
from widowx_bringup.arm.protocol import JointTarget
from widowx_bringup.arm.refusal import Kind, Refusal, StepResult


def step(**changes: float) -> np.ndarray:
    names = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    return np.array([changes.get(name, 0.0) for name in names])


def refusal_of(result: StepResult) -> Refusal:
    """Return the refusal of a step that must have been refused as no motion."""
    assert result.refusal is not None
    assert result.rejected
    assert result.clipped == ()
    np.testing.assert_array_equal(result.executed[:6], np.zeros(6))
    return result.refusal


# --- steps ----------------------------------------------------------------------------------


def test_an_allowed_step_is_executed_as_requested() -> None:
    arm = make_arm()
    result = controller(arm).execute(step(x=0.02, yaw=0.1, gripper=0.7))
    expected = step(x=0.02, yaw=0.1, gripper=0.7)
    np.testing.assert_allclose(result.executed, expected, atol=1e-9)
    assert result.clipped == ()
    assert result.refusal is None
    assert result.reason == ""
    assert arm.targets[0].gripper == 0.7
    target = KINEMATICS.forward(arm.targets[0].positions)
    moved = target[:3, 3] - KINEMATICS.forward(START)[:3, 3]
    np.testing.assert_allclose(moved, [0.02, 0, 0], atol=1e-3)


def test_steps_add_up_on_the_commanded_target() -> None:
    control = controller(make_arm(share=0.3))
    for _ in range(3):
        control.execute(step(y=0.02))
    moved = commanded(control) - KINEMATICS.forward(START)[:3, 3]
    np.testing.assert_allclose(moved, [0, 0.06, 0], atol=1e-9)


def test_reset_starts_again_from_the_measured_pose() -> None:
    arm = make_arm(share=0.3)
    control = controller(arm)
    control.execute(step(y=0.04))
    assert control.target is not None
    control.reset()
    assert control.target is None
    measured = KINEMATICS.forward(arm.joints)
    result = control.execute(step(y=0.01))
    moved = commanded(control) - measured[:3, 3]
    np.testing.assert_allclose(moved, [0, 0.01, 0], atol=1e-9)
    np.testing.assert_allclose(result.executed, step(y=0.01), atol=1e-9)


def test_a_controller_without_limits_of_its_own_has_the_default_ones() -> None:
    control = EefController(make_arm(), KINEMATICS)
    for name, value in vars(Limits()).items():
        np.testing.assert_array_equal(getattr(control.limits, name), value)


def test_the_target_returned_is_a_copy() -> None:
    control = controller(make_arm())
    control.execute(step(y=0.01))
    before = commanded(control).copy()
    commanded(control)[:] = 0.0
    np.testing.assert_array_equal(commanded(control), before)


def test_the_state_is_the_reading_and_its_pose() -> None:
    arm = make_arm()
    arm.gripper = 0.4
    state = controller(arm).state()
    assert state.stamp_ns == 0
    np.testing.assert_array_equal(state.joints, START)
    np.testing.assert_array_equal(state.velocities, np.arange(6.0))
    pose = KINEMATICS.forward(START)
    np.testing.assert_array_equal(state.T_base_eef, pose)
    np.testing.assert_array_equal(state.proprio, proprio_from_pose(pose, 0.4))
    with pytest.raises(FrozenInstanceError):
        state.stamp_ns = 1  # type: ignore[misc]


# --- clipping -------------------------------------------------------------------------------


def test_a_step_beyond_the_bounds_is_clipped() -> None:
    result = controller(make_arm()).execute(step(x=0.2))
    assert result.clipped == (Kind.ACTION_BOUNDS,)
    np.testing.assert_allclose(result.executed, step(x=0.05), atol=1e-9)


def test_all_limits_that_changed_a_step_are_given_in_order() -> None:
    arm = make_arm()
    arm.joints = joints_at(0.44, 0.0, 0.15)
    result = controller(arm, joint_speed=0.01).execute(step(x=0.2))
    limits = (Kind.ACTION_BOUNDS, Kind.WORKSPACE_BOX, Kind.JOINT_SPEED)
    assert result.clipped == limits
    assert result.reason == "action bounds, workspace box, joint speed limit"


def test_the_step_after_a_joint_limit_starts_from_the_measured_pose() -> None:
    arm = make_arm(share=0.5)
    control = controller(arm, joint_speed=0.2)
    assert control.execute(step(x=0.05)).clipped == (Kind.JOINT_SPEED,)
    sent = KINEMATICS.forward(arm.targets[-1].positions)
    np.testing.assert_array_equal(control.target, sent)
    measured = KINEMATICS.forward(arm.joints)
    assert control.execute(step(z=0.002)).clipped == ()
    moved = commanded(control) - measured[:3, 3]
    np.testing.assert_allclose(moved, [0, 0, 0.002], atol=1e-9)
    before = commanded(control)
    control.execute(step(z=0.002))  # and the one after adds up on the commanded target
    np.testing.assert_allclose(commanded(control) - before, [0, 0, 0.002], atol=1e-9)


class RoundingArm(LaggingArm):
    """Commands the joints in single precision, as the real arm does, and half the gripper."""

    def send(self, target: JointTarget) -> JointTarget:
        super().send(target)
        positions = target.positions.astype(np.float32).astype(float)
        return JointTarget(positions, target.gripper / 2)


def test_what_the_arm_really_commanded_counts_as_executed() -> None:
    arm = RoundingArm(START)
    control = controller(arm, joint_speed=0.2)
    result = control.execute(step(x=0.05, gripper=0.8))
    sent = arm.targets[-1].positions.astype(np.float32).astype(float)
    np.testing.assert_array_equal(control.target, KINEMATICS.forward(sent))
    assert result.executed[6] == 0.4


def test_the_workspace_box_stops_the_target_and_it_does_not_run_away() -> None:
    control = controller(make_arm())
    for _ in range(10):
        result = control.execute(step(z=-0.05))
    assert result.clipped == (Kind.WORKSPACE_BOX,)
    assert commanded(control)[2] == pytest.approx(LIMITS.workspace_low[2])
    control.execute(step(z=0.03))
    assert commanded(control)[2] == pytest.approx(LIMITS.workspace_low[2] + 0.03)


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (np.full(7, np.nan), Kind.NOT_FINITE),
        (np.full(7, np.inf), Kind.NOT_FINITE),
        (step(x=np.nan), Kind.NOT_FINITE),
        (None, Kind.NOT_FINITE),
        (np.zeros(3), Kind.LENGTH),
        ("up", Kind.LENGTH),
        ([[0] * 7], Kind.LENGTH),
    ],
)
def test_a_broken_action_is_refused_and_nothing_is_sent(action: Any, kind: Kind) -> None:
    arm = make_arm()
    refusal = refusal_of(controller(arm).execute(action))
    assert refusal.kind is kind
    assert refusal.text.startswith("the action")
    assert not arm.targets


@pytest.mark.parametrize(
    ("joints", "kind"),
    [
        (np.full(6, -np.pi), Kind.READING),
        (np.full(6, 3.0), Kind.READING),
        (np.full(6, np.nan), Kind.NOT_FINITE),
        (np.zeros(5), Kind.LENGTH),
    ],
)
def test_nothing_is_sent_on_a_reading_that_cannot_be_true(
    joints: np.ndarray, kind: Kind
) -> None:
    arm = make_arm()
    arm.joints = joints
    refusal = refusal_of(controller(arm).execute(step(x=0.01)))
    assert refusal.kind is kind
    assert not arm.targets


def test_the_first_step_after_a_failed_inverse_starts_from_the_measured_pose() -> None:
    arm = make_arm(share=0.3)
    control = controller(
        arm, workspace_high=np.array([0.8, 0.8, 0.8]), workspace_tolerance=1.0
    )
    while not (result := control.execute(step(x=0.05, z=0.05))).rejected:
        assert len(arm.targets) < 40
    refusal = refusal_of(result)
    assert refusal.kind is Kind.UNREACHABLE
    assert refusal.text.startswith("no joints within the limits reach the target")
    sent, measured = len(arm.targets), KINEMATICS.forward(arm.joints)
    control.execute(step(x=-0.01))
    assert len(arm.targets) == sent + 1
    moved = commanded(control) - measured[:3, 3]
    np.testing.assert_allclose(moved, [-0.01, 0, 0], atol=1e-9)


def test_a_refused_step_keeps_the_target_and_rebases_the_next_one() -> None:
    arm = make_arm(share=0.3)
    control = controller(arm)
    control.execute(step(y=0.04))
    before = commanded(control).copy()
    control.execute(step(x=np.nan))
    np.testing.assert_array_equal(commanded(control), before)
    measured = KINEMATICS.forward(arm.joints)[:3, 3]
    result = control.execute(step(y=0.01))
    np.testing.assert_allclose(commanded(control) - measured, [0, 0.01, 0], atol=1e-9)
    assert result.executed[1] < 0  # the target moved back to where the arm is


def arm_outside(z_high: float) -> tuple[LaggingArm, EefController, float]:
    """Return an arm above a lowered workspace box, and the distance from it [m]."""
    arm = make_arm()
    high = np.array([0.45, 0.25, z_high])
    control = controller(arm, workspace_high=high)
    return arm, control, distance_outside(KINEMATICS.forward(arm.joints), control.limits)


@pytest.mark.parametrize(("beyond", "refused"), [(-1e-6, False), (1e-6, True)])
def test_a_step_may_start_as_far_outside_the_workspace_as_the_tolerance(
    beyond: float, refused: bool
) -> None:
    height = KINEMATICS.forward(START)[2, 3]
    arm, control, outside = arm_outside(height - LIMITS.workspace_tolerance - beyond)
    assert outside == pytest.approx(0.1 + beyond, abs=1e-12)
    result = control.execute(step(z=-0.01))
    assert result.rejected is refused
    assert (len(arm.targets) == 0) is refused


def test_a_step_may_start_exactly_at_the_tolerance() -> None:
    arm = make_arm()
    high = np.array([0.45, 0.25, 0.10])
    control = controller(arm, workspace_high=high)
    outside = distance_outside(KINEMATICS.forward(START), control.limits)
    control.limits = replace(control.limits, workspace_tolerance=outside)
    assert not control.execute(step(z=-0.01)).rejected


def test_nothing_is_sent_while_the_arm_is_far_outside_its_workspace() -> None:
    arm = make_arm()
    arm.joints = np.zeros(6)  # straight ahead, 36 cm high
    control = controller(arm, workspace_high=np.array([0.45, 0.25, 0.25]))
    refusal = refusal_of(control.execute(step(z=-0.01)))
    expected = (
        "the end effector is 0.11 m outside the workspace box; at most 0.1 m are allowed"
    )
    assert refusal == Refusal(Kind.OUTSIDE, expected)
    assert not arm.targets


@pytest.mark.parametrize(
    ("gripper", "expected"),
    [(0.4, 0.4), (1.3, 1.0), (-0.2, 0.0), (np.nan, 0.0), (np.inf, 0.0)],
)
def test_a_refused_step_shows_the_measured_gripper_within_0_and_1(
    gripper: float, expected: float
) -> None:
    arm = make_arm()
    arm.gripper = gripper
    assert controller(arm).execute(None).executed[6] == expected


def test_a_refused_step_shows_the_gripper_last_commanded() -> None:
    arm = make_arm()
    arm.gripper = 0.9
    control = controller(arm)
    control.execute(step(gripper=0.2))
    assert control.execute(None).executed[6] == 0.2
    control.reset()
    assert control.execute(None).executed[6] == 0.9


# --- a slow step that strays from the workspace ---------------------------------------------


class FixedKinematics(Kinematics):
    """Answers with chosen joints, and has the end effector at chosen heights."""

    def __init__(self, solution: np.ndarray, heights: list[float]) -> None:
        super().__init__()
        self.solution = solution
        self.heights = heights

    def inverse(self, T_base_eef: np.ndarray, seed: np.ndarray) -> np.ndarray | Refusal:
        return self.solution

    def forward(self, joints: np.ndarray) -> np.ndarray:
        pose = super().forward(joints)
        pose[:3, 3] = [0.3, 0.0, self.heights.pop(0)]
        return pose


@pytest.mark.parametrize("outside", [0.0, 0.02])
@pytest.mark.parametrize(("beyond", "refused"), [(-1e-6, False), (1e-6, True)])
def test_clipped_joints_may_lead_a_millimetre_further_out_of_the_workspace(
    outside: float, beyond: float, refused: bool
) -> None:
    assert STRAY_TOLERANCE == 1e-3
    high = LIMITS.workspace_high[2]
    heights = [high + outside, high + outside + STRAY_TOLERANCE + beyond]
    heights.append(heights[-1])  # the target, once the joints have been sent
    arm = make_arm()
    result = EefController(arm, FixedKinematics(START + 0.6, heights)).execute(step())
    if refused:
        expected = "a step slow enough for the joints would leave the workspace box"
        assert refusal_of(result) == Refusal(Kind.OUTSIDE, expected)
        assert not arm.targets
    else:
        assert Kind.JOINT_SPEED in result.clipped
        assert len(arm.targets) == 1


def test_clipped_joints_may_lead_exactly_a_millimetre_out_of_the_workspace() -> None:
    limits = Limits(
        workspace_low=np.array([0.1, -0.25, -0.2]),
        workspace_high=np.array([0.45, 0.25, 0.0]),
    )
    heights = [-0.05, STRAY_TOLERANCE, STRAY_TOLERANCE]
    arm = make_arm()
    control = EefController(arm, FixedKinematics(START + 0.6, heights), limits)
    assert not control.execute(step()).rejected


def test_joints_that_are_not_clipped_may_lead_anywhere_the_target_is() -> None:
    arm = make_arm()
    control = EefController(arm, FixedKinematics(START + 0.1, [0.2, 0.9]))
    assert not control.execute(step()).rejected
    assert control.kinematics.heights == [0.9]  # type: ignore[attr-defined]


def test_joints_that_are_not_finite_are_refused_by_the_limiter() -> None:
    arm = make_arm()
    control = EefController(arm, FixedKinematics(np.full(6, np.nan), [0.2]))
    assert refusal_of(control.execute(step())).kind is Kind.NOT_FINITE
    assert not arm.targets
