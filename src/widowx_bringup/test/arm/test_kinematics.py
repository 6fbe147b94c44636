"""Kinematics of the wx250s, against figures of its maker and against themselves."""

from __future__ import annotations

import re
from collections import Counter

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    DEFAULT_ROTATION,
    JOINT_NAMES,
    pose,
    pose_from_proprio,
    pose_of_joints,
    proprio_from_pose,
    step_between,
    step_target,
)
from ptr_common.rotation import rotation_from_rpy
from widowx_bringup.arm.kinematics import DESCRIPTION, Kinematics
from widowx_bringup.arm.refusal import Kind, Refusal

MARGIN = 0.02
KINEMATICS = Kinematics(MARGIN)
DOWN = np.array([0.28, 0.0, 0.15, 0.0, 0.0, 0.0])
DOWN_JOINTS = np.array([0.0, -0.05, 0.27, 0.0, 1.35, 0.0])

# Screw axes (omega, v) and home pose of the wx250s, as the maker's Python package publishes
# them.
SCREWS = np.array(
    [
        [0, 0, 1, 0, 0, 0],
        [0, 1, 0, -0.11065, 0, 0],
        [0, 1, 0, -0.36065, 0, 0.04975],
        [1, 0, 0, 0, 0.36065, 0],
        [0, 1, 0, -0.36065, 0, 0.29975],
        [1, 0, 0, 0, 0.36065, 0],
    ]
)
HOME = pose(np.eye(3), np.array([0.458325, 0, 0.36065]))

angle = st.floats(-3.1, 3.1)
steps = st.tuples(
    *(st.floats(low, high) for low, high in zip(ACTION_LOW, ACTION_HIGH, strict=True))
).map(np.array)
poses = st.builds(
    lambda p, rpy: pose(rotation_from_rpy(np.array(rpy)), np.array(p)),
    st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    st.tuples(angle, st.floats(-1.4, 1.4), angle),
)
joints = st.tuples(
    *(
        st.floats(float(low), float(high))
        for low, high in zip(KINEMATICS.joint_low, KINEMATICS.joint_high, strict=True)
    )
).map(np.array)


