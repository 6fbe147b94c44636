"""The real arm over real DDS, with a stand-in for xs_sdk that can misbehave like the real one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("interbotix_xs_msgs", reason="Interbotix's messages are not installed")

import xs_standin  # noqa: E402
from interbotix_xs_msgs.srv import Reboot  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from xs_standin import OVERLOAD, SLEEP, XsStandIn  # noqa: E402

from ptr_common.action_space import JOINT_NAMES  # noqa: E402
from widowx_bringup.arm.interbotix import connection, servos  # noqa: E402
from widowx_bringup.arm.interbotix.arm import WidowXArm  # noqa: E402
from widowx_bringup.arm.interbotix.connection import XsConnection  # noqa: E402
from widowx_bringup.arm.limits import Limits  # noqa: E402
from widowx_bringup.arm.protocol import ArmError, JointTarget  # noqa: E402
from widowx_bringup.arm.trapezoidal_profile import SetPoints  # noqa: E402

UP = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])  # gripper down, in the workspace


class Rig:
    """The stand-in, spinning in a thread as another process would, and the driver."""

    def __init__(self, start: Any = UP, **motors: Any) -> None:
        self.standin = XsStandIn(start, namespace="wx250s")
        for name, value in motors.items():
            for motor in self.standin.motors.values():
                setattr(motor, name, value)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.standin)
        self.running = True
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()
        self.arm = WidowXArm(XsConnection("/wx250s"), Limits(), time.time_ns)

    def spin(self) -> None:
        while self.running:
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self.arm._connection.close()
        self.running = False
        self.thread.join()
        self.standin.destroy_node()

    @property
    def joints(self) -> np.ndarray:
        return self.standin.world.joints

    def watch_until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        """Watch at the arm node's rate until something is so."""
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.arm.watch()
            time.sleep(0.02)

    def fails(self, words: str) -> None:
        """Watch until the arm reports a fault of these words."""
        with pytest.raises(ArmError, match=words):
            self.watch_until(lambda: False)

    def recovers(self, call: Callable[[], object] | None = None) -> None:
        """Watch, or make another call, until there is no fault any more."""
        deadline = time.monotonic() + 15.0
        while True:
            try:
                (call or self.arm.watch)()
                return
            except ArmError:
                assert time.monotonic() < deadline, "the fault did not end in time"
                time.sleep(0.02)


def set_points(rig: Rig) -> SetPoints:
    """Return where the profile of the servos has the joints."""
    present = rig.arm.read().set_points
    assert present is not None
    return present


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig()) as rig:
        rig.arm.connect()
        yield rig


def test_connecting_writes_the_time_profile_and_moves_nothing(rig: Rig) -> None:
    for name in JOINT_NAMES:
        motor = rig.standin.motors[name]
        assert (motor.profile_velocity, motor.profile_acceleration, motor.torque) == (
            250,
            100,
            1,
        )
    np.testing.assert_allclose(rig.joints, UP, atol=0.02)
    np.testing.assert_allclose(rig.arm.read().positions, UP, atol=0.02)


def test_a_target_is_reached_and_returned_as_published(rig: Rig) -> None:
    target = UP + np.array([0.1, -0.05, 0.05, 0.02, -0.1, 0.2])
    sent = rig.arm.send(JointTarget(target, 1.0))
    np.testing.assert_allclose(sent.positions, target, atol=1e-6)
    rig.watch_until(lambda: np.abs(rig.arm.read().positions - target).max() < 0.02)
    np.testing.assert_array_equal(rig.standin.commands[-1], sent.positions)


def test_no_number_that_is_none_reaches_the_servos(rig: Rig) -> None:
    before = len(rig.standin.commands)
    wrong = (
        (np.full(6, np.nan), "not finite"),
        (np.array([np.inf, 0, 0, 0, 0, 0]), "not finite"),
        (np.array([1e39, 0, 0, 0, 0, 0]), "not finite"),  # infinite in single precision
        (np.zeros(5), r"shape \(5,\)"),
    )
    for positions, message in wrong:
        with pytest.raises(ArmError, match=f"the joint target .*{message}"):
            rig.arm.send(JointTarget(positions, 1.0))
    rig.watch_until(lambda: rig.arm.read())
    assert len(rig.standin.commands) == before


