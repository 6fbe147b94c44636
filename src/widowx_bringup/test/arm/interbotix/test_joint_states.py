"""Which joint states of xs_sdk are believed, without ROS communication."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("interbotix_xs_msgs", reason="Interbotix's messages are not installed")

from sensor_msgs.msg import JointState

from ptr_common.action_space import JOINT_NAMES
from widowx_bringup.arm.interbotix.joint_states import (
    EFFORT_LIMITS,
    REPEATS,
    JointStates,
    parse_state,
)
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import ArmError

UP = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
NAMES = ["left_finger", *reversed(JOINT_NAMES)]
MAX_AGE = 0.3
FAILED = np.full(6, -np.pi)


def message_of(
    joints: np.ndarray = UP,
    *,
    effort: np.ndarray | None = None,
    stamp_ns: int | None = None,
) -> JointState:
    """Return a message as xs_sdk publishes it, with the joints in another order."""
    message = JointState(name=NAMES, position=[0.02, *reversed(joints.tolist())])
    message.velocity = [0.0, *reversed((joints / 10).tolist())]
    efforts = np.full(6, 100.0) if effort is None else effort
    message.effort = [0.0, *reversed(efforts.tolist())]
    stamp = time.time_ns() if stamp_ns is None else stamp_ns
    message.header.stamp.sec = stamp // 1_000_000_000
    message.header.stamp.nanosec = stamp % 1_000_000_000
    return message


class Rig:
    """Joint states of a connection whose messages are set by hand."""

    def __init__(self) -> None:
        self.core = SimpleNamespace(joint_states=None)
        connection: Any = SimpleNamespace(core=self.core)
        self.states = JointStates(connection, Limits(), time.time_ns)

    def receive(self, message: JointState, times: int = 1) -> None:
        """Let copies of a message come in one by one."""
        for _ in range(times):
            self.core.joint_states = JointState(
                header=message.header,
                name=message.name,
                position=message.position,
                velocity=message.velocity,
                effort=message.effort,
            )
            self.states.update()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_joints_are_read_by_name() -> None:
    state = parse_state(message_of(stamp_ns=7_000_000_003))
    assert state is not None
    np.testing.assert_array_equal(state.reading.positions, UP)
    np.testing.assert_allclose(state.reading.velocities, UP / 10)
    np.testing.assert_array_equal(state.effort, np.full(6, 100.0))
    assert state.reading.stamp_ns == 7_000_000_003
    assert state.finger == 0.02
    assert state.reading.gripper == pytest.approx(0.4)


def test_a_driver_without_velocities_and_efforts_is_read_as_well() -> None:
    message = message_of()
    message.velocity = []
    message.effort = []
    state = parse_state(message)
    assert state is not None
    np.testing.assert_array_equal(state.reading.velocities, np.zeros(6))
    assert len(state.effort) == 0


@pytest.mark.parametrize("missing", ["left_finger", "elbow"])
def test_a_message_that_lacks_a_joint_is_no_state(missing: str) -> None:
    message = message_of()
    message.name = [name if name != missing else "another" for name in NAMES]
    assert parse_state(message) is None


def test_a_message_with_fewer_positions_than_names_is_no_state() -> None:
    message = message_of()
    message.position = message.position[:3]
    assert parse_state(message) is None


def test_without_a_message_there_is_no_reading(rig: Rig) -> None:
    with pytest.raises(ArmError, match="has published no joint states yet"):
        rig.states.read(MAX_AGE)


def test_a_fresh_state_is_returned_and_looked_at_once(rig: Rig) -> None:
    rig.receive(message_of())
    state = rig.states.read(MAX_AGE)
    np.testing.assert_array_equal(state.reading.positions, UP)
    assert rig.states.read(MAX_AGE) is state


def test_a_state_with_an_old_stamp_is_refused(rig: Rig) -> None:
    rig.receive(message_of(stamp_ns=time.time_ns() - 1_000_000_000))
    with pytest.raises(ArmError, match=r"is 1\.\d+ s old; at most 0.3 s are allowed"):
        rig.states.read(MAX_AGE)


def test_a_state_that_arrived_long_ago_is_refused_whatever_its_stamp(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.receive(message_of())
    rig.states.update()
    later, stopped = time.monotonic() + 1.0, time.time_ns()
    monkeypatch.setattr(time, "monotonic", lambda: later)
    monkeypatch.setattr(rig.states, "_now_ns", lambda: stopped)
    with pytest.raises(ArmError, match=r"the newest joint state is 1\.\d+ s old"):
        rig.states.read(MAX_AGE)


def test_states_of_the_future_are_not_believed(rig: Rig) -> None:
    ahead = time.time_ns() + 10_000_000_000
    rig.receive(message_of(stamp_ns=ahead), times=REPEATS)
    with pytest.raises(ArmError, match=r"a joint state is stamped .* s in the future"):
        rig.states.read(MAX_AGE)


def test_an_implausible_state_is_noise_until_it_repeats(rig: Rig) -> None:
    rig.receive(message_of())
    rig.receive(message_of(FAILED), times=REPEATS - 1)
    np.testing.assert_array_equal(rig.states.read(10.0).reading.positions, UP)
    rig.receive(message_of(FAILED))
    with pytest.raises(ArmError, match="could not be read, 5 times in a row"):
        rig.states.read(10.0)
    assert rig.states.implausible == REPEATS
    rig.receive(message_of())
    assert rig.states.read(10.0).reading.positions.tolist() == UP.tolist()


@pytest.mark.parametrize("part", ["position", "velocity", "effort"])
def test_states_that_are_not_finite_are_a_fault_once_that_repeats(
    rig: Rig, part: str
) -> None:
    broken = message_of()
    getattr(broken, part)[0 if part == "position" else 3] = np.nan
    rig.receive(message_of())
    rig.receive(broken, REPEATS - 1)
    assert rig.states.read(MAX_AGE).finger == 0.02
    rig.receive(broken)
    with pytest.raises(ArmError, match=f"a joint state is not finite, {REPEATS} times"):
        rig.states.read(MAX_AGE)


def test_faults_that_are_forgotten_are_counted_again(rig: Rig) -> None:
    rig.receive(message_of())
    rig.receive(message_of(FAILED), times=REPEATS)
    rig.states.forget_faults()
    rig.receive(message_of(FAILED), times=REPEATS - 1)
    rig.states.read(10.0)
    assert rig.states.implausible == 2 * REPEATS - 1


def test_the_doubt_is_the_reason_without_a_plausible_state(rig: Rig) -> None:
    message = message_of()
    message.name = message.name[:4]
    rig.receive(message)
    with pytest.raises(ArmError, match="a joint state lacks joints"):
        rig.states.read(MAX_AGE)


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_effort_beyond_its_limit_is_a_fault_once_it_repeats(
    rig: Rig, joint: int, sign: float
) -> None:
    effort = np.full(6, 100.0)
    effort[joint] = sign * EFFORT_LIMITS[joint]
    rig.receive(message_of(effort=effort), times=2 * REPEATS)
    rig.states.check_effort()
    effort[joint] += sign
    rig.receive(message_of(effort=effort), times=REPEATS - 1)
    rig.states.check_effort()
    rig.receive(message_of(effort=effort))
    with pytest.raises(ArmError, match=f"^{JOINT_NAMES[joint]} pushes with an effort of"):
        rig.states.check_effort()
    rig.receive(message_of())
    rig.states.check_effort()


def test_a_joint_without_effort_is_limp_once_that_repeats(rig: Rig) -> None:
    effort = np.full(6, 100.0)
    effort[2] = 0.0
    rig.receive(message_of(effort=effort), times=REPEATS - 1)
    assert rig.states.limp_joints() == []
    rig.receive(message_of(effort=effort))
    assert rig.states.limp_joints() == ["elbow"]
    rig.receive(message_of())
    assert rig.states.limp_joints() == []