def screw_forward(q: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    for (wx, wy, wz, vx, vy, vz), angle in zip(SCREWS, q, strict=True):
        T = T @ expm(
            np.array([[0, -wz, wy, vx], [wz, 0, -wx, vy], [-wy, wx, 0, vz], [0, 0, 0, 0]])
            * angle
        )
    return T @ HOME


@settings(max_examples=50)
@given(joints)
def test_forward_kinematics_agree_with_the_published_screw_axes(q: np.ndarray) -> None:
    np.testing.assert_allclose(KINEMATICS.forward(q), screw_forward(q), atol=1e-6)
    np.testing.assert_allclose(pose_of_joints(q), screw_forward(q), atol=1e-6)


@pytest.mark.parametrize(
    ("q", "position"),
    [
        ([0, 0, 0, 0, 0, 0], [0.4583, 0, 0.3607]),
        ([0, -1.80, 1.55, 0, 0.8, 0], [0.123, 0, 0.081]),
        (
            [-0.13192235, -0.76238847, 0.44485444, -0.01994175, 1.7564081, -0.15953401],
            [0.120, -0.019, 0.247],
        ),
        ([0.002, 0.021, 0.186, 0, 1.364, 0.002], [0.30, 0, 0.15]),
    ],
    ids=["home", "sleep", "neutral", "start"],
)
def test_named_poses_are_where_the_maker_says(q: np.ndarray, position: list[float]) -> None:
    np.testing.assert_allclose(KINEMATICS.forward(np.array(q))[:3, 3], position, atol=1e-3)


def test_model_has_the_published_mass_joints_and_limits() -> None:
    model = mujoco.MjModel.from_xml_path(str(DESCRIPTION / "wx250s.xml"))
    assert model.body_mass.sum() == pytest.approx(2.13, abs=0.01)
    assert tuple(model.joint(index).name for index in range(6)) == JOINT_NAMES
    degrees = np.rad2deg(model.jnt_range[:6]).round()
    assert degrees.tolist() == [
        [-180, 180],
        [-108, 114],
        [-123, 92],
        [-180, 180],
        [-100, 123],
        [-180, 180],
    ]
    assert model.joint("left_finger").range.tolist() == [0.015, 0.037]


def test_dummy_links_do_not_dominate_the_inertia_of_the_wrist() -> None:
    model = mujoco.MjModel.from_xml_path(str(DESCRIPTION / "wx250s.xml"))
    for name in ("ee_arm_link", "fingers_link", "ee_gripper_link"):
        assert model.body(name).inertia.max() < 1e-6


@settings(max_examples=100)
@given(steps)
def test_inverse_kinematics_undo_forward_kinematics_after_any_step(
    action: np.ndarray,
) -> None:
    target = step_target(action, pose_from_proprio(DOWN), pose_from_proprio(DOWN))
    solution = KINEMATICS.inverse(target, DOWN_JOINTS)
    assert isinstance(solution, np.ndarray)
    reached = KINEMATICS.forward(solution)
    assert np.linalg.norm(reached[:3, 3] - target[:3, 3]) <= 1e-3
    assert Rotation.from_matrix(reached[:3, :3].T @ target[:3, :3]).magnitude() <= 3e-3


def test_inverse_kinematics_never_leave_the_joint_limits() -> None:
    """Targets are poses of joints up to one step of the arm away, some at their limits."""
    reached: Counter[bool] = Counter()

    @settings(max_examples=100)
    @given(joints, st.tuples(*[st.floats(-0.5, 0.5)] * 6).map(np.array))
    def check(seed: np.ndarray, distance: np.ndarray) -> None:
        goal = np.clip(seed + distance, KINEMATICS.joint_low, KINEMATICS.joint_high)
        target = KINEMATICS.forward(goal)
        solution = KINEMATICS.inverse(target, seed)
        found = isinstance(solution, np.ndarray)
        reached[found] += 1
        if not found:
            return
        assert (solution >= KINEMATICS.joint_low + MARGIN - 1e-9).all()
        assert (solution <= KINEMATICS.joint_high - MARGIN + 1e-9).all()
        pose_found = KINEMATICS.forward(solution)
        assert np.linalg.norm(pose_found[:3, 3] - target[:3, 3]) <= 1e-3 + 1e-9
        turned = Rotation.from_matrix(pose_found[:3, :3].T @ target[:3, :3]).magnitude()
        assert turned <= 2e-3 + 1e-9

    check()
    assert reached[True] > 30


@settings(max_examples=50)
@given(joints, poses)
def test_whatever_pose_is_asked_for_the_joints_are_finite_or_refused(
    seed: np.ndarray, target: np.ndarray
) -> None:
    solution = KINEMATICS.inverse(target, seed)
    if isinstance(solution, Refusal):
        assert solution.kind is Kind.UNREACHABLE
    else:
        assert np.isfinite(solution).all()


def test_an_unreachable_pose_is_no_success() -> None:
    far = pose_from_proprio(np.array([0.9, 0.0, 0.2, 0, 0, 0]))
    refusal = KINEMATICS.inverse(far, DOWN_JOINTS)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.UNREACHABLE
    assert re.search(
        r"the nearest ones found are 0\.\d+ m and \d\.\d+ rad away", refusal.text
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inverse_kinematics_refuse_what_is_not_finite(value: float) -> None:
    broken = pose_from_proprio(DOWN)
    broken[0, 3] = value
    refusals = (
        KINEMATICS.inverse(broken, DOWN_JOINTS),
        KINEMATICS.inverse(pose_from_proprio(DOWN), np.full(6, value)),
        KINEMATICS.inverse(pose_from_proprio(DOWN), np.array([*DOWN_JOINTS[:5], value])),
    )
    for refusal in refusals:
        assert isinstance(refusal, Refusal)
        assert refusal.kind is Kind.NOT_FINITE


def test_inverse_kinematics_refuse_arrays_of_another_shape() -> None:
    refusals = (
        KINEMATICS.inverse(np.eye(3), DOWN_JOINTS),
        KINEMATICS.inverse(pose_from_proprio(DOWN), DOWN_JOINTS[:5]),
    )
    for refusal in refusals:
        assert isinstance(refusal, Refusal)
        assert refusal.kind is Kind.LENGTH


def test_proprioception_reads_zero_angles_when_the_gripper_points_down() -> None:
    T = pose(DEFAULT_ROTATION, np.array([0.3, 0.0, 0.15]))
    assert T[:3, 0].tolist() == [0, 0, -1]
    np.testing.assert_allclose(
        proprio_from_pose(T, 0.7), [0.3, 0, 0.15, 0, 0, 0, 0.7], atol=1e-12
    )


@given(poses)
def test_proprioception_and_pose_are_inverse(T: np.ndarray) -> None:
    np.testing.assert_allclose(pose_from_proprio(proprio_from_pose(T, 0.5)), T, atol=1e-9)


def test_a_step_is_taken_along_base_frame_axes() -> None:
    turned = pose_from_proprio(np.array([0.3, 0.1, 0.15, 0.0, 0.0, 1.0]))
    moved = step_target(np.array([0.01, 0, 0, 0, 0, 0, 1]), turned, turned)
    np.testing.assert_allclose(moved[:3, 3] - turned[:3, 3], [0.01, 0, 0], atol=1e-12)


@given(poses, steps)
def test_a_rotation_multiplies_from_the_left_about_the_measured_position(
    T: np.ndarray, action: np.ndarray
) -> None:
    target = step_target(action, T, T)
    np.testing.assert_allclose(
        target[:3, :3], rotation_from_rpy(action[3:6]) @ T[:3, :3], atol=1e-12
    )
    np.testing.assert_allclose(target[:3, 3], T[:3, 3] + action[:3], atol=1e-12)


def test_steps_add_up_on_the_commanded_pose_while_the_arm_lags() -> None:
    measured = pose_from_proprio(DOWN)
    target = measured
    for _ in range(3):
        target = step_target(np.array([0.02, 0, 0, 0, 0, 0, 1]), measured, target)
    np.testing.assert_allclose(target[:3, 3] - measured[:3, 3], [0.06, 0, 0], atol=1e-12)


@given(poses, poses, steps)
def test_step_between_inverts_step_target(
    measured: np.ndarray, previous: np.ndarray, action: np.ndarray
) -> None:
    target = step_target(action, measured, previous)
    np.testing.assert_allclose(
        step_between(target, measured, previous), action[:6], atol=1e-9
    )
