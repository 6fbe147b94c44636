"""A person's node under test, and a probe that plays arm, camera, recorder and simulation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from probe_rig import ProbeRig  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.managed_node import to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from ptr_msgs.srv import ResetScene  # noqa: E402
from widowx_bringup.teleop.mapping import Button, TeleopInput  # noqa: E402
from widowx_bringup.teleop.node import TeleopNode  # noqa: E402


class Hands:
    """A device whose input the test chooses."""

    def __init__(self) -> None:
        self.input = TeleopInput()
        self.closed = False

    def read(self, now: float) -> TeleopInput:
        current = self.input
        self.input = TeleopInput(current.motion, current.held)
        return current

    def on_step(self, step: np.ndarray) -> None:
        self.taken = step

    def close(self) -> None:
        self.closed = True


class Rig(ProbeRig):
    """The node, connected to all that the probe plays.

    Args:
        simulated: Whether the probe offers scenes and a clock.
        present: Whether the probe plays anybody before `join` is called.
        overrides: Parameters of the node.
    """

    def __init__(
        self, *, simulated: bool = False, present: bool = True, **overrides: Any
    ) -> None:
        self.hands = Hands()
        self.shown: list[str] = []
        values = {"task": "stir", **overrides}
        self.node = self.make_node(
            [Parameter(name, value=value) for name, value in values.items()]
        )
        self.probe = rclpy.create_node("probe")
        self.commands: list[EefCommand] = []
        self.events: list[EpisodeEvent] = []
        self.called: list[str] = []
        self.scenes: list[tuple[str, int]] = []  # task and seed of each reset
        self.arm_state = ArmState(proprio=[0.3, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0])
        self.solved = False
        self.refuses = False
        self.add_nodes()
        if present:
            self.join(simulated=simulated)
            self.until(lambda: self.node.beginning.simulated == simulated)
            self.until(lambda: not self.node.link.obstacle(needs_recorder=True))

    def make_node(self, parameters: list[Parameter]) -> TeleopNode:
        """Return the node under test."""
        return TeleopNode(
            lambda node: self.hands, self.shown.append, parameter_overrides=parameters
        )

    def join(self, *, simulated: bool = False) -> None:
        """Let the probe play its parts from now on."""
        self.arm = self.probe.create_publisher(ArmState, "arm/state", qos.STATE)
        self.camera = self.probe.create_publisher(
            CameraInfo, "camera/over_shoulder/camera_info", qos.IMAGES
        )
        self.log = self.probe.create_publisher(Log, "/rosout", qos.STATE)
        self.probe.create_subscription(
            EefCommand, "arm/command", self.commands.append, qos.COMMANDS
        )
        self.probe.create_subscription(
            EpisodeEvent, "episode/event", self.events.append, qos.EVENTS
        )
        self.clock = None
        if simulated:
            self.clock = self.probe.create_publisher(Clock, "/clock", qos.CLOCK)
            self.probe.create_service(ResetScene, "sim/reset", self.reset)
            self.probe.create_service(Trigger, "sim/outcome", self.outcome)
        for name in ("hold", "enable", "go_to_start"):
            self.probe.create_service(Trigger, f"arm/{name}", self.answer(name))
        self.probe.create_timer(0.02, self.tick)

    def answer(self, name: str) -> Callable[..., Any]:
        def serve(_: Any, response: Any) -> Any:
            self.called.append(name)
            response.success = not self.refuses
            response.message = f"refused {name}" if self.refuses else f"did {name}"
            return response

        return serve

    def reset(self, request: Any, response: Any) -> Any:
        self.scenes.append((request.task, request.seed))
        response.success, response.message = True, "set up"
        return response

    def outcome(self, _: Any, response: Any) -> Any:
        response.success = self.solved
        response.message = "solved" if self.solved else "not solved"
        return response

    def tick(self) -> None:
        now = to_stamp(time.time_ns())
        self.arm_state.header.stamp = now
        self.arm.publish(self.arm_state)
        image = CameraInfo()
        image.header.stamp = now
        self.camera.publish(image)
        if self.clock is not None:
            self.clock.publish(Clock(clock=now))

    def press(self, *buttons: Button) -> None:
        self.hands.input = TeleopInput(
            self.hands.input.motion, self.hands.input.held, buttons
        )
        self.until(lambda: not self.hands.input.buttons)

    def record(self) -> None:
        """Press the button and wait for the START."""
        events = len(self.events)
        self.press(Button.RECORD)
        self.until(lambda: len(self.events) > events)
        assert self.events[-1].event == EpisodeEvent.START

    def has_shown(self, text: str) -> bool:
        return any(text in line for line in self.shown)
