"""What the arm node measures, as messages of ROS."""

from __future__ import annotations

import mujoco
import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from sensor_msgs.msg import JointState

from ptr_common.action_space import JOINT_NAMES
from ptr_msgs.msg import ArmState

from .gripper import finger_of, motor_angle


def pose_message(T_base_eef: np.ndarray) -> Pose:
    """Return a pose, shape (4, 4), in the base frame [m], as a message."""
    quaternion = np.empty(4)  # w, x, y, z
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(T_base_eef[:3, :3]).reshape(9))
    w, x, y, z = quaternion.tolist()
    px, py, pz = T_base_eef[:3, 3].tolist()
    return Pose(
        position=Point(x=px, y=py, z=pz), orientation=Quaternion(w=w, x=x, y=y, z=z)
    )


def joint_state_message(state: ArmState) -> JointState:
    """Return the nine joints of the URDF as Interbotix's driver does, for robot_state_publisher."""
    finger = finger_of(state.proprio[6])
    return JointState(
        header=state.header,
        name=[*JOINT_NAMES, "gripper", "left_finger", "right_finger"],
        position=[*state.joint_positions, motor_angle(finger), finger, -finger],
        velocity=[*state.joint_velocities, 0.0, 0.0, 0.0],
    )
