"""The rest of the graph of a recorder that runs as a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.images import fill_message
from ptr_common.managed_node import to_stamp
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent

IMAGE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
TIME_LIMIT = 20.0


class Robot:
    """The rest of the graph: publishes images, states, commands and events."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("robot", namespace="wx", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        make = self.node.create_publisher
        self.images = make(Image, "camera/front/image_raw", qos.IMAGES)
        self.states = make(ArmState, "arm/state", qos.STATE)
        self.commands = make(EefCommand, "arm/command", qos.COMMANDS)
        self.events = make(EpisodeEvent, "episode/event", qos.EVENTS)
        self.node.create_subscription(
            DiagnosticArray, "/diagnostics", self._note, qos.STATE
        )
        self.status: DiagnosticStatus | None = None
        self.step = 0

    def _note(self, message: DiagnosticArray) -> None:
        self.status = next(
            (status for status in message.status if status.name == "/wx/recorder_node"),
            self.status,
        )

    @property
    def values(self) -> dict[str, str]:
        return (
            {entry.key: entry.value for entry in self.status.values} if self.status else {}
        )

    def wait(self, condition: Callable[[], object], *, moving: bool = False) -> None:
        """Spin until a condition holds; `moving` publishes meanwhile."""
        deadline = time.monotonic() + TIME_LIMIT
        while not condition():
            assert time.monotonic() < deadline, (
                f"waited in vain; recorder says {self.status}"
            )
            self.executor.spin_once(timeout_sec=0.02)
            if moving:
                self.move()

    def move(self) -> None:
        """Publish one image, state and command."""
        self.step += 1
        stamp = to_stamp(self.node.get_clock().now().nanoseconds)
        image, state, command = Image(), ArmState(), EefCommand()
        image.header.stamp = state.header.stamp = command.header.stamp = stamp
        fill_message(image, IMAGE)
        self.images.publish(image)
        self.states.publish(state)
        self.commands.publish(command)

    def say(self, event: int, episode: str, said: Any = None) -> None:
        """Publish an event, with the stamp `said` or that of now."""
        message = EpisodeEvent(
            event=event, episode_id=episode, task="put red in bowl", text="seed 3"
        )
        message.header.stamp = said or self.node.get_clock().now().to_msg()
        self.events.publish(message)

    def connected(self) -> bool:
        publishers = (self.images, self.states, self.commands, self.events)
        return all(publisher.get_subscription_count() for publisher in publishers)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
