"""The real wx250s behind Interbotix's driver node xs_sdk, as the `Arm` protocol.

xs_sdk checks nothing. It takes NaN as 0 rad, publishes -pi in every joint if it cannot read
the bus, does not report a servo that shut itself off, and lets a rebooted servo move as
fast as it can. `docs/robot.md` says what is done about each. Joint targets are streamed to
`commands/joint_group`; services are called at the beginning, after a hold and before an
episode, and once per second, without waiting, for the error registers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand

from ptr_common.action_space import JOINT_NAMES, finger_of
from widowx_bringup.arm.gripper import GripperRegulator
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import (
    MAX_AGE,
    ArmError,
    ArmFeatures,
    JointReading,
    JointTarget,
)
from widowx_bringup.arm.refusal import Refusal, check_vector
from widowx_bringup.arm.trapezoidal_profile import TrapezoidalProfile

from .connection import START, XsConnection
from .joint_states import JointStates, XsState
from .servos import GRIPPER, GROUP, Servos

GRIPPER_ID = 9
"""Servo of the gripper; on a wx250 it is 8, which is the wrist of a wx250s."""

STRAY = 0.25
"""Distance of a joint from its profile beyond which it does not follow [rad]."""

STRAY_TIME = 0.15
"""Time for which a joint may be that far from its profile [s]."""

SLEEP_POSE = np.array([0.0, -1.80, 1.55, 0.0, 0.8, 0.0])
"""Joints in which the arm rests on itself, (6,) [rad].

