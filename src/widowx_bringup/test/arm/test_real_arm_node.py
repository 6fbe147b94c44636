"""The arm node with the real arm, over real DDS, with a stand-in for xs_sdk as the driver."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("interbotix_xs_msgs", reason="Interbotix's messages are not installed")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from xs_standin import SLEEP, XsStandIn  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.action_space import JOINT_NAMES  # noqa: E402
from ptr_common.managed_node import now_ns, to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from widowx_bringup.arm import motions  # noqa: E402
from widowx_bringup.arm.node import DEVICES, ArmNode  # noqa: E402
from widowx_bringup.arm.refusal import Kind, Refusal  # noqa: E402

NAMESPACE = "wx250s"
UP = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
STEP = (0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class Rig:
    """Stand-in, arm node and a probe, each spinning in a separate thread."""

    def __init__(self) -> None:
        self.standin = XsStandIn(UP, namespace=NAMESPACE)
        self.running = True
        self.ended: list[Any] = []  # nodes that are spun no more
        self.threads = [self.spin(self.standin)]
        patient = [
            Parameter(name, value=1.5) for name in ("max_command_silence", "max_image_age")
        ]  # on a busy machine
        self.node = ArmNode(
            "arm_node", DEVICES, namespace=NAMESPACE, parameter_overrides=patient
        )
        self.node.start()
        self.probe = rclpy.create_node("probe", namespace=NAMESPACE)
        self.commands = self.probe.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
        self.events = self.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        self.images = self.probe.create_publisher(
            CameraInfo, "camera/over_shoulder/camera_info", qos.IMAGES
        )
        self.states: list[ArmState] = []
        self.probe.create_subscription(ArmState, "arm/state", self.states.append, qos.STATE)
        self.acting = self.seeing = False
        self.probe.create_timer(0.2, self.act)
        self.probe.create_timer(1 / 15, self.show)
        self.threads += [self.spin(self.node), self.spin(self.probe)]
        self.until(
            lambda: (
                self.states
                and self.commands.get_subscription_count()
                and self.events.get_subscription_count()
            )
        )

    def spin(self, node: Any) -> threading.Thread:
        def work() -> None:
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            while self.running and node not in self.ended:
                executor.spin_once(timeout_sec=0.05)
            executor.remove_node(node)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def end_driver(self) -> None:
        self.ended.append(self.standin)
        self.threads.pop(0).join()
        self.standin.destroy_node()

    def start_driver(self) -> None:
        self.standin = XsStandIn(UP, namespace=NAMESPACE)
        self.threads.insert(0, self.spin(self.standin))

    def close(self) -> None:
        over = Refusal(Kind.OPERATOR, "the test is over")  # it must not go to sleep first
        self.node.device.submit(lambda: self.node.guard.hold(over)).result(timeout=5.0)
        self.node.destroy_node()
        self.running = False
        for thread in self.threads:
            thread.join()
        self.standin.destroy_node()
        self.probe.destroy_node()

    def act(self) -> None:
        if self.acting:
            message = EefCommand(action=STEP, source=EefCommand.SOURCE_POLICY)
            message.header.stamp = to_stamp(now_ns(self.probe))
            self.commands.publish(message)

    def show(self) -> None:
        if self.seeing:
            image = CameraInfo()
            image.header.stamp = to_stamp(now_ns(self.probe))
            self.images.publish(image)

    def until(self, condition: Callable[[], object], limit: float = 20.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            time.sleep(0.005)

    def run_episode(self) -> None:
        """Begin an episode with a policy that acts on images, and wait until it moves the arm."""
        self.seeing = True
        self.until(lambda: self.node.guard.image_ns)
        self.events.publish(
            EpisodeEvent(episode_id="e", event=EpisodeEvent.START, task="t")
        )
        self.until(lambda: self.node.guard.episode == "e")
        before = len(self.standin.commands)
        self.acting = True
        self.until(lambda: len(self.standin.commands) > before + 2)

    def holds(self, reason: str) -> None:
        self.until(
            lambda: (
                self.states[-1].status != ArmState.STATUS_OK
                and reason in self.states[-1].reason
            )
        )

    def call(self, name: str) -> Any:
        client = self.probe.create_client(Trigger, name)
        self.until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.until(future.done)
        return future.result()


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig()) as rig:
        yield rig


def test_commands_move_the_real_arm_and_its_driver_alone_publishes_joint_states(
    rig: Rig,
) -> None:
    before = rig.standin.world.eef_pose()[0, 3]
    rig.run_episode()
    rig.until(lambda: rig.standin.world.eef_pose()[0, 3] > before + 0.02)
    assert rig.probe.count_publishers(f"/{NAMESPACE}/joint_states") == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("read_failure", "every joint reads -pi"),
        ("unplugged", "every joint reads -pi"),
        ("silent", "the newest joint state is"),
        ("torque_off", "no torque in waist"),
        ("lost_motor elbow", "elbow"),
        ("reboot waist", "the servo bus could not be read"),
        ("hot shoulder", "shoulder pushes with an effort"),
    ],
)
def test_a_fault_makes_the_arm_hold_until_it_is_enabled(
    rig: Rig, fault: str, reason: str
) -> None:
    rig.run_episode()
    rig.standin.misbehave(*fault.split())
    rig.holds(reason)
    sent = len(rig.standin.commands)
    rig.until(lambda: rig.states[-1].rejected > 2)  # the policy goes on, in vain
    assert len(rig.standin.commands) <= sent + 1


def test_an_arm_whose_fault_is_mended_goes_on_when_enabled_and_not_before(rig: Rig) -> None:
    rig.run_episode()
    rig.standin.misbehave("reboot", "elbow")
    rig.until(lambda: rig.node.guard.holding)
    rig.until(
        lambda: rig.states[-1].status == ArmState.STATUS_HOLDING
    )  # the bus can be read again
    rig.standin.misbehave("none")
    assert rig.call("arm/enable").success
    assert rig.standin.motors["elbow"].profile_velocity == 250
    rig.until(lambda: rig.states[-1].status == ArmState.STATUS_OK)


def test_after_a_restart_of_the_driver_the_profile_is_written_before_the_arm_goes_on(
    rig: Rig,
) -> None:
    rig.run_episode()
    rig.end_driver()
    rig.holds("joint state is")
    assert not rig.call("arm/enable").success
    rig.start_driver()
    assert (
        rig.standin.motors["waist"].profile_velocity == 2000
    )  # as the driver's own configuration has it
    rig.until(lambda: rig.call("arm/enable").success)
    assert {rig.standin.motors[joint].profile_velocity for joint in JOINT_NAMES} == {250}
    rig.until(lambda: rig.states[-1].status == ArmState.STATUS_OK)


def test_an_arm_whose_servo_is_still_in_error_cannot_be_enabled(rig: Rig) -> None:
    rig.standin.misbehave("lost_motor", "wrist_angle")
    rig.holds("wrist_angle")
    answer = rig.call("arm/enable")
    assert not answer.success
    assert "the servo of wrist_angle has shut itself off: overload" in answer.message


def test_a_camera_that_stops_makes_the_arm_hold(rig: Rig) -> None:
    rig.run_episode()
    rig.seeing = False
    rig.holds("the latest image is")


def test_a_policy_that_falls_silent_makes_the_arm_hold(rig: Rig) -> None:
    rig.run_episode()
    rig.acting = False
    rig.holds("no command for")


@pytest.mark.parametrize("fault", ["malformed", "early"])
def test_joint_states_that_cannot_be_used_are_a_fault(rig: Rig, fault: str) -> None:
    rig.run_episode()
    rig.standin.misbehave(fault)
    rig.holds("joint state")
    rig.standin.misbehave("none")
    rig.until(lambda: rig.call("arm/enable").success)


def test_a_clock_that_jumps_makes_the_arm_hold(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.node, "now_ns", lambda: time.time_ns() + 2_000_000_000)
    rig.holds("the clock jumped by +2.00 s")


def test_the_operator_stops_the_arm_where_it_is(rig: Rig) -> None:
    rig.run_episode()
    assert rig.call("arm/hold").success
    rig.holds("stopped by the operator")
    np.testing.assert_allclose(
        rig.standin.commands[-1], rig.standin.world.joints, atol=0.05
    )


def test_a_resting_arm_goes_to_its_sleep_pose_when_the_node_ends(rig: Rig) -> None:
    rig.node._rest()
    np.testing.assert_allclose(rig.standin.world.joints, SLEEP, atol=0.1)


def test_ctrl_c_stops_an_arm_on_its_way_to_its_sleep_pose(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motions, "STOPPABLE_AFTER", 0.0)

    def interrupt() -> None:
        rig.until(lambda: rig.node.guard.busy)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    rig.node._rest()
    assert "Ctrl-C" in rig.node.guard.reason
    assert np.abs(rig.standin.world.joints - SLEEP).max() > 0.5


def test_a_held_arm_does_not_move_when_the_node_ends(rig: Rig) -> None:
    rig.call("arm/hold")
    before = rig.standin.world.joints
    rig.node._rest()
    np.testing.assert_allclose(rig.standin.world.joints, before, atol=0.02)


def test_an_interrupted_connection_leaves_no_thread_behind() -> None:
    rclpy.init()
    node = ArmNode("arm_node", DEVICES, namespace=NAMESPACE)

    def interrupt() -> None:
        raise KeyboardInterrupt

    def make(owner: ArmNode) -> Any:
        arm, controller = DEVICES["interbotix"](owner)
        arm.connect = interrupt  # as Ctrl-C while no driver answers
        return arm, controller

    node._make_device = make
    try:
        with pytest.raises(KeyboardInterrupt):
            node.configure()
        assert "xs_core" not in [thread.name for thread in threading.enumerate()]
    finally:
        node.destroy_node()
        rclpy.shutdown()
