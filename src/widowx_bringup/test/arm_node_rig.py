"""An arm node under test, and a probe that plays everybody else."""

from __future__ import annotations

import time
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from probe_rig import ProbeRig  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.managed_node import to_stamp  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent  # noqa: E402
from widowx_bringup.sim.node import SimulationNode  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK  # noqa: E402

SECOND = 1_000_000_000
STEP = (0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


class Rig(ProbeRig):
    """The node under test, and a probe that plays everybody else."""

    def __init__(
        self, *, start: bool = True, namespace: str = "", **overrides: Any
    ) -> None:
        self.node = SimulationNode(
            parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()],
            namespace=namespace,
        )
        if start:
            self.node.start()
        self.probe = rclpy.create_node("probe", namespace=namespace)
        self.commands = self.probe.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
        self.events = self.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        self.heard: dict[str, list[Any]] = {
            "arm/state": [],
            "arm/executed": [],
            "joint_states": [],
            "/diagnostics": [],
        }
        kinds = (ArmState, EefCommand, JointState, DiagnosticArray)
        for kind, (topic, messages) in zip(kinds, self.heard.items(), strict=True):
            self.probe.create_subscription(kind, topic, messages.append, qos.STATE)
        self.add_nodes()
        if start:
            self.connect()

    def connect(self) -> None:
        """Wait until the probe and the node hear each other."""
        matched = (self.commands, self.events)
        self.until(
            lambda: (
                self.states
                and all(publisher.get_subscription_count() for publisher in matched)
            )
        )

    @property
    def states(self) -> list[ArmState]:
        return self.heard["arm/state"]

    @property
    def executed(self) -> list[EefCommand]:
        return self.heard["arm/executed"]

    def command(self, action: Any = STEP, age: float = 0.0) -> int:
        now = time.time_ns()
        message = EefCommand(
            action=action,
            source=EefCommand.SOURCE_TELEOP,
            observation_stamp=to_stamp(now - 1000),
        )
        message.header.stamp = to_stamp(now - round(age * SECOND))
        self.commands.publish(message)
        return now - 1000

    def command_and_wait(self, *arguments: Any, **options: Any) -> None:
        """Send a command and wait until it is executed or rejected."""
        executed, rejected = len(self.executed), self.states[-1].rejected
        self.command(*arguments, **options)
        self.until(
            lambda: len(self.executed) > executed or self.states[-1].rejected > rejected
        )

    def start(self, episode: str = "e") -> None:
        self.events.publish(
            EpisodeEvent(episode_id=episode, event=EpisodeEvent.START, task=TARGET_TASK)
        )
        self.until(lambda: self.node.guard.episode == episode)

    def call(self, kind: Any, name: str, request: Any = None) -> Any:
        client = self.probe.create_client(kind, name)
        self.until(client.service_is_ready)
        future = client.call_async(request or kind.Request())
        self.until(future.done)
        return future.result()

    def hold_until(self, reason: str) -> None:
        self.until(
            lambda: (
                self.states[-1].status == ArmState.STATUS_HOLDING
                and reason in self.states[-1].reason
            )
        )
