"""Joint states of xs_sdk: which of them are believed, and what their efforts show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import JointState

from ptr_common.action_space import JOINT_NAMES, opening_of
from ptr_common.managed_node import to_ns
from ptr_common.stamps import early_problem
from widowx_bringup.arm.limits import Limits, check_reading
from widowx_bringup.arm.protocol import ArmError, JointReading
from widowx_bringup.arm.refusal import Refusal

from .connection import XsConnection
from .servos import CALL_LIMIT

EFFORT_LIMITS = np.array([1360, 1700, 1020, 1020, 1020, 1190]) + 10
"""Largest efforts of the joints, in the driver's units; BridgeData's robots stopped there."""

REPEATS = 5
"""Implausible states, or efforts beyond the limits, in a row that are a fault; fewer are noise."""


@dataclass(frozen=True)
class XsState:
    """A plausible joint state of xs_sdk.

    Attributes:
        reading: Joints and gripper.
        finger: Finger position [m].
        effort: Efforts of the joints, (6,), in the driver's units; empty without efforts.
        arrived: Time of arrival on the monotonic clock [s].
    """

    reading: JointReading
    finger: float
    effort: np.ndarray
    arrived: float


class JointStates:
    """The latest plausible joint state, and what the last ones have in common.

    All methods are for one thread. A single implausible state is noise on the bus; several
    in a row are a fault.

    Args:
        connection: To xs_sdk.
        limits: Limits of plausible readings.
        now_ns: The clock by which xs_sdk stamps its joint states.

    Attributes:
        latest: The latest plausible state; None before the first.
        implausible: Number of states that were not believed.
    """

    def __init__(
        self, connection: XsConnection, limits: Limits, now_ns: Callable[[], int]
    ) -> None:
        self.latest: XsState | None = None
        self.implausible = 0
        self._connection = connection
        self._limits = limits
        self._now_ns = now_ns
        self._message: JointState | None = None  # the last one looked at
        self._doubt = ""  # why the last one was not believed
        self._doubts = 0  # implausible states in a row
        self._overloads = 0  # states in a row with an effort beyond its limit
        self._limp = np.zeros(6, int)  # states in a row without any effort, by joint

    def read(self, max_age: float) -> XsState:
        """Return the latest plausible state.

        Args:
            max_age: Maximum age of the state [s].

        Raises:
            ArmError: If there is no such state, or it is too old.
        """
        self.update()
        if self._doubts >= REPEATS:
            raise ArmError(f"{self._doubt}, {self._doubts} times in a row")
        if self.latest is None:
            raise ArmError(self._doubt or "xs_sdk has published no joint states yet")
        age = self.age(self.latest)
        if age > max_age:
            allowed = f"at most {max_age:g} s are allowed"
            reason = self._doubt or f"{allowed}; does xs_sdk run, is the bus in order?"
            raise ArmError(f"the newest joint state is {age:.2f} s old; {reason}")
        return self.latest

    def age(self, state: XsState) -> float:
        """Return the age of a state [s].

        The age by its stamp and the age by its arrival may differ; the larger one counts.

        Args:
            state: A state of this connection.
        """
        by_stamp = (self._now_ns() - state.reading.stamp_ns) * 1e-9
        by_arrival = time.monotonic() - state.arrived
        return max(by_stamp, by_arrival)

    def update(self) -> None:
        """Take the message that came since the last call, if one did.

        An implausible message is counted and changes nothing else; a plausible one becomes
        the latest state.
        """
        message = self._connection.core.joint_states
        if message is None or message is self._message:
            return
        self._message = message
        state = parse_state(message)
        if state is None:
            self._disbelieve("a joint state lacks joints")
            return
        stamp_ns = state.reading.stamp_ns
        if early := early_problem("a joint state", stamp_ns, self._now_ns()):
            self._disbelieve(early)
            return
        measured = (state.finger, *state.reading.velocities, *state.effort)
        if not np.isfinite(measured).all():
            self._disbelieve("a joint state is not finite")
            return
        joints = check_reading(state.reading.positions, self._limits)
        if isinstance(joints, Refusal):
            self._disbelieve(joints.text)
            return
        self._doubt = ""
        self._doubts = 0
        self.latest = state
        if len(state.effort):
            self._limp = (self._limp + 1) * (state.effort == 0)
            overloaded = bool((np.abs(state.effort) > EFFORT_LIMITS).any())
            self._overloads = self._overloads + 1 if overloaded else 0

    def _disbelieve(self, doubt: str) -> None:
        """Count an implausible state.

        Args:
            doubt: Why the state is not believed.
        """
        self._doubt = doubt
        self._doubts += 1
        self.implausible += 1

    def forget_faults(self) -> None:
        """Start counting implausible states and overloads again."""
        self._doubts = 0
        self._overloads = 0

    def wait_for_fresh(self, max_age: float) -> XsState:
        """Return a plausible state after waiting for a message that comes after this call.

        Args:
            max_age: Maximum age of the state [s].

        Raises:
            ArmError: As `read`, if no message comes in time.
        """
        before = self._connection.core.joint_states
        deadline = time.monotonic() + CALL_LIMIT
        while self._connection.core.joint_states is before and time.monotonic() < deadline:
            time.sleep(0.002)
        return self.read(max_age)

    def wait_for_plausible(self, max_age: float) -> None:
        """Wait for a plausible state.

        xs_sdk publishes none while it sets the modes of the motors.

        Args:
            max_age: Maximum age of the state [s].

        Raises:
            ArmError: As `read`, if none comes in time.
        """
        deadline = time.monotonic() + CALL_LIMIT
        while True:
            try:
                self.read(max_age)
                return
            except ArmError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def limp_joints(self) -> list[str]:
        """Return the names of the joints that report no effort at all.

        A joint is listed after `REPEATS` such states in a row. It is at rest or limp.
        """
        return [JOINT_NAMES[joint] for joint in np.flatnonzero(self._limp >= REPEATS)]

    def check_effort(self) -> None:
        """Look for a joint that pushes too hard.

        Raises:
            ArmError: If an effort has been beyond its limit for `REPEATS` states in a row.
        """
        if self._overloads < REPEATS or self.latest is None:
            return
        effort = np.abs(self.latest.effort)
        joint = int((effort - EFFORT_LIMITS).argmax())
        raise ArmError(
            f"{JOINT_NAMES[joint]} pushes with an effort of {effort[joint]:.0f}; "
            f"at most {EFFORT_LIMITS[joint]} are allowed: is something in its way?"
        )


def parse_state(message: JointState) -> XsState | None:
    """Return the state in a message of xs_sdk.

    Args:
        message: Joints of the arm and its fingers by name, in any order.

    Returns:
        None if the message lacks joints of the arm.
    """
    indices = {name: index for index, name in enumerate(message.name)}
    try:
        joints = [indices[name] for name in JOINT_NAMES]
        finger = message.position[indices["left_finger"]]
        positions = _pick(message.position, joints)
    except (KeyError, IndexError):
        return None
    velocities = np.zeros(6)
    effort = np.zeros(0)
    # Interbotix's simulation publishes neither velocities nor efforts.
    if len(message.velocity) == len(message.effort) == len(message.name):
        velocities = _pick(message.velocity, joints)
        effort = _pick(message.effort, joints)
    reading = JointReading(
        to_ns(message.header.stamp), positions, velocities, opening_of(finger)
    )
    return XsState(reading, finger, effort, time.monotonic())


def _pick(values: Sequence[float], indices: Sequence[int]) -> np.ndarray:
    """Return the values at some indices, in their order, (k,)."""
    return np.array([values[index] for index in indices])
