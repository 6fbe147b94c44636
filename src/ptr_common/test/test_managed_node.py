"""Managed nodes: parameters with ranges, and the life cycle through its real services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.msg import ParameterValue  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.managed_node import ManagedNode, parameter  # noqa: E402


class Lamp(ManagedNode):
    """Opens one of everything; says what its hooks were."""

    def __init__(self, **overrides: Any) -> None:
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        super().__init__("lamp", parameter_overrides=values)
        self.power = parameter(self, "power", 1.0, "light [W]", (0.5, 2.0))
        parameter(self, "bulbs", 3, "number of bulbs", (1, 9), settable=True)
        self.calls: list[str] = []
        self.broken = ""
        self.publish_health("lamp")

    def configure(self) -> None:
        self.calls.append(f"configure {self.value('bulbs')}")
        self.light = self.create_publisher(String, "light", 1)
        self.create_timer(10.0, lambda: None)
        self.create_subscription(String, "switch", lambda _: None, 1)
        if self.broken:
            raise PtrError(self.broken)

    def activate(self) -> None:
        self.calls.append("activate")

    def deactivate(self) -> None:
        self.calls.append("deactivate")

    def cleanup(self) -> None:
        self.calls.append("cleanup")
        if self.broken:
            raise ValueError(self.broken)


class Rig:
    def __init__(self, **overrides: Any) -> None:
        self.node = Lamp(**overrides)
        self.probe = rclpy.create_node("probe")
        self.diagnostics: list[DiagnosticArray] = []
        self.probe.create_subscription(
            DiagnosticArray, "/diagnostics", self.diagnostics.append, qos.STATE
        )
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.probe)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.probe.destroy_node()

    def until(self, condition: Callable[[], object], limit: float = 15.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.probe.create_client(kind, f"lamp/{name}")
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()

    def transition(self, number: int) -> bool:
        return self.call(
            ChangeState,
            "change_state",
            ChangeState.Request(transition=Transition(id=number)),
        ).success

    def state(self) -> int:
        return self.call(GetState, "get_state", GetState.Request()).current_state.id

    def set(self, name: str, value: int) -> Any:
        setting = Parameter(name, value=value).to_parameter_msg()
        return self.call(
            SetParameters, "set_parameters", SetParameters.Request(parameters=[setting])
        ).results[0]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rclpy.init()
    rig = Rig()
    yield rig
    rig.close()
    rclpy.shutdown()


def entities(node: ManagedNode) -> tuple[int, ...]:
    kinds = (
        node.publishers,
        node.subscriptions,
        node.services,
        node.clients,
        node.timers,
        node.guards,
    )
    return tuple(len(list(kind)) for kind in kinds)


def test_transitions_by_service_do_the_hooks_and_leave_nothing_behind(rig: Rig) -> None:
    before = entities(rig.node)
    for round_ in range(3):
        for transition in (
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
        ):
            assert rig.transition(transition), (round_, transition)
    assert rig.node.calls == ["configure 3", "activate", "deactivate", "cleanup"] * 3
    assert entities(rig.node) == before


def test_shutdown_of_an_active_node_stops_and_closes_it(rig: Rig) -> None:
    rig.node.start()
    assert rig.transition(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert rig.node.calls[-2:] == ["deactivate", "cleanup"]
    assert rig.state() == State.PRIMARY_STATE_FINALIZED


def test_a_node_that_refuses_stays_unconfigured_with_nothing_open_and_says_why(
    rig: Rig,
) -> None:
    before = entities(rig.node)
    rig.node.broken = "the bulb is loose"
    assert not rig.transition(Transition.TRANSITION_CONFIGURE)
    assert rig.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert entities(rig.node) == before
    rig.until(
        lambda: any(one.status[0].message == "the bulb is loose" for one in rig.diagnostics)
    )
    assert rig.diagnostics[-1].status[0].level == DiagnosticStatus.ERROR
    with pytest.raises(PtrError, match="the bulb is loose"):
        rig.node.start()
    rig.node.broken = ""
    rig.node.start()
    assert rig.node.active


def test_a_later_refusal_of_a_node_that_started_by_itself_is_logged(
    capfd: pytest.CaptureFixture[str],
) -> None:
    rclpy.init()
    rig = Rig(autostart=True)
    try:
        rig.node.start()
        rig.node.trigger_deactivate()
        rig.node.trigger_cleanup()
        rig.node.broken = "the bulb is loose"
        assert not rig.transition(Transition.TRANSITION_CONFIGURE)
        assert "the bulb is loose" in capfd.readouterr().err
    finally:
        rig.close()
        rclpy.shutdown()


def test_an_error_in_the_program_closes_the_node_and_it_can_be_configured_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.node, "activate", lambda: 1 / 0)
    assert rig.transition(Transition.TRANSITION_CONFIGURE)
    assert not rig.transition(Transition.TRANSITION_ACTIVATE)
    assert rig.node.calls[-1] == "cleanup"
    monkeypatch.undo()
    rig.node.start()
    assert rig.node.active


def test_a_clean_up_that_fails_still_releases_what_was_opened(rig: Rig) -> None:
    before = entities(rig.node)
    rig.node.start()
    rig.node.broken = "stuck"
    rig.transition(Transition.TRANSITION_DEACTIVATE)
    assert rig.transition(Transition.TRANSITION_CLEANUP)
    assert entities(rig.node) == before
    rig.node.broken = ""


def test_parameters_are_set_while_unconfigured_only_and_within_their_range(
    rig: Rig,
) -> None:
    assert rig.set("bulbs", 5).successful
    refused = rig.set("bulbs", 12)
    assert not refused.successful
    assert "out of range. Min: 1, Max: 9, value: 12" in refused.reason
    rig.node.start()
    assert rig.node.calls[0] == "configure 5"
    refused = rig.set("bulbs", 4)
    assert not refused.successful
    assert (
        "only while lamp is not configured: ros2 lifecycle set /lamp deactivate, then cleanup"
        in refused.reason
    )
    assert rig.node.value("bulbs") == 5


def test_a_fixed_parameter_cannot_be_set(rig: Rig) -> None:
    setting = Parameter("power", value=1.5).to_parameter_msg()
    result = rig.call(
        SetParameters, "set_parameters", SetParameters.Request(parameters=[setting])
    ).results[0]
    assert not result.successful
    assert isinstance(setting.value, ParameterValue)
    assert rig.node.value("power") == 1.0


def test_range_and_meaning_of_a_parameter_can_be_asked_for(rig: Rig) -> None:
    request = DescribeParameters.Request(names=["power"])
    described = rig.call(DescribeParameters, "describe_parameters", request).descriptors[0]
    assert described.description == "light [W]"
    assert (
        described.floating_point_range[0].from_value,
        described.floating_point_range[0].to_value,
    ) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("power", "message"),
    [(3.0, "Max: 2.0, value: 3.0"), (float("nan"), "nan"), ("a", "STRING")],
)
def test_impossible_value_at_start_is_refused_with_the_range(
    power: Any, message: str
) -> None:
    rclpy.init()
    try:
        with pytest.raises(PtrError, match=message):
            Lamp(power=power)
    finally:
        rclpy.shutdown()