In others it falls when the driver ends, which switches the torque off.
"""

FRESH = 0.5
"""Maximum age of the joints to which a hold goes [s]; without them the servos keep their goal."""


class WidowXArm:
    """A wx250s driven through xs_sdk.

    All methods are for one thread; the connection has its own.

    Attributes:
        features: Properties of the arm.
        notes: Remarkable values that are no faults, for /diagnostics.
    """

    def __init__(
        self, connection: XsConnection, limits: Limits, now_ns: Callable[[], int]
    ) -> None:
        """Prepare to connect.

        Args:
            connection: To xs_sdk.
            limits: Joint limits and profile times.
            now_ns: The clock by which xs_sdk stamps its joint states.
        """
        self.features = ArmFeatures(
            name="wx250s",
            joint_names=JOINT_NAMES,
            joint_low=limits.joint_low,
            joint_high=limits.joint_high,
            joint_speed=np.full(6, limits.joint_speed),
            publishes_joints=True,
            sleep=SLEEP_POSE,
        )
        self.limits = limits
        self.notes: dict[str, object] = {}
        self._connection = connection
        self._states = JointStates(connection, limits, now_ns)
        self._gripper = GripperRegulator()
        self._effort = 0.0  # of the gripper, as last published
        self._profile: TrapezoidalProfile | None = None  # None before the first target
        self._profile_time = 0.0  # of its last set-point, on the monotonic clock [s]
        self._strayed_since: float | None = None
        self._servos: Servos  # once connected

    @property
    def implausible_states(self) -> int:
        """Number of joint states that were not believed."""
        return self._states.implausible

    # --- start and end ----------------------------------------------------------------------

    def connect(self) -> None:
        """Make ready to move, whatever state the servos are in; the arm stays where it is.

        Raises:
            ArmError: If xs_sdk does not answer, drives another robot, or a servo reports an
                error.
        """
        self._connection.wait_ready()
        self._servos = Servos(self._connection, self.limits)
        group = self._servos.info("group", GROUP)
        if tuple(group.joint_names) != JOINT_NAMES:
            names = ", ".join(group.joint_names) or "nothing"
            raise ArmError(f"xs_sdk drives {names}, not a wx250s; {START}")
        gripper = self._servos.info("single", GRIPPER)
        servos = list(gripper.joint_ids)
        if servos != [GRIPPER_ID]:
            raise ArmError(
                f"the gripper is servo {servos}, not {GRIPPER_ID}: no wx250s? {START}"
            )
        # A change of mode lets the arm sag, so the mode is set only if it is another one.
        if (group.mode, group.profile_type) != ("position", "time"):
            self._servos.set_mode("group", GROUP, "position")
        if gripper.mode != "pwm":
            self._servos.set_mode("single", GRIPPER, "pwm")
        self._states.wait_for_plausible(MAX_AGE)
        self.prepare()

    def prepare(self) -> None:
        """Make sure that the servos are well, hold their torque, and move by the time profile.

        The arm stays where it is. Call this before an episode and before going on after a
        hold: a rebooted servo has forgotten all of it.

        Raises:
            ArmError: If a servo reports an error or does not obey.
        """
        self._states.forget_faults()
        self._servos.check()
        self._servos.write_profile()
        self._hold_at(self._states.wait_for_fresh(MAX_AGE))
        if self._servos.has_torque():
            return
        self._servos.switch_torque_on()
        self._hold_at(self._states.wait_for_fresh(MAX_AGE))
        if not self._servos.has_torque():
            raise ArmError(
                "the servos' torque cannot be switched on; check the 12 V supply"
            )

    def disconnect(self) -> None:
        """Stop the gripper's motor and close the connection.

        The joints keep their last target as long as the driver runs.
        """
        self._publish_effort(0.0)
        self._connection.close()

    # --- motion -----------------------------------------------------------------------------

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the latest plausible reading.

        Args:
            max_age: Maximum age of the reading [s].

        Raises:
            ArmError: If there is none, or it is too old.
        """
        reading = self._states.read(max_age).reading
        if self._profile is None:
            return reading
        self._expected(self._profile)
        return replace(reading, set_points=self._profile.set_points)

    def send(self, target: JointTarget) -> JointTarget:
        """Publish a target of the joint limiter.

        Args:
            target: Joints and gripper opening; the opening is clipped to 0..1.

        Returns:
            The target as published, in single precision.

        Raises:
            ArmError: If it is not finite: xs_sdk would take NaN as 0 rad.
        """
        published = self._publish_joints(target.positions)
        opening = float(np.clip(target.gripper, 0.0, 1.0))
        self._gripper.aim(finger_of(opening))
        return JointTarget(published, opening)

    def hold(self) -> None:
        """Stop at the measured joints; the gripper keeps what it holds."""
        self._states.update()
        state = self._states.latest
        if state is not None and self._states.age(state) <= FRESH:
            self._hold_at(state)

    def _hold_at(self, state: XsState) -> None:
        """Make the measured joints, moved inside their limits, the target.

        Args:
            state: Where the joints are.
        """
        measured = state.reading.positions
        inside = np.clip(measured, self.limits.joint_low, self.limits.joint_high)
        self._publish_joints(inside)
        if self._profile is not None:
            self._profile.rest(measured)
        self._strayed_since = None

    def _publish_joints(self, positions: np.ndarray) -> np.ndarray:
        """Publish a joint target and return it in single precision.

        Args:
            positions: Joints, (6,) [rad].

        Raises:
            ArmError: If they are not six finite numbers.
        """
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            goal = np.asarray(positions, np.float32)
        published = check_vector("the joint target", goal, (6,))
        if isinstance(published, Refusal):
            raise ArmError(published.text)
        command = JointGroupCommand(name=GROUP, cmd=goal.tolist())
        self._connection.core.pub_group.publish(command)
        self._plan(published)
        return published

    # --- where the profile has the joints ---------------------------------------------------

    def _plan(self, goal: np.ndarray) -> None:
        """Let the profile head for a goal, as the servos do.

        Args:
            goal: Joints published, (6,) [rad].
        """
        if self._profile is None:
            latest = self._states.latest
            start = goal if latest is None else latest.reading.positions
            self._profile = TrapezoidalProfile(
                start, self.limits.profile_time, self.limits.profile_acceleration_time
            )
            self._profile_time = time.monotonic()
        self._expected(self._profile)
        self._profile.plan(goal)

    def _expected(self, profile: TrapezoidalProfile) -> np.ndarray:
        """Return where the profile has the joints now, (6,) [rad].

        Args:
            profile: Advanced by the time since its last set-point.
        """
        now = time.monotonic()
        passed = max(now - self._profile_time, 1e-6)
        self._profile_time = now
        return profile.advance(1, passed)[0]

    # --- watch ------------------------------------------------------------------------------

    def watch(self) -> None:
        """Regulate the gripper and look for faults; to be called some 50 times a second.

        Raises:
            ArmError: If there is a fault.
        """
        try:
            state = self._states.read(MAX_AGE)
        except ArmError:
            limit = self._gripper.hold_effort  # the effect of a larger one is not seen
            self._publish_effort(float(np.clip(self._effort, -limit, limit)))
            raise
        self._publish_effort(self._gripper.effort(state.finger, time.monotonic()))
        self.notes = self._current_notes()
        self._states.check_effort()
        self._check_following(state)
        self._servos.watch(self._states.limp_joints())

    def _current_notes(self) -> dict[str, object]:
        """Return remarkable values for /diagnostics."""
        notes: dict[str, object] = {
            "implausible states": self.implausible_states,
            "gripper effort": f"{self._effort:.0f}",
        }
        if self._gripper.given_up:
            notes["gripper"] = "has held for too long and pushes no more"
        return notes

    def _publish_effort(self, effort: float) -> None:
        """Publish the effort of the gripper's motor, if it is another one than before.

        Args:
            effort: The effort [PWM units]; a positive one opens.
        """
        if effort != self._effort:  # an effort acts until another one comes
            self._effort = effort
            command = JointSingleCommand(name=GRIPPER, cmd=effort)
            self._connection.core.pub_single.publish(command)

    def _check_following(self, state: XsState) -> None:
        """Look for a joint that does not follow its profile.

        Args:
            state: Where the joints are.

        Raises:
            ArmError: If a joint has been further than `STRAY` from its profile for
                `STRAY_TIME`.
        """
        if self._profile is None:
            return
        distance = np.abs(self._expected(self._profile) - state.reading.positions)
        now = time.monotonic()
        if distance.max() <= STRAY:
            self._strayed_since = None
        elif self._strayed_since is None:
            self._strayed_since = now
        elif now - self._strayed_since > STRAY_TIME:
            joint = int(distance.argmax())
            raise ArmError(
                f"{JOINT_NAMES[joint]} is {distance[joint]:.2f} rad from where it was sent; "
                "its servo is off or blocked"
            )