def test_holding_commands_the_measured_joints(rig: Rig) -> None:
    rig.arm.send(JointTarget(UP + 0.3 * np.eye(6)[0], 1.0))
    rig.watch_until(lambda: rig.joints[0] > 0.03)
    measured = rig.arm.read().positions
    rig.arm.hold()
    rig.watch_until(lambda: abs(rig.standin.commands[-1][0] - measured[0]) < 0.05)
    rig.watch_until(lambda: np.abs(rig.standin.world.joint_velocities).max() < 0.01)
    assert rig.joints[0] < 0.25


def test_an_arm_whose_torque_is_off_is_switched_on_where_it_is(ros: None) -> None:
    rig = Rig(SLEEP, torque=0)
    try:
        rig.standin._apply()
        rig.arm.connect()
        assert all(rig.standin.motors[name].torque for name in JOINT_NAMES)
        jumped = np.abs(rig.standin.commands[-1] - rig.joints).max()
        assert jumped < 0.05
    finally:
        rig.close()


def test_an_arm_in_another_mode_is_brought_into_position_mode(ros: None) -> None:
    rig = Rig(mode="velocity")
    try:
        rig.arm.connect()
        assert {rig.standin.motors[name].mode for name in JOINT_NAMES} == {"position"}
        assert rig.standin.motors["gripper"].mode == "pwm"
    finally:
        rig.close()


def test_a_servo_in_error_is_refused_by_name(ros: None) -> None:
    rig = Rig()
    try:
        rig.standin.motors["elbow"].error = OVERLOAD
        with pytest.raises(
            ArmError,
            match=r"the servo of elbow has shut itself off: overload; .*reboot_motors",
        ):
            rig.arm.connect()
    finally:
        rig.close()


def test_registers_are_read_though_somebody_elses_arm_is_simulated(ros: None) -> None:
    elsewhere, rig = rclpy.create_node("xs_sdk_sim", namespace="another"), Rig()
    try:
        rig.standin.motors["elbow"].error = OVERLOAD
        with pytest.raises(ArmError, match="the servo of elbow"):
            rig.arm.connect()
        assert (
            "xs_sdk_sim",
            "/another",
        ) in rig.arm._connection.node.get_node_names_and_namespaces()
    finally:
        rig.close()
        elsewhere.destroy_node()


