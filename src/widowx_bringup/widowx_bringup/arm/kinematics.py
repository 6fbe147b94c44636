"""Forward and inverse kinematics of the wx250s, from its model.

The simulated and the real arm share them. A pose is a 4x4 matrix T_base_eef: the frame
`ee_gripper_link` in `base_link` [m].
"""

from __future__ import annotations

from pathlib import Path

import mink
import mujoco
import numpy as np

from .refusal import Kind, Refusal, check_vector

DESCRIPTION = Path(__file__).parents[1] / "description"
"""Folder of the arm's model, `wx250s.xml`."""

EEF_SITE = "ee_gripper_link"
"""Site of the model at the end effector."""


class Kinematics:
    """Forward and inverse kinematics of the wx250s without its fingers. Not thread-safe.

    Args:
        margin: Distance that the inverse kinematics keeps from the joint limits [rad].
    """

    POSITION_TOLERANCE = 1e-3
    """Largest error of the position at which a pose counts as reached [m]."""

    ROTATION_TOLERANCE = 2e-3
    """Largest error of the rotation at which a pose counts as reached [rad]."""

    ITERATIONS = 20
    """Largest number of Gauss-Newton steps."""

    CONVERGED = (1e-5, 1e-4)
    """Errors below which the steps end [m, rad]."""

    LONGEST_STEP = 0.5
    """Largest change of a joint in one step [rad]; the linear model is wrong beyond it."""

    def __init__(self, margin: float = 0.02) -> None:
        self.model = _arm_model()
        self.joint_low = self.model.jnt_range[:, 0].copy()
        self.joint_high = self.model.jnt_range[:, 1].copy()
        self._low = self.joint_low + margin
        self._high = self.joint_high - margin
        self._configuration = mink.Configuration(self.model)
        self._task = mink.FrameTask(
            EEF_SITE, "site", position_cost=1.0, orientation_cost=0.2, lm_damping=1e-3
        )
        self._limit = mink.ConfigurationLimit(
            self.model, gain=1.0, min_distance_from_limits=margin
        )

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """Return the pose T_base_eef, (4, 4) [m].

        Args:
            joints: Joints, (6,) [rad].
        """
        self._configuration.update(np.asarray(joints, dtype=float))
        transform = self._configuration.get_transform_frame_to_world(EEF_SITE, "site")
        return transform.as_matrix()

    def inverse(self, T_base_eef: np.ndarray, seed: np.ndarray) -> np.ndarray | Refusal:
        """Return joints, shape (6,) [rad], that bring the end effector to a pose.

        Args:
            T_base_eef: Pose requested, (4, 4) [m].
            seed: Joints to start from, (6,) [rad]: the measured ones, so that the nearest
                solution is found.

        Returns:
            Joints within the limits; a refusal if an input is not finite or no such joints
            are found.
        """
        target = check_vector("the target pose", T_base_eef, (4, 4))
        if isinstance(target, Refusal):
            return target
        start = check_vector("the seed of the inverse kinematics", seed, (6,))
        if isinstance(start, Refusal):
            return start
        self._configuration.update(np.clip(start, self._low, self._high))
        self._task.set_target(mink.SE3.from_matrix(target))
        position, rotation = self._error()
        for _ in range(self.ITERATIONS):
            if position < self.CONVERGED[0] and rotation < self.CONVERGED[1]:
                break
            self._descend()
            position, rotation = self._error()
        joints = check_vector("the solution", self._configuration.q, (6,))
        if isinstance(joints, Refusal):
            return joints
        if position <= self.POSITION_TOLERANCE and rotation <= self.ROTATION_TOLERANCE:
            return joints
        text = (
            "no joints within the limits reach the target; the nearest ones found are "
            f"{position:.3f} m and {rotation:.3f} rad away"
        )
        return Refusal(Kind.UNREACHABLE, text)

    def _error(self) -> tuple[float, float]:
        """Return the distance to the target pose [m] and the angle to it [rad]."""
        error = self._task.compute_error(self._configuration)
        return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))

    def _descend(self) -> None:
        """Take one Gauss-Newton step within the joint limits, if there is one."""
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
            return
        step *= min(1.0, self.LONGEST_STEP / max(float(np.abs(step).max()), 1e-9))
        joints = np.clip(self._configuration.q + step, self._low, self._high)
        self._configuration.update(joints)


def _arm_model() -> mujoco.MjModel:
    """Return the arm's model with the fingers fixed and without actuators."""
    spec = mujoco.MjSpec.from_file(str(DESCRIPTION / "wx250s.xml"))
    for element in [*spec.actuators, *spec.equalities]:
        spec.delete(element)
    for name in ("left_finger", "right_finger"):
        spec.delete(spec.joint(name))
    return spec.compile()
