"""The policy node and everybody it talks to, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rclpy
from brightness_bundle import CAMERA, TASK
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.images import fill_message
from ptr_common.managed_node import to_stamp
from ptr_common.topics import image_topic
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
from ptr_policy_node.policy_node import PolicyNode

SECOND = 1_000_000_000


class Rig:
    """The node under test, and everybody it talks to.

    Args:
        bundle: Of the node.
        overrides: Further parameters of the node.
    """

    def __init__(self, bundle: Path, **overrides: object) -> None:
        values = {
            "bundle": str(bundle),
            "camera": CAMERA.name,
            "width": CAMERA.width,
            "height": CAMERA.height,
        }
        self.node = PolicyNode(
            parameter_overrides=[
                Parameter(k, value=v) for k, v in {**values, **overrides}.items()
            ]
        )
        self.probe = rclpy.create_node("probe")
        self.images = self.probe.create_publisher(
            Image, image_topic(CAMERA.name), qos.IMAGES
        )
        self.arms = self.probe.create_publisher(ArmState, "arm/state", qos.STATE)
        self.events = self.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        self.commands: list[EefCommand] = []
        self.states: list[PolicyState] = []
        self.probe.create_subscription(
            EefCommand, "arm/command", self.commands.append, qos.COMMANDS
        )
        self.probe.create_subscription(
            PolicyState, "policy/state", self.states.append, qos.STATE
        )
        self.shadow_states: list[PolicyState] = []
        self.probe.create_subscription(
            PolicyState, "shadow/policy/state", self.shadow_states.append, qos.STATE
        )
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.probe):
            self.executor.add_node(node)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.probe.destroy_node()

    def start(self) -> None:
        self.node.start()
        publishers = (self.images, self.arms, self.events)
        self.until(
            lambda: all(publisher.get_subscription_count() for publisher in publishers)
        )

    def until(self, condition: Callable[[], object], limit: float = 10.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            self.executor.spin_once(timeout_sec=0.05)

    def event(
        self, event: int, task: str = TASK, episode: str = "e", stamp_ns: int = 0
    ) -> None:
        message = EpisodeEvent(episode_id=episode, event=event, task=task)
        message.header.stamp = to_stamp(stamp_ns or time.time_ns())
        self.events.publish(message)

    def feed(
        self,
        *,
        image_age: float = 0.0,
        state_age: float = 0.0,
        brightness: int = 128,
        status: int = 0,
        reason: str = "",
    ) -> int:
        now = time.time_ns()
        state = ArmState(status=status, reason=reason)
        state.header.stamp = to_stamp(now - round(state_age * SECOND))
        self.arms.publish(state)
        image = Image()
        fill_message(image, np.full((CAMERA.height, CAMERA.width, 3), brightness, np.uint8))
        stamp_ns = now - round(image_age * SECOND)
        image.header.stamp = to_stamp(stamp_ns)
        self.images.publish(image)
        return stamp_ns

    def feed_until(self, condition: Callable[[], object], **what: object) -> None:
        def fed() -> object:
            if not condition():
                self.feed(**what)
                return False
            return True

        self.until(fed)
