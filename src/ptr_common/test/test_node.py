"""Malformed messages: whoever reads them drops, counts and reports them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.node import (  # noqa: E402
    Executor,
    Health,
    MessageError,
    malformed_messages,
    publish_diagnostics,
    subscribe,
)

SOURCES = Path(__file__).resolve().parents[2]
BROKEN = [b"", b"\x00\x01\x00\x00\xff\xff\xff\xff", b"\x00\x01\x00\x00" + b"\xff" * 64]


class Rig:
    """A node that reads, and a probe that sends."""

    def __init__(self) -> None:
        clock = Parameter("use_sim_time", value=True)
        self.node = rclpy.create_node("reader", parameter_overrides=[clock])
        self.probe = rclpy.create_node("probe")
        self.executor = Executor()
        for node in (self.node, self.probe):
            self.executor.add_node(node)
        self.read: list[Any] = []
        self.errors: list[str] = []
        subscribe(
            self.node,
            JointState,
            "joints",
            self._take,
            qos.STATE,
            on_malformed=self.errors.append,
        )
        self.joints = self.probe.create_publisher(JointState, "joints", qos.STATE)
        self.until(self.joints.get_subscription_count)

    def _take(self, message: JointState) -> None:
        if len(message.position) != len(message.name):
            raise MessageError("a name without a position")
        self.read.append(message.name)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.executor.spin_once(timeout_sec=0.05)

    @property
    def counts(self) -> dict[str, int]:
        return dict(malformed_messages(self.node).counts)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rclpy.init()
    rig = Rig()
    yield rig
    rig.executor.shutdown()
    rig.node.destroy_node()
    rig.probe.destroy_node()
    rclpy.shutdown()


def good() -> JointState:
    return JointState(name=["waist"], position=[0.0])


@pytest.mark.parametrize("data", BROKEN)
def test_a_message_that_cannot_be_decoded_is_dropped_and_the_next_is_read(
    rig: Rig, data: bytes
) -> None:
    rig.joints.publish(data)
    rig.joints.publish(good())
    rig.until(lambda: rig.read)
    assert rig.counts == {"/joints": 1}
    assert len(rig.errors) == 1


def test_contents_that_a_callback_refuses_count_as_malformed(rig: Rig) -> None:
    rig.joints.publish(JointState(name=["waist"]))
    rig.until(lambda: rig.errors)
    assert rig.errors == ["a name without a position"]
    assert rig.counts == {"/joints": 1}


def test_every_cut_of_a_message_is_dropped_or_read_and_nothing_else(rig: Rig) -> None:
    whole = serialize_message(good())
    for length in range(len(whole)):
        rig.joints.publish(whole[:length])
        rig.until(lambda: len(rig.read) + len(rig.errors) == length + 1)  # noqa: B023
    assert rig.counts["/joints"] >= len(whole) - 8  # padding may be missing


def test_malformed_simulated_time_is_passed_over(rig: Rig) -> None:
    clock = rig.probe.create_publisher(Clock, "/clock", qos.CLOCK)
    rig.until(clock.get_subscription_count)
    clock.publish(b"\x00\x01\x00\x00\x01")
    message = Clock()
    message.clock.sec = 5
    clock.publish(message)
    rig.until(lambda: rig.node.get_clock().now().nanoseconds == 5_000_000_000)


def test_a_request_that_cannot_be_decoded_is_dropped_and_the_next_answered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = request.data
        return response

    take = SingleThreadedExecutor._take_service
    broken = iter([True])

    def take_service(executor: Any, service: Any) -> Any:
        """Fail once as rclpy does."""
        coroutine = take(executor, service)
        if next(broken, False):
            raise RuntimeError("failed to take request")
        return coroutine

    monkeypatch.setattr(SingleThreadedExecutor, "_take_service", take_service)
    rig.node.create_service(SetBool, "switch", answer)
    client = rig.probe.create_client(SetBool, "switch")
    rig.until(client.service_is_ready)
    client.call_async(SetBool.Request(data=True))
    rig.until(lambda: rig.counts == {"/switch": 1})
    future = client.call_async(SetBool.Request(data=True))
    rig.until(future.done)
    assert future.result().success


def test_diagnostics_name_topic_and_count(rig: Rig) -> None:
    heard: list[DiagnosticStatus] = []
    subscribe(
        rig.probe,
        DiagnosticArray,
        "/diagnostics",
        lambda message: heard.extend(message.status),
        qos.STATE,
    )
    publish_diagnostics(rig.node, "reader", Health)
    rig.until(lambda: heard)
    assert heard[-1].level == DiagnosticStatus.OK
    rig.joints.publish(b"")
    rig.until(lambda: heard[-1].level == DiagnosticStatus.WARN)
    assert heard[-1].message == "malformed messages dropped: /joints"
    assert [(value.key, value.value) for value in heard[-1].values] == [
        ("malformed on /joints", "1")
    ]


def test_every_subscription_and_executor_of_ours_survives_malformed_messages() -> None:
    here = SOURCES / "ptr_common/ptr_common/node.py"
    # They measure the middleware with messages of their own.
    measures = SOURCES / "widowx_bringup/widowx_bringup/doctor/image_transport.py"
    found = []
    for path in sorted(SOURCES.glob("*/*/**/*.py")):
        if "test" in path.relative_to(SOURCES).parts or path in (here, measures):
            continue
        for call in re.findall(
            r"\bcreate_subscription\(|\w*ThreadedExecutor\(|\brclpy\.spin\(",
            path.read_text(),
        ):
            found.append(f"{path.relative_to(SOURCES)}: {call}")
    assert found == []
