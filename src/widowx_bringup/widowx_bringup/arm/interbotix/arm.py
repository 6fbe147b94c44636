"""The real wx250s behind Interbotix's driver node xs_sdk, as the `Arm` protocol.

xs_sdk checks nothing: a number that is none means 0 rad, a bus that cannot be read shows as
-pi in every joint, a servo that shut itself off is not reported, and after a reboot a servo
moves as fast as it can. What is done about each is said in `docs/robot.md`. Joint targets
are streamed to `commands/joint_group`; services are called at the beginning, after a hold
and before an episode, and once a second, without waiting, to ask for errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from sensor_msgs.msg import JointState

from ptr_common.action_space import JOINT_NAMES
from ptr_common.managed_node import to_ns
from widowx_bringup.arm.gripper import GripperRegulator, finger_of, opening_of
from widowx_bringup.arm.limits import Limits, check_reading
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
from .servos import CALL_LIMIT, GRIPPER, GROUP, Servos

GRIPPER_ID = 9  # on a wx250 it is 8, which is the wrist here

EFFORT_LIMITS = np.array([1360, 1700, 1020, 1020, 1020, 1190]) + 10
"""Efforts in the driver's units beyond which BridgeData's robots gave up."""

REPEATS = 5
"""Implausible joint states in a row, or efforts beyond the limits, that are a fault; fewer are noise on the bus."""

STRAY, STRAY_TIME = 0.25, 0.15
"""A joint that is so far [rad] from where its profile has it, for so long [s], does not follow."""

STREAMING = 0.05
"""Targets that come faster than this [s] leave no time on the bus for registers."""

SLEEP_POSE = np.array([0.0, -1.80, 1.55, 0.0, 0.8, 0.0])
"""Where the arm lies on itself [rad]: elsewhere it falls when the driver ends, which switches the torque off."""

FRESH = 0.5
"""A hold goes to the last joints measured if they are no older than this [s]; else the servos keep their last goal."""


@dataclass(frozen=True)
class _State:
    """A joint state of xs_sdk that can be believed."""

    reading: JointReading
    finger: float  # [m]
    effort: np.ndarray  # (6,); empty where the driver tells none
    arrived: float  # on the monotonic clock [s]


class WidowXArm:
    """A wx250s driven through xs_sdk. All methods are for one thread; the connection has a thread of its own.

    Attributes:
        implausible_states: Joint states that were not believed.
        notes: What is remarkable but no fault, for the diagnostics.
    """

    def __init__(
        self, connection: XsConnection, limits: Limits, now_ns: Callable[[], int]
    ) -> None:
        """Prepare to connect.

        Args:
            connection: To xs_sdk.
            limits: Joint limits and profile times.
            now_ns: The clock that xs_sdk stamps its joint states by.
        """
        speed = np.full(6, limits.joint_speed)
        self.features = ArmFeatures(
            "wx250s",
            JOINT_NAMES,
            limits.joint_low,
            limits.joint_high,
            speed,
            True,
            SLEEP_POSE,
        )
        self.limits = limits
        self.implausible_states = 0
        self.notes: dict[str, object] = {}
        self._connection = connection
        self._now_ns = now_ns
        self._gripper = GripperRegulator()
        self._effort = 0.0  # of the gripper, as last published
        self._seen: JointState | None = None
        self._state: _State | None = None
        self._doubts = 0  # implausible states in a row
        self._doubt = ""
        self._overloaded = 0  # states in a row with an effort beyond its limit
        self._limp = np.zeros(6, int)  # states in a row with no effort at all, by joint
        self._profile: TrapezoidalProfile | None = (
            None  # where the joints should be; None before the first target
        )
        self._profiled = 0.0  # when that was, on the monotonic clock [s]
        self._strayed_since: float | None = None
        self._sent = self._sent_before = 0.0
        self._servos: Servos  # once connected

    # --- start and end --------------------------------------------------------------------------------------

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
            raise ArmError(
                f"xs_sdk drives {', '.join(group.joint_names) or 'nothing'}, not a wx250s; {START}"
            )
        gripper = self._servos.info("single", GRIPPER)
        if list(gripper.joint_ids) != [GRIPPER_ID]:
            raise ArmError(
                f"the gripper is servo {list(gripper.joint_ids)}, not {GRIPPER_ID}: no wx250s? {START}"
            )
        if (group.mode, group.profile_type) != (
            "position",
            "time",
        ):  # lets the arm sag, so only if it must be
            self._servos.set_mode("group", GROUP, "position")
        if gripper.mode != "pwm":
            self._servos.set_mode("single", GRIPPER, "pwm")
        self._wait_for_state()
        self.prepare()

    def prepare(self) -> None:
        """Make sure that the servos are well, hold their torque, and move by the time profile; the arm stays.

        To be called before an episode and before going on after a hold: a rebooted servo
        has forgotten all of it.

        Raises:
            ArmError: If a servo reports an error or does not take what it is told.
        """
        self._doubts = self._overloaded = 0
        self._servos.check()
        self._servos.write_profile()
        self._hold_measured(self._fresh())
        if not self._servos.has_torque():
            self._servos.switch_torque_on()
            self._hold_measured(self._fresh())
            if not self._servos.has_torque():
                raise ArmError(
                    "the servos' torque cannot be switched on; check the 12 V supply"
                )

    def disconnect(self) -> None:
        """Let go: the gripper pushes no more, the joints keep their last target as long as the driver runs."""
        self._publish_effort(0.0)
        self._connection.close()

    # --- state ----------------------------------------------------------------------------------------------

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the newest joint state that can be believed; raises ArmError if there is none or it is too old."""
        self._take_newest()
        if self._doubts >= REPEATS:
            raise ArmError(f"{self._doubt}, {self._doubts} times in a row")
        if self._state is None:
            raise ArmError(self._doubt or "xs_sdk has published no joint states yet")
        age = self._age(self._state)
        if age > max_age:
            why = (
                self._doubt
                or f"at most {max_age:g} s are allowed; does xs_sdk run, is the bus in order?"
            )
            raise ArmError(f"the newest joint state is {age:.2f} s old; {why}")
        return self._state.reading

    def _age(self, state: _State) -> float:
        """Return the age of a state, by its stamp or by its arrival, whichever is worse [s]."""
        return max(
            (self._now_ns() - state.reading.stamp_ns) * 1e-9,
            time.monotonic() - state.arrived,
        )

    def _take_newest(self) -> None:
        message = self._connection.core.joint_states
        if message is None or message is self._seen:
            return
        self._seen = message
        state = _state(message)
        self._doubt = "a joint state lacks joints of the arm" if state is None else ""
        if state is not None:
            joints = check_reading(state.reading.positions, self.limits)
            if isinstance(joints, Refusal):
                self._doubt = joints.text
        if state is None or self._doubt:
            self.implausible_states += 1
            self._doubts += 1
            return
        self._doubts = 0
        self._state = state
        if len(state.effort):
            self._limp = (self._limp + 1) * (state.effort == 0)
            self._overloaded = (
                self._overloaded + 1 if (np.abs(state.effort) > EFFORT_LIMITS).any() else 0
            )

    def _fresh(self) -> _State:
        """Return a state that came after this call; raises ArmError if none does."""
        before, deadline = self._connection.core.joint_states, time.monotonic() + CALL_LIMIT
        while self._connection.core.joint_states is before and time.monotonic() < deadline:
            time.sleep(0.002)
        self.read()
        assert self._state is not None
        return self._state

    def _wait_for_state(self) -> None:
        """Wait for a state that can be believed: while its motors' modes are set, xs_sdk publishes none."""
        deadline = time.monotonic() + CALL_LIMIT
        while True:
            try:
                self.read()
                return
            except ArmError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    # --- motion ---------------------------------------------------------------------------------------------

    def send(self, target: JointTarget) -> JointTarget:
        """Publish a target that the gate has passed; return it as it was published, in single precision.

        Raises:
            ArmError: If it is not finite: to xs_sdk that would mean 0 rad.
        """
        published = self._publish_joints(target.positions)
        opening = float(np.clip(target.gripper, 0.0, 1.0))
        self._gripper.aim(finger_of(opening))
        self._sent_before, self._sent = self._sent, time.monotonic()
        return JointTarget(published, opening)

    def hold(self) -> None:
        """Stop at the measured joints; the gripper keeps what it holds."""
        self._take_newest()
        if self._state is not None and self._age(self._state) <= FRESH:
            self._hold_measured(self._state)

    def _hold_measured(self, state: _State) -> None:
        self._publish_joints(
            np.clip(state.reading.positions, self.limits.joint_low, self.limits.joint_high)
        )
        if self._profile is not None:
            self._profile.rest(state.reading.positions)
        self._strayed_since = None

    def _publish_joints(self, positions: np.ndarray) -> np.ndarray:
        goal = np.asarray(positions, np.float32)
        published = check_vector("the joint target", goal, (6,))
        if isinstance(published, Refusal):
            raise ArmError(published.text)
        command = JointGroupCommand(name=GROUP, cmd=goal.tolist())
        self._connection.core.pub_group.publish(command)
        if self._profile is None:
            start = published if self._state is None else self._state.reading.positions
            self._profile = TrapezoidalProfile(
                start, self.limits.profile_time, self.limits.profile_acceleration_time
            )
            self._profiled = time.monotonic()
        self._expected()
        self._profile.plan(published)
        return published

    def _expected(self) -> np.ndarray:
        """Return where the profile has the joints now, (6,) [rad]."""
        assert self._profile is not None
        now = time.monotonic()
        passed, self._profiled = max(now - self._profiled, 1e-6), now
        return self._profile.advance(1, passed)[0]

    # --- watch ----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Regulate the gripper and look for faults; to be called some 50 times a second.

        Raises:
            ArmError: If something is wrong with the arm.
        """
        try:
            self.read()
        except ArmError:
            limit = self._gripper.hold_effort  # nobody sees what the full effort does
            self._publish_effort(float(np.clip(self._effort, -limit, limit)))
            raise
        assert self._state is not None
        self._publish_effort(self._gripper.effort(self._state.finger, time.monotonic()))
        self.notes = {
            "implausible states": self.implausible_states,
            "gripper effort": f"{self._effort:.0f}",
        }
        if self._gripper.given_up:
            self.notes["gripper"] = "has held for too long and pushes no more"
        self._check_effort(self._state)
        self._check_following(self._state)
        suspects = [JOINT_NAMES[joint] for joint in np.flatnonzero(self._limp >= REPEATS)]
        streaming = (
            self._sent - self._sent_before < STREAMING
            and time.monotonic() - self._sent < STREAMING
        )
        self._servos.watch(suspects, streaming)

    def _publish_effort(self, effort: float) -> None:
        if effort != self._effort:  # it acts until another one comes
            self._effort = effort
            self._connection.core.pub_single.publish(
                JointSingleCommand(name=GRIPPER, cmd=effort)
            )

    def _check_effort(self, state: _State) -> None:
        if self._overloaded >= REPEATS:
            joint = int((np.abs(state.effort) - EFFORT_LIMITS).argmax())
            raise ArmError(
                f"{JOINT_NAMES[joint]} pushes with an effort of {abs(state.effort[joint]):.0f}; "
                f"at most {EFFORT_LIMITS[joint]} are allowed: is something in its way?"
            )

    def _check_following(self, state: _State) -> None:
        if self._profile is None:
            return
        away = np.abs(self._expected() - state.reading.positions)
        now = time.monotonic()
        if away.max() <= STRAY:
            self._strayed_since = None
        elif self._strayed_since is None:
            self._strayed_since = now
        elif now - self._strayed_since > STRAY_TIME:
            joint = int(away.argmax())
            raise ArmError(
                f"{JOINT_NAMES[joint]} is {away[joint]:.2f} rad from where it was sent; its servo is off or blocked"
            )


def _state(message: JointState) -> _State | None:
    """Return what a message of xs_sdk says; None if it is not of this arm."""
    places = {name: place for place, name in enumerate(message.name)}
    try:
        joints = [places[name] for name in JOINT_NAMES]
        finger = message.position[places["left_finger"]]
        positions = np.array([message.position[place] for place in joints])
    except (KeyError, IndexError):
        return None
    velocities, effort = np.zeros(6), np.zeros(0)  # Interbotix's simulation tells neither
    if len(message.velocity) == len(message.effort) == len(message.name):
        velocities = np.array([message.velocity[place] for place in joints])
        effort = np.array([message.effort[place] for place in joints])
    reading = JointReading(
        to_ns(message.header.stamp), positions, velocities, opening_of(finger)
    )
    return _State(reading, finger, effort, time.monotonic())
