"""What a connection makes of the states that the nodes of a graph publish, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.managed_node import to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, PolicyState  # noqa: E402
from widowx_bringup.graph.connection import GraphConnection, RestartError  # noqa: E402

MS = 1_000_000  # [ns]
VALUES = {"use_sim": "false", "robot_name": "wx", "camera": "front", "record": "false"}


class Robot:
    """The nodes of a graph, as far as a connection hears them."""

    def __init__(self, folder: Path) -> None:
        processes: Any = SimpleNamespace(check=lambda: None, log_folder=folder)
        self.connection = GraphConnection(processes, VALUES, set())
        self.node = rclpy.create_node("robot", namespace="wx")
        make = self.node.create_publisher
        self.arm = make(ArmState, "arm/state", qos.STATE)
        self.policy = make(PolicyState, "policy/state", qos.STATE)
        self.images = make(CameraInfo, "camera/front/camera_info", qos.IMAGES)
        self.diagnostics = make(DiagnosticArray, "/diagnostics", qos.STATE)
        for publisher in (self.arm, self.policy, self.images, self.diagnostics):
            self.until(publisher.get_subscription_count)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            time.sleep(0.005)

    def say_arm(self, stamp: int, status: int = ArmState.STATUS_OK, **counts: int) -> None:
        state = ArmState(status=status, **counts)
        state.header.stamp = to_stamp(stamp)
        self.arm.publish(state)
        self.until(lambda: self.connection._view.arm == state)

    def show(self, stamp: int) -> None:
        image = CameraInfo()
        image.header.stamp = to_stamp(stamp)
        self.images.publish(image)
        topic = self.connection.image_topic
        self.until(lambda: self.connection._view.newest.get(topic) == image)

    def say_policy(self, stamp: int, status: int) -> None:
        state = PolicyState(status=status)
        state.header.stamp = to_stamp(stamp)
        self.policy.publish(state)
        self.until(lambda: self.connection._view.newest.get("policy/state") == state)


@pytest.fixture
def robot(ros: None, tmp_path: Path) -> Iterator[Robot]:
    robot = Robot(tmp_path)
    yield robot
    robot.connection.close()
    robot.node.destroy_node()


@pytest.mark.parametrize("counter", ["clipped", "held", "rejected"])
def test_a_counter_that_falls_is_an_error_that_names_it(robot: Robot, counter: str) -> None:
    robot.say_arm(1, **{counter: 5})
    assert getattr(robot.connection.arm_state(), counter) == 5
    robot.say_arm(2, **{counter: 0})
    robot.say_arm(3, **{counter: 7})  # it counts on, but not from where it was
    with pytest.raises(RestartError, match=f"{counter} of arm/state fell from 5 to 0"):
        robot.connection.arm_state()


@pytest.mark.parametrize(
    ("image", "status", "stamp", "waited"),
    [
        (500, PolicyState.STATUS_WAITING, 550, True),
        (500, PolicyState.STATUS_WAITING, 650, False),  # because the arm holds
        (500, PolicyState.STATUS_ACTING, 550, False),
        (500, PolicyState.STATUS_STOPPED, 550, False),  # by itself, as Q left the band
        (390, PolicyState.STATUS_ACTING, 550, True),
    ],
)
def test_a_policy_lacks_an_input_if_it_said_so_before_the_hold_or_the_image_is_old(
    robot: Robot, image: int, status: int, stamp: int, waited: bool
) -> None:
    robot.say_arm(400 * MS)
    robot.show(image * MS)
    robot.say_policy(stamp * MS, status)
    robot.say_arm(600 * MS, ArmState.STATUS_HOLDING)
    assert robot.connection.policy_waited == waited


def test_the_kind_of_a_hold_comes_from_the_diagnostics_of_that_hold(robot: Robot) -> None:
    for held, kind in ((1, "operator"), (2, "camera")):
        values = [
            KeyValue(key="held", value=str(held)),
            KeyValue(key="holding", value=kind),
        ]
        status = DiagnosticStatus(name="/wx/arm_node", values=values)
        robot.diagnostics.publish(DiagnosticArray(status=[status]))
    assert robot.connection.hold_kind(2) == "camera"
