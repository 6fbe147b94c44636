"""Input of gamepad, SpaceMouse and leader arm; messages arrive over real DDS."""

from __future__ import annotations

import contextlib
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from probe_rig import ProbeRig  # noqa: E402
from sensor_msgs.msg import JointState, Joy  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.action_space import ACTION_HIGH, JOINT_NAMES, finger_of  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.node import malformed_messages  # noqa: E402
from widowx_bringup.arm.kinematics import Kinematics  # noqa: E402
from widowx_bringup.teleop.devices import (  # noqa: E402
    DEAD_MAN,
    SILENCE_TIMEOUT,
    Gamepad,
    Leader,
    SpaceMouse,
)
from widowx_bringup.teleop.mapping import Button, TeleopMapper  # noqa: E402

UP = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])


class Graph(ProbeRig):
    """The node of a device, and a person's hands."""

    def __init__(self) -> None:
        self.node, self.probe = rclpy.create_node("teleop"), rclpy.create_node("person")
        self.add_nodes()

    def send(self, publisher: Any, message: Any, received: Callable[[], object]) -> None:
        """Publish until it was received."""
        deadline = time.monotonic() + 15.0
        while not received():
            assert time.monotonic() < deadline, "nothing was received in time"
            publisher.publish(message)
            self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def graph(ros: None) -> Iterator[Graph]:
    with contextlib.closing(Graph()) as graph:
        yield graph


def joy(axes: dict[int, float], *buttons: int) -> Joy:
    return Joy(
        axes=[axes.get(number, 0.0) for number in range(8)],
        buttons=[int(number in buttons) for number in range(11)],
    )


def test_sticks_move_while_the_shoulder_button_is_down(graph: Graph) -> None:
    pad = Gamepad(graph.node)
    publisher = graph.probe.create_publisher(Joy, "joy", qos.STATE)
    for buttons in ((), (DEAD_MAN,)):
        pad._joy = None
        graph.send(publisher, joy({1: 1.0, 0: 0.05, 3: -0.55}, *buttons), lambda: pad._joy)
        teleop_input = pad.read(time.monotonic())
        assert teleop_input.held == bool(buttons)
    np.testing.assert_allclose(teleop_input.motion, [1.0, 0, 0, 0, 0, -0.5], atol=1e-6)


def test_a_gamepad_that_fell_silent_is_not_held(graph: Graph) -> None:
    pad = Gamepad(graph.node)
    publisher = graph.probe.create_publisher(Joy, "joy", qos.STATE)
    graph.send(publisher, joy({1: 1.0}, DEAD_MAN), lambda: pad._joy)
    assert pad.read(time.monotonic()).held
    assert not pad.read(time.monotonic() + SILENCE_TIMEOUT + 0.1).held


def test_axes_that_are_not_finite_move_nothing_and_are_counted(graph: Graph) -> None:
    pad = Gamepad(graph.node)
    publisher = graph.probe.create_publisher(Joy, "joy", qos.STATE)
    counts = malformed_messages(graph.node).counts
    graph.send(publisher, joy({1: np.nan}, DEAD_MAN), lambda: counts["/joy"])
    assert not pad.read(time.monotonic()).held


def test_a_button_presses_once_and_not_if_it_was_down_before(graph: Graph) -> None:
    pad = Gamepad(graph.node)
    publisher = graph.probe.create_publisher(Joy, "joy", qos.STATE)
    graph.send(publisher, joy({}, 1), lambda: pad._joy)
    assert pad.read(time.monotonic()).buttons == ()
    graph.send(publisher, joy({}, 1, 2), lambda: 2 in pad._down)
    assert pad.read(time.monotonic()).buttons == (Button.RECORD,)
    assert pad.read(time.monotonic()).buttons == ()


def leader(joints: np.ndarray, opening: float = 1.0) -> JointState:
    return JointState(
        name=[*JOINT_NAMES, "left_finger"], position=[*joints, finger_of(opening)]
    )


def test_the_arm_does_the_leaders_motion_from_where_it_stands(graph: Graph) -> None:
    device = Leader(graph.node)
    joints = graph.probe.create_publisher(JointState, "leader/joint_states", qos.STATE)
    held = graph.probe.create_publisher(Bool, "leader/held", qos.STATE)
    graph.send(joints, leader(UP), lambda: device._state)
    assert not device.read(time.monotonic()).held
    graph.send(held, Bool(data=True), lambda: device._held[0])
    np.testing.assert_allclose(device.read(time.monotonic()).motion, 0, atol=1e-9)
    moved = UP + np.array([0.2, 0, 0, 0, 0, 0])
    before = device._state
    graph.send(joints, leader(moved, 0.0), lambda: device._state is not before)
    expected = Kinematics().forward(moved)[:3, 3] - Kinematics().forward(UP)[:3, 3]
    mapper, distance = TeleopMapper(1.0), np.zeros(3)
    for _ in range(6):
        device._held = (True, time.monotonic())
        device._state = device._state._replace(arrival=time.monotonic())
        step = mapper.action(device.read(time.monotonic()))
        assert (np.abs(step[:6]) <= ACTION_HIGH[:6] + 1e-12).all()
        device.on_step(step)
        distance += step[:3]
    np.testing.assert_allclose(distance, expected, atol=1e-6)
    assert step[6] == pytest.approx(0.0)


def test_a_leader_let_go_and_taken_up_elsewhere_moves_nothing(graph: Graph) -> None:
    device = Leader(graph.node)
    joints = graph.probe.create_publisher(JointState, "leader/joint_states", qos.STATE)
    graph.send(joints, leader(UP), lambda: device._state)
    device._held = (True, time.monotonic())
    device.read(time.monotonic())
    device._held = (False, time.monotonic())
    device.read(time.monotonic())
    before = device._state
    graph.send(joints, leader(UP + 0.3), lambda: device._state is not before)
    device._held = (True, time.monotonic())
    np.testing.assert_allclose(device.read(time.monotonic()).motion, 0, atol=1e-9)


def test_a_leader_without_a_joint_or_with_nan_is_not_followed(graph: Graph) -> None:
    device = Leader(graph.node)
    device._on_joints(leader(np.full(6, np.nan)))
    device._on_joints(JointState(name=["waist"], position=[0.0]))
    assert device._state is None


class Knob:
    """The device that `pyspacemouse` opens."""

    def __init__(self) -> None:
        self.state = types.SimpleNamespace(
            x=0.0, y=0.0, z=0.0, roll=0.0, pitch=0.0, yaw=0.0, buttons=[0, 0]
        )

    def read(self) -> Any:
        return self.state

    def close(self) -> None:
        self.state = None


def test_the_knob_moves_the_arm_and_its_buttons_grip_and_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    knob = Knob()
    monkeypatch.setitem(
        sys.modules, "pyspacemouse", types.SimpleNamespace(open=lambda: knob)
    )
    mouse = SpaceMouse()
    assert not mouse.read(0.0).held
    knob.state.y, knob.state.buttons = 1.0, [0, 1]
    teleop_input = mouse.read(0.0)
    assert teleop_input.held
    assert teleop_input.motion[0] == 1.0
    assert teleop_input.buttons == (Button.STOP,)
    assert mouse.read(0.0).buttons == ()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "pip install pyspacemouse"),
        (types.SimpleNamespace(open=lambda: None), "is it plugged in"),
    ],
)
def test_a_missing_spacemouse_is_reported(
    monkeypatch: pytest.MonkeyPatch, module: Any, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyspacemouse", module)
    with pytest.raises(PtrError, match=message):
        SpaceMouse()
