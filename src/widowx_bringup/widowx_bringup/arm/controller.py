"""From a requested end-effector step to a joint target that has passed every limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptr_common.action_space import proprio_from_pose, step_between, step_target

from .kinematics import Kinematics
from .limits import (
    Limits,
    check_reading,
    clip_action,
    clip_workspace,
    distance_outside,
    limit_joints,
)
from .protocol import Arm, JointReading, JointTarget
from .refusal import Kind, LimitResult, Refusal, StepResult
from .step_budget import StepBudget

STRAY_TOLERANCE = 1e-3
"""Clipped joints may lead this much further out of the workspace box than the arm is [m]."""


@dataclass(frozen=True)
class ArmSnapshot:
    """The arm at one instant.

    Attributes:
        stamp_ns: Time of the measurement [ns].
        joints: Measured joints, (6,) [rad].
        velocities: Measured joint velocities, (6,) [rad/s].
        T_base_eef: Pose of the end effector in the base frame, (4, 4) [m].
        proprio: The same pose with the gripper opening, (7,), as in `PROPRIO_NAMES`.
    """

    stamp_ns: int
    joints: np.ndarray
    velocities: np.ndarray
    T_base_eef: np.ndarray
    proprio: np.ndarray


class EefController:
    """Carries out end-effector steps one control period apart.

    A step that comes sooner than one control period after the last one is shortened
    (`StepBudget`). It is added to the previous *commanded* target
    (`kinematics.step_target`), the sum is clipped to the workspace box, solved for joints,
    and passed through the joint limiter. After a refusal, or when the limiter changed the
    joints, the next step starts from the measured pose instead: no step builds upon a target
    that was not reached.

    `StepResult.executed` is defined by the targets alone: with T_k the k-th target commanded
    (T_0 the measured pose after a reset) and M_k the pose measured at step k,
    `step_target(executed_k, M_k, T_{k-1})` is T_k. So replaying the executed steps gives
    the commanded targets, whatever was clipped, and a refused step is executed as no
    motion. It is within the action bounds except in the step after the arm started anew
    from its measured pose, where it also carries the distance by which the arm lagged.
    """

    def __init__(
        self, arm: Arm, kinematics: Kinematics, limits: Limits | None = None
    ) -> None:
        """Control an arm.

        Args:
            arm: Receives the joint targets.
            kinematics: Of this arm; used by one thread at a time.
            limits: Limits of every step; the defaults of `Limits` if None.
        """
        self.arm = arm
        self.kinematics = kinematics
        self.limits = limits or Limits()
        self._target: np.ndarray | None = None  # last commanded; None after a reset
        self._rebase = True  # the next step starts from the measured pose
        self._gripper: float | None = None  # opening last commanded
        self._budget = StepBudget()  # of all commands: a reset does not fill it

    @property
    def target(self) -> np.ndarray | None:
        """The pose last commanded, (4, 4); None between a reset and the next accepted step."""
        return None if self._target is None else self._target.copy()

    def reset(self) -> None:
        """Forget the previous target: the next step starts from the measured pose."""
        self._target = None
        self._rebase = True
        self._gripper = None

    def state(self) -> ArmSnapshot:
        """Return the latest reading with the end-effector pose that belongs to it.

        Raises:
            ArmError: If the arm has no fresh reading.
        """
        reading = self.arm.read()
        T = self.kinematics.forward(reading.positions)
        return ArmSnapshot(
            reading.stamp_ns,
            reading.positions,
            reading.velocities,
            T,
            proprio_from_pose(T, reading.gripper),
        )

    def execute(self, action: object) -> StepResult:
        """Carry out a requested step as far as the limits allow.

        Args:
            action: Requested step, shape (7,): [m], [rad] in base-frame axes, gripper
                opening 0..1.

        Raises:
            ArmError: If the arm does not answer.
        """
        reading = self.arm.read()
        joints = check_reading(reading.positions, self.limits)
        if isinstance(joints, Refusal):
            return self._refuse(reading, joints)
        step = clip_action(action)
        if isinstance(step, Refusal):
            return self._refuse(reading, step)
        paced = self._budget.limit(step.value, reading.stamp_ns)
        measured = self.kinematics.forward(joints)
        previous = measured if self._target is None else self._target
        base = measured if self._rebase else previous
        goal = clip_workspace(step_target(paced.value, measured, base), self.limits)
        limited = self._solve(goal.value, measured, reading)
        if isinstance(limited, Refusal):
            return self._refuse(reading, limited)

        sent = self.arm.send(JointTarget(limited.value, float(step.value[6])))
        self._budget.spend(paced.value)
        target = goal.value
        if limited.clipped:
            target = self.kinematics.forward(sent.positions)
        self._target = target
        self._rebase = bool(limited.clipped)
        self._gripper = sent.gripper
        executed = np.append(step_between(target, measured, previous), sent.gripper)
        clipped = step.clipped + paced.clipped + goal.clipped + limited.clipped
        return StepResult(executed, clipped)

    def _solve(
        self, target: np.ndarray, measured: np.ndarray, reading: JointReading
    ) -> LimitResult | Refusal:
        """Return joints for a target pose that have passed the joint limiter.

        Args:
            target: Target pose, (4, 4) [m].
            measured: Measured pose, (4, 4) [m].
            reading: The joints measured.
        """
        joints = reading.positions
        outside = distance_outside(measured, self.limits)
        if outside > self.limits.workspace_tolerance:
            text = (
                f"the end effector is {outside:.2f} m outside the workspace box; "
                f"at most {self.limits.workspace_tolerance:g} m are allowed"
            )
            return Refusal(Kind.OUTSIDE, text)
        solution = self.kinematics.inverse(target, joints)
        if isinstance(solution, Refusal):
            return solution
        limited = limit_joints(solution, joints, self.limits, reading.set_points)
        if isinstance(limited, Refusal) or not limited.clipped:
            return limited
        # A motion shortened in joint space does not end on the straight line between the
        # two poses.
        reached = self.kinematics.forward(limited.value)
        if distance_outside(reached, self.limits) > outside + STRAY_TOLERANCE:
            text = "a step slow enough for the joints would leave the workspace box"
            return Refusal(Kind.OUTSIDE, text)
        return limited

    def _refuse(self, reading: JointReading, refusal: Refusal) -> StepResult:
        """Send nothing, and start the next step from the measured pose."""
        self._rebase = True
        gripper = reading.gripper if self._gripper is None else self._gripper
        if not np.isfinite(gripper):
            gripper = 0.0
        gripper = float(np.clip(gripper, 0.0, 1.0))
        return StepResult(np.append(np.zeros(6), gripper), refusal=refusal)