def test_a_simulation_whose_name_is_known_later_than_its_services_is_recognised(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = rig.arm._connection
    answers = iter([[], [], [], [], [("xs_sdk_sim", "/wx250s")]])
    last: list[tuple[str, str]] = []

    def names() -> list[tuple[str, str]]:
        last[:] = next(answers, last)
        return last

    monkeypatch.setattr(connection.node, "get_node_names_and_namespaces", names)
    connection.wait_ready()
    assert connection.serves("xs_sdk_sim")


def test_a_wx250_is_not_taken_for_a_wx250s(
    ros: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xs_standin, "IDS", (1, 2, 4, 6, 7, 7, 8))
    rig = Rig()
    try:
        with pytest.raises(
            ArmError, match=r"the gripper is servo \[8\], not 9: no wx250s\?"
        ):
            rig.arm.connect()
    finally:
        rig.close()


def test_a_missing_driver_is_named_with_the_command_that_starts_it(
    ros: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "START_LIMIT", 0.2)
    with pytest.raises(
        ArmError, match=r"nothing answers under /nobody .*robot_model:=wx250s"
    ):
        XsConnection("/nobody").wait_ready(0.2)


# --- misbehaviour ---------------------------------------------------------------------------


def test_a_bus_that_cannot_be_read_is_a_fault_and_not_a_pose(rig: Rig) -> None:
    before = rig.arm.read().positions
    rig.standin.misbehave("read_failure")
    rig.fails("every joint reads -pi: the servo bus could not be read, 5 times in a row")
    assert rig.arm.implausible_states >= 5
    rig.arm.hold()
    np.testing.assert_allclose(rig.standin.commands[-1], before, atol=0.02)
    rig.standin.misbehave("none")
    rig.recovers()
    np.testing.assert_allclose(rig.arm.read().positions, before, atol=0.02)


def test_a_single_bad_reading_is_noise(rig: Rig) -> None:
    rig.standin.misbehave("read_failure")
    while not rig.arm.implausible_states:
        rig.arm.watch()
    rig.standin.misbehave("none")
    seen = rig.arm._states._message
    rig.watch_until(lambda: rig.arm._states._message is not seen)


def test_a_silent_driver_is_a_fault(rig: Rig) -> None:
    rig.standin.misbehave("silent")
    rig.fails(r"the newest joint state is 0\.\d+ s old")


def test_a_lost_motor_is_named_from_its_register(rig: Rig) -> None:
    rig.standin.misbehave("lost_motor", "wrist_rotate")
    rig.fails("the servo of wrist_rotate has shut itself off: overload")
    with pytest.raises(ArmError, match="wrist_rotate"):
        rig.arm.prepare()


def test_a_joint_that_does_not_follow_is_a_fault(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for period in ("POLL_PERIOD", "SUSPICION_PERIOD"):
        monkeypatch.setattr(servos, period, 1e9)  # registers would tell as well
    rig.standin.misbehave("lost_motor", "waist")
    rig.arm.send(JointTarget(UP + 0.4 * np.eye(6)[0], 1.0))
    rig.fails(r"waist is 0\.\d+ rad from where it was sent")


def test_a_limp_arm_is_noticed_by_its_effort_before_its_registers_are_due(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servos, "POLL_PERIOD", 1e9)
    rig.standin.misbehave("torque_off")
    rig.fails(
        "no torque in waist, shoulder, elbow, forearm_roll, wrist_angle, wrist_rotate, "
        "shoulder_shadow, elbow_shadow"
    )


def test_a_rebooted_servo_is_noticed_and_gets_its_profile_again(rig: Rig) -> None:
    rig.standin.misbehave("reboot", "elbow")
    rig.fails("the servo bus could not be read")
    rig.recovers()
    rig.fails(r"Profile_Velocity is \[250, 250, 0, 250, 250, 250, 250, 250\], not 250 ms")
    rig.standin.misbehave("none")
    rig.arm.prepare()
    assert rig.standin.motors["elbow"].profile_velocity == 250
    rig.arm.watch()


@pytest.mark.parametrize("shadow", servos.SHADOWS)
def test_a_shadow_servo_that_shut_itself_off_is_a_fault_until_it_alone_is_rebooted(
    rig: Rig, shadow: str
) -> None:
    rig.standin.misbehave("lost_motor", shadow)
    rig.fails(f"the servo of {shadow} has shut itself off: overload; .*name: {shadow},")
    with pytest.raises(ArmError, match=f"the servo of {shadow}"):
        rig.arm.prepare()
    reboot = Reboot.Request(cmd_type="group", name="all", enable=True, smart_reboot=True)
    rig.standin._reboot(reboot, Reboot.Response())
    with pytest.raises(ArmError, match=f"the servo of {shadow}"):
        rig.arm.prepare()
    reboot.cmd_type, reboot.name = "single", shadow
    rig.standin._reboot(reboot, Reboot.Response())
    rig.fails("the servo bus could not be read|Profile_Velocity")
    rig.standin.misbehave("none")
    rig.recovers(rig.arm.prepare)
    assert rig.standin.motors[shadow].profile_velocity == 250


def test_a_shadow_servo_is_looked_at_within_two_control_periods(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servos, "POLL_PERIOD", 1e9)
    rig.standin.misbehave("lost_motor", "elbow_shadow")
    rig.fails("the servo of elbow_shadow has shut itself off: overload")
    assert 2 * servos.SUSPICION_PERIOD < 0.4


def test_a_reading_has_the_set_points_of_the_profile(rig: Rig) -> None:
    target = UP + np.array([0.3, 0, 0, 0, 0, 0])
    rig.arm.send(JointTarget(target, 1.0))
    rig.watch_until(lambda: set_points(rig).velocities[0] > 1.0)
    rig.watch_until(lambda: np.allclose(set_points(rig).positions, target, atol=1e-6))
    assert set_points(rig).velocities[0] == 0.0


def test_an_effort_beyond_the_limits_is_a_fault(rig: Rig) -> None:
    rig.standin.misbehave("hot", "shoulder")
    rig.fails("shoulder pushes with an effort of 2300; at most 1710 are allowed")


def test_a_service_that_hangs_is_a_fault_and_not_a_hang(rig: Rig) -> None:
    rig.standin.misbehave("slow_services")
    rig.fails("joint state is|did not answer")


# --- gripper --------------------------------------------------------------------------------


def test_the_gripper_goes_where_it_is_told(rig: Rig) -> None:
    for opening in (0.4, 0.9):
        rig.arm.send(JointTarget(UP, opening))
        rig.watch_until(
            lambda opening=opening: abs(rig.arm.read().gripper - opening) < 0.05
        )
        rig.watch_until(lambda: rig.standin.effort == 0.0)


def test_a_gripper_closed_on_nothing_does_not_push(rig: Rig) -> None:
    rig.arm.send(JointTarget(UP, 0.0))
    rig.watch_until(lambda: rig.arm.read().gripper < 0.22)
    rig.watch_until(lambda: rig.standin.effort == 0.0)
