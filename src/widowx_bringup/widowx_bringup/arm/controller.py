"""From a requested end-effector step to a joint target that has passed every limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kinematics import Kinematics, proprio_from_pose, step_between, step_target
from .limits import (
    LimitResult,
    Limits,
    clip_action,
    clip_workspace,
    distance_outside,
    gate_joints,
    implausible,
)
from .protocol import Arm, JointReading, JointTarget


@dataclass(frozen=True)
class StepResult:
    """What became of one requested step."""

    executed: np.ndarray  # (7,) the step that leads to the target really commanded
    clipped: bool  # a limit changed the request
    rejected: bool  # nothing was sent; the arm goes on to its last target
    reason: (
        str  # what limit, or why rejected; empty when the request was carried out as it was
    )


@dataclass(frozen=True)
class ArmSnapshot:
    """The arm at one instant."""

    stamp_ns: int
    joints: np.ndarray  # (6,) [rad]
    velocities: np.ndarray  # (6,) [rad/s]
    T_base_eef: np.ndarray  # (4, 4)
    proprio: np.ndarray  # (7,)


class EefController:
    """Carries out end-effector steps one control period apart.

    Each step is added to the previous *commanded* target (`kinematics.step_target`), the
    sum is clipped to the workspace box, solved for joints, and passed through the gate.
    After a rejection, or when the gate had to change the joints, the next step starts from
    the measured pose instead: a target that was not reached is not built upon.

    `StepResult.executed` is defined by the targets alone: with T_k the k-th target commanded
    (T_0 the measured pose after a reset) and M_k the pose measured at step k,
    `step_target(executed_k, M_k, T_{k-1})` is T_k. So replaying the executed steps gives
    the commanded targets, whatever was clipped, and a rejected step is executed as no
    motion. It lies within the action bounds except in the step after the arm started anew
    from its measured pose, where it also carries the distance by which the arm lagged.
    """

    def __init__(
        self, arm: Arm, kinematics: Kinematics, limits: Limits | None = None
    ) -> None:
        self.arm = arm
        self.kinematics = kinematics
        self.limits = limits or Limits()
        self.clipped = 0
        self.rejected = 0
        self._target: np.ndarray | None = (
            None  # last commanded target, None right after a reset
        )
        self._rebase = True  # the next step starts from the measured pose
        self._gripper: float | None = None

    @property
    def target(self) -> np.ndarray | None:
        """The pose last commanded, (4, 4); None until a step has been accepted after a reset."""
        return None if self._target is None else self._target.copy()

    def reset(self) -> None:
        """Forget the previous target: the next step starts from the measured pose."""
        self._target, self._rebase, self._gripper = None, True, None

    def state(self) -> ArmSnapshot:
        """Return the newest reading with the end-effector pose that belongs to it.

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

    def execute(self, action: np.ndarray) -> StepResult:
        """Carry out a requested step as far as the limits allow.

        Args:
            action: Requested step, shape (7,): [m], [rad] in base-frame axes, gripper
                opening 0..1.

        Raises:
            ArmError: If the arm does not answer.
        """
        reading = self.arm.read()
        if reason := implausible(reading.positions, self.limits):
            return self._reject(reading, reason)
        step, shortened, reason = clip_action(action)
        if step is None:
            return self._reject(reading, reason)
        measured = self.kinematics.forward(reading.positions)
        last = measured if self._target is None else self._target
        wanted = step_target(step, measured, measured if self._rebase else last)
        target, boxed = clip_workspace(wanted, self.limits)
        gated = self._solve(target, measured, reading.positions)
        if gated.positions is None:
            return self._reject(reading, gated.reason)
        sent = self.arm.send(JointTarget(gated.positions, float(step[6])))
        if gated.clipped:
            target = self.kinematics.forward(sent.positions)
        self._target, self._rebase, self._gripper = target, gated.clipped, sent.gripper
        limits_met = {
            "action bounds": shortened,
            "workspace box": boxed,
            gated.reason: gated.clipped,
        }
        reasons = ", ".join(name for name, met in limits_met.items() if met)
        self.clipped += bool(reasons)
        executed = np.append(step_between(target, measured, last), sent.gripper)
        return StepResult(executed, bool(reasons), False, reasons)

    def _solve(
        self, target: np.ndarray, measured: np.ndarray, joints: np.ndarray
    ) -> LimitResult:
        """Find the joints of a target pose and pass them through the gate."""
        outside = distance_outside(measured, self.limits)
        if outside > self.limits.workspace_tolerance:
            return LimitResult(
                None,
                reason=f"the end effector is {outside:.2f} m outside the workspace box",
            )
        solution = self.kinematics.inverse(target, joints)
        if not solution.success:
            return LimitResult(None, reason="no joints within the limits reach the target")
        gated = gate_joints(solution.joints, joints, self.limits)
        # A way shortened in joint space does not end on the straight line between the
        # poses.
        if gated.positions is not None and gated.clipped:
            strayed = distance_outside(
                self.kinematics.forward(gated.positions), self.limits
            )
            if strayed > outside + 1e-3:
                return LimitResult(
                    None,
                    reason="a step slow enough for the joints would leave the workspace box",
                )
        return gated

    def _reject(self, reading: JointReading, reason: str) -> StepResult:
        self.rejected += 1
        self._rebase = True
        gripper = reading.gripper if self._gripper is None else self._gripper
        gripper = float(np.clip(gripper, 0.0, 1.0)) if np.isfinite(gripper) else 0.0
        return StepResult(np.append(np.zeros(6), gripper), False, True, reason)
