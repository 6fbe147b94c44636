"""The motions that the arm makes by itself: to its start pose, to its sleep pose, to rest."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError  # builtin from 3.11 on
from types import FrameType

import numpy as np

from ptr_common.action_space import pose_from_proprio

from .controller import EefController
from .device_thread import DeviceThread
from .guard import CommandGuard
from .joint_path import JointPath
from .limits import distance_outside, limit_joints
from .protocol import ArmError, JointTarget
from .refusal import Refusal, check_vector

START_POSE = (0.30, 0.0, 0.15, 0.0, 0.0, 0.0)
"""Pose of the end effector after `arm/go_to_start`: x, y, z [m], roll, pitch, yaw [rad].

Source: BridgeData's start pose. The gripper is open there.
"""

REST_LIMIT = 20.0
"""Longest time for the motion to the sleep pose at the end [s]."""

STOPPABLE_AFTER = 1.0
"""A Ctrl-C stops the motion to the sleep pose if it comes later than this after its start [s].

`ros2 launch` passes on the Ctrl-C that ended the node; that one must not stop it.
"""

POLL_PERIOD = 0.02
"""Time between two looks whether the arm has come to rest [s]."""


class ArmMotions:
    """Moves the arm along a slow path while the guard refuses commands.

    All methods but `rest` belong to the device thread. Every target of a path passes the
    joint limiter, and a hold ends the motion.

    Args:
        controller: Of the arm; forgets its target when a motion has ended.
        guard: Refuses commands during a motion.
        period: Time from one call of `advance` to the next [s].
    """

    def __init__(
        self, controller: EefController, guard: CommandGuard, period: float
    ) -> None:
        self._controller = controller
        self._guard = guard
        self._period = period
        self._path: JointPath | None = None
        self._gripper = 1.0  # opening during the motion

    def go_to_start(self) -> str:
        """Begin the motion to the start pose and return what the arm is doing.

        Raises:
            ArmError: If the arm holds, does not answer, or cannot reach the pose.
        """
        pose = pose_from_proprio(np.asarray(START_POSE))
        return self._begin(
            self._solve(pose, f"the start pose {START_POSE}"),
            1.0,
            "moving to its start pose",
        )

    def go_to_pose(self, pose: Sequence[float]) -> str:
        """Begin the motion to a pose in the workspace box and return what the arm is doing.

        The gripper opens on the way.

        Args:
            pose: Pose of the end effector, as `START_POSE`.

        Raises:
            ArmError: If the arm holds, does not answer, or cannot reach the pose, or if the
                pose is not in the workspace box.
        """
        numbers = check_vector("the pose", pose, (6,))
        if isinstance(numbers, Refusal):
            raise ArmError(numbers.text)
        limits = self._controller.limits
        target = pose_from_proprio(numbers)
        if distance_outside(target, limits) > 0.0:
            raise ArmError(
                f"position {numbers[:3].tolist()} is outside the workspace box, which is "
                f"{limits.workspace_low.tolist()} to {limits.workspace_high.tolist()} [m]"
            )
        joints = self._solve(target, f"the pose {numbers.tolist()}")
        return self._begin(joints, 1.0, "moving to a pose")

    def _solve(self, pose: np.ndarray, name: str) -> np.ndarray:
        """Return joints that bring the end effector to a pose, (6,) [rad].

        Args:
            pose: T_base_eef, (4, 4) [m].
            name: Its name in the message of an error.

        Raises:
            ArmError: If the arm does not answer, or no joints within the limits do.
        """
        joints = self._controller.state().joints
        solution = self._controller.kinematics.inverse(pose, joints)
        if isinstance(solution, Refusal):
            raise ArmError(f"{name} is refused: {solution.text}")
        return solution

    def go_to_sleep(self) -> str:
        """Begin the motion to the sleep pose and return what the arm is doing.

        The gripper stays as it is.

        Raises:
            ArmError: If the arm holds, does not answer, or has no sleep pose.
        """
        sleep = self._controller.arm.features.sleep
        if sleep is None:
            raise ArmError("this arm has no sleep pose")
        return self._begin(sleep, None, "moving to its sleep pose")

    def _begin(self, goal: np.ndarray, gripper: float | None, text: str) -> str:
        """Begin a motion.

        Args:
            goal: Joints at its end, (6,) [rad].
            gripper: Opening of the gripper; None: as measured.
            text: What the arm is doing, for the refusal of commands.

        Raises:
            ArmError: If the arm holds or does not answer.
        """
        if self._guard.holding:
            raise ArmError(f"arm is holding: {self._guard.reason}; call arm/enable first")
        reading = self._controller.arm.read()
        if gripper is None:
            gripper = float(np.clip(reading.gripper, 0.0, 1.0))
        self._path = JointPath(reading.positions, goal, self._period)
        self._gripper = gripper
        self._guard.begin_motion(text)
        return text

    def advance(self) -> None:
        """Send the next target of the path, if the arm moves by itself.

        Raises:
            ArmError: If the arm does not answer, or the joint limiter refuses the target.
        """
        if not self._guard.busy or self._path is None:  # a hold ends the motion
            return
        arm = self._controller.arm
        reading = arm.read()
        measured = reading.positions
        target = self._path.advance(measured)
        if self._path.ended:
            self._path = None
            self._guard.end_motion()
            self._controller.reset()
            return
        if target is None:
            return
        limited = limit_joints(
            target, measured, self._controller.limits, reading.set_points
        )
        if isinstance(limited, Refusal):
            raise ArmError(limited.text)
        arm.send(JointTarget(limited.value, self._gripper))

    def rest(
        self,
        device: DeviceThread,
        hold: Callable[[], object],
        announce: Callable[[str], object],
    ) -> None:
        """Bring the arm to its sleep pose and wait for it; for the main thread.

        Ctrl-C makes the arm hold where it is, unless it comes at once (`STOPPABLE_AFTER`).

        Args:
            device: The thread of the other methods.
            hold: Makes the arm hold; called in the device thread.
            announce: Called with a text for the user once the motion has begun.

        Raises:
            ArmError: If the arm is not in its sleep pose afterwards.
        """
        began = time.monotonic()

        def stop(number: int, frame: FrameType | None) -> None:
            """Handle Ctrl-C."""
            if time.monotonic() - began > STOPPABLE_AFTER:
                device.submit(hold)

        before = signal.signal(signal.SIGINT, stop)
        try:
            device.submit(self.go_to_sleep).result(timeout=REST_LIMIT)
            announce("going to the sleep pose; Ctrl-C stops it")
            while self._guard.busy and time.monotonic() < began + REST_LIMIT:
                time.sleep(POLL_PERIOD)
        except FutureTimeoutError:
            raise ArmError("the device does not answer") from None
        finally:
            signal.signal(signal.SIGINT, before)
        if problem := self._guard.reason or self._guard.busy:
            raise ArmError(problem)
