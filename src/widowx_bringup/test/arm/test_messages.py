"""Messages of the arm node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ptr_common.action_space import JOINT_NAMES, pose
from ptr_common.rotation import rotation_from_rpy
from ptr_msgs.msg import ArmState, EefCommand
from widowx_bringup.arm.controller import ArmSnapshot
from widowx_bringup.arm.guard import CommandGuard
from widowx_bringup.arm.messages import (
    executed_message,
    joint_state_message,
    pose_message,
    state_message,
)
from widowx_bringup.arm.refusal import Kind, Refusal

SNAPSHOT = ArmSnapshot(
    stamp_ns=7,
    joints=np.arange(6.0),
    velocities=np.arange(6.0) / 10,
    T_base_eef=pose(np.eye(3), np.array([0.3, 0.1, 0.2])),
    proprio=np.array([0.3, 0.1, 0.2, 0.0, 0.0, 0.0, 0.5]),
)
OPERATOR = Refusal(Kind.OPERATOR, "stopped by the operator")


def make_guard() -> CommandGuard:
    return CommandGuard(0.2, 0.4, 0.4)


def test_a_pose_is_a_position_and_a_quaternion() -> None:
    turned = pose(rotation_from_rpy(np.array([0.0, 0.0, np.pi / 2])), np.array([1, 2, 3]))
    message = pose_message(turned)
    position = message.position
    quaternion = message.orientation
    assert (position.x, position.y, position.z) == (1.0, 2.0, 3.0)
    half = np.sqrt(0.5)
    found = [quaternion.w, quaternion.x, quaternion.y, quaternion.z]
    np.testing.assert_allclose(found, [half, 0, 0, half], atol=1e-12)


def test_a_state_holds_the_snapshot_and_the_counts() -> None:
    guard = make_guard()
    guard.counts = replace(guard.counts, clipped=1, held=2, rejected=3)
    state = state_message(SNAPSHOT, guard, "")
    np.testing.assert_array_equal(state.joint_positions, SNAPSHOT.joints)
    np.testing.assert_array_equal(state.joint_velocities, SNAPSHOT.velocities)
    np.testing.assert_allclose(state.proprio, SNAPSHOT.proprio)
    assert state.eef_pose.position.x == 0.3
    assert (state.clipped, state.held, state.rejected) == (1, 2, 3)


def test_the_status_names_a_fault_before_a_hold_before_a_motion() -> None:
    guard = make_guard()
    state = state_message(SNAPSHOT, guard, "")
    assert (state.status, state.reason) == (ArmState.STATUS_OK, "")
    guard.begin_motion("moving to its start pose")
    state = state_message(SNAPSHOT, guard, "")
    assert (state.status, state.reason) == (ArmState.STATUS_OK, "moving to its start pose")
    guard.hold(OPERATOR)
    state = state_message(SNAPSHOT, guard, "")
    assert state.status == ArmState.STATUS_HOLDING
    assert state.reason == "stopped by the operator"
    state = state_message(SNAPSHOT, guard, "too hot")
    assert (state.status, state.reason) == (ArmState.STATUS_FAULT, "too hot")


def test_the_joint_states_are_the_nine_joints_of_the_urdf() -> None:
    message = joint_state_message(state_message(SNAPSHOT, make_guard(), ""))
    names = [*JOINT_NAMES, "gripper", "left_finger", "right_finger"]
    assert list(message.name) == names
    np.testing.assert_array_equal(message.position[:6], SNAPSHOT.joints)
    assert message.position[7] == pytest.approx(0.0225)
    assert message.position[8] == -message.position[7]
    assert len(message.velocity) == 9


def test_the_answer_to_a_command_names_its_observation_and_source() -> None:
    request = EefCommand(action=np.zeros(7), source=EefCommand.SOURCE_TELEOP)
    request.observation_stamp.sec = 5
    answer = executed_message(request, np.full(7, 0.01))
    assert answer.observation_stamp == request.observation_stamp
    assert answer.source == EefCommand.SOURCE_TELEOP
    np.testing.assert_array_equal(answer.action, np.full(7, 0.01))
