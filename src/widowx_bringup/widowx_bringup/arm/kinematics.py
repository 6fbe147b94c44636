"""Where the gripper is, how to bring it elsewhere, and the rule from a step to a target pose.

Shared by the simulated and the real arm. Poses are 4x4 matrices T_base_eef: the frame
`ee_gripper_link` in `base_link` [m]. Euler angles are roll, pitch, yaw with R = Rz(yaw)
Ry(pitch) Rx(roll) [rad].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mink
import mujoco
import numpy as np

from ptr_common.rotation import rotation_from_rpy, rpy_from_rotation

DESCRIPTION = Path(__file__).parents[1] / "description"
EEF_SITE = "ee_gripper_link"

DEFAULT_ROTATION = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""End-effector orientation at which proprioception reads roll = pitch = yaw = 0: gripper straight down.

Source: BridgeData's robot stack.
"""
DEFAULT_ROTATION.flags.writeable = False


def pose(R: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the 4x4 pose of a rotation (3, 3) and a position (3,)."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, p
    return T


def proprio_from_pose(T_base_eef: np.ndarray, gripper: float) -> np.ndarray:
    """Return x, y, z, roll, pitch, yaw, gripper, shape (7,), of a pose and a gripper opening."""
    rpy = rpy_from_rotation(T_base_eef[:3, :3] @ DEFAULT_ROTATION.T)
    return np.concatenate([T_base_eef[:3, 3], rpy, [gripper]])


def pose_from_proprio(proprio: np.ndarray) -> np.ndarray:
    """Return the pose T_base_eef of a proprioception vector, shape (7,) or (6,)."""
    return pose(rotation_from_rpy(proprio[3:6]) @ DEFAULT_ROTATION, proprio[:3])


def step_target(
    action: np.ndarray, measured: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Return the pose that one end-effector step asks for.

    With p the measured position, (R_t, p_t) the previous commanded target and R(a) the
    step's rotation: R' = R(a) R_t and p' = R(a) (p_t - p) + p + a_xyz. Steps therefore add
    up on what was commanded, and a rotation turns about base-frame axes through the
    measured position.

    Args:
        action: Step, shape (7,) or (6,): [m] and [rad] in base-frame axes.
        measured: Measured pose.
        previous: Previous commanded target pose; the measured one right after a reset.

    Source: BridgeData's robot stack, without its clipping.
    """
    R_a = rotation_from_rpy(action[3:6])
    p = measured[:3, 3]
    return pose(R_a @ previous[:3, :3], R_a @ (previous[:3, 3] - p) + p + action[:3])


def step_between(
    target: np.ndarray, measured: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Return the step, shape (6,), for which `step_target` gives `target`: its inverse in the first argument."""
    R_a = target[:3, :3] @ previous[:3, :3].T
    p = measured[:3, 3]
    xyz = target[:3, 3] - p - R_a @ (previous[:3, 3] - p)
    return np.concatenate([xyz, rpy_from_rotation(R_a)])


@dataclass(frozen=True)
class IkResult:
    """An answer of the inverse kinematics; the joints are to be used only if `success`."""

    joints: np.ndarray  # (6,) [rad]
    success: bool
    position_error: float  # [m]
    rotation_error: float  # [rad]


class Kinematics:
    """Forward and inverse kinematics of the wx250s, fingers left out. Not for two threads at once.

    Args:
        margin: Distance the inverse kinematics keeps from the joint limits [rad].
    """

    POSITION_TOLERANCE = 1e-3
    ROTATION_TOLERANCE = 2e-3
    ITERATIONS = 20

    def __init__(self, margin: float = 0.02) -> None:
        self.model = _arm_model()
        self.joint_low = self.model.jnt_range[:, 0].copy()
        self.joint_high = self.model.jnt_range[:, 1].copy()
        self._low, self._high = self.joint_low + margin, self.joint_high - margin
        self._configuration = mink.Configuration(self.model)
        self._task = mink.FrameTask(
            EEF_SITE, "site", position_cost=1.0, orientation_cost=0.2, lm_damping=1e-3
        )
        self._limit = mink.ConfigurationLimit(
            self.model, gain=1.0, min_distance_from_limits=margin
        )

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """Return T_base_eef of joints (6,) [rad]."""
        self._configuration.update(np.asarray(joints, dtype=float))
        return self._configuration.get_transform_frame_to_world(
            EEF_SITE, "site"
        ).as_matrix()

    def inverse(self, T_base_eef: np.ndarray, seed: np.ndarray) -> IkResult:
        """Find joints within the limits that bring the end effector to a pose.

        Args:
            T_base_eef: Pose wanted.
            seed: Joints to start from, shape (6,); the measured ones, so that the nearest
                answer is found.

        Returns:
            The joints reached; never a success when an input is not finite or a limit
            stands in the way.
        """
        seed = np.asarray(seed, dtype=float)
        if not (np.isfinite(T_base_eef).all() and np.isfinite(seed).all()):
            return IkResult(seed, False, np.inf, np.inf)
        self._configuration.update(np.clip(seed, self._low, self._high))
        self._task.set_target(mink.SE3.from_matrix(np.asarray(T_base_eef, dtype=float)))
        error = self._task.compute_error(self._configuration)
        for _ in range(self.ITERATIONS):
            if np.linalg.norm(error[:3]) < 1e-5 and np.linalg.norm(error[3:]) < 1e-4:
                break
            error = self._descend()
        joints = self._configuration.q.copy()
        position, rotation = (
            float(np.linalg.norm(error[:3])),
            float(np.linalg.norm(error[3:])),
        )
        success = (
            position <= self.POSITION_TOLERANCE and rotation <= self.ROTATION_TOLERANCE
        )
        return IkResult(
            joints, success and bool(np.isfinite(joints).all()), position, rotation
        )

    def _descend(self) -> np.ndarray:
        """Take one Gauss-Newton step within the joint limits; return the error left."""
        try:
            step = mink.solve_ik(
                self._configuration,
                [self._task],
                dt=1.0,
                solver="daqp",
                damping=1e-9,
                limits=[self._limit],
            )
        except mink.NoSolutionFound:
            return self._task.compute_error(self._configuration)
        # A long step leaves the region where the linear model holds.
        step *= min(1.0, 0.5 / max(float(np.abs(step).max()), 1e-9))
        self._configuration.update(
            np.clip(self._configuration.q + step, self._low, self._high)
        )
        return self._task.compute_error(self._configuration)


def _arm_model() -> mujoco.MjModel:
    """Return the arm's model with the fingers fixed and without actuators."""
    spec = mujoco.MjSpec.from_file(str(DESCRIPTION / "wx250s.xml"))
    for element in [*spec.actuators, *spec.equalities]:
        spec.delete(element)
    for name in ("left_finger", "right_finger"):
        spec.delete(spec.joint(name))
    return spec.compile()
