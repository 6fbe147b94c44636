"""ROS messages of the arm node: pose, state, joints and executed command."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from sensor_msgs.msg import JointState

from ptr_common.action_space import JOINT_NAMES, finger_of
from ptr_common.rotation import quaternion_from_rotation
from ptr_msgs.msg import ArmState, EefCommand

from .controller import ArmSnapshot
from .gripper import motor_angle
from .guard import CommandGuard


def pose_message(T_base_eef: np.ndarray) -> Pose:
    """Return the message of a pose in the base frame, shape (4, 4) [m]."""
    x, y, z, w = quaternion_from_rotation(T_base_eef[:3, :3]).tolist()
    px, py, pz = T_base_eef[:3, 3].tolist()
    return Pose(
        position=Point(x=px, y=py, z=pz), orientation=Quaternion(w=w, x=x, y=y, z=z)
    )


def state_message(snapshot: ArmSnapshot, guard: CommandGuard, fault: str) -> ArmState:
    """Return the state of the arm without its header.

    Args:
        snapshot: The arm as measured.
        guard: Knows why the arm holds, and has the counts.
        fault: What is wrong with the arm; empty if nothing is.
    """
    status = ArmState.STATUS_OK
    if fault:
        status = ArmState.STATUS_FAULT
    elif guard.holding:
        status = ArmState.STATUS_HOLDING
    return ArmState(
        joint_positions=snapshot.joints,
        joint_velocities=snapshot.velocities,
        eef_pose=pose_message(snapshot.T_base_eef),
        proprio=snapshot.proprio,
        status=status,
        reason=fault or guard.reason or guard.busy,
        clipped=guard.counts.clipped,
        held=guard.counts.held,
        rejected=guard.counts.rejected,
    )


def joint_state_message(state: ArmState) -> JointState:
    """Return the nine joints of the URDF, as Interbotix's driver publishes them.

    `robot_state_publisher` reads them.
    """
    finger = finger_of(state.proprio[6])
    return JointState(
        header=state.header,
        name=[*JOINT_NAMES, "gripper", "left_finger", "right_finger"],
        position=[*state.joint_positions, motor_angle(finger), finger, -finger],
        velocity=[*state.joint_velocities, 0.0, 0.0, 0.0],
    )


def executed_message(request: EefCommand, executed: np.ndarray) -> EefCommand:
    """Return the answer to a command without its header.

    Args:
        request: The command.
        executed: The step really commanded, (7,).
    """
    return EefCommand(
        observation_stamp=request.observation_stamp,
        source=request.source,
        action=executed,
    )
