"""The node `bag_player`: plays the inputs of a policy from a bag, on the bag's clock.

It publishes no command. It subscribes to the commands of the replayed policy on
`replay/command` and compares them with the recorded ones.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ptr_common import qos
from ptr_common.errors import PtrError
from ptr_common.managed_node import parameter, run, subscribe, to_ns, to_stamp
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent
from ptr_training.bags.reader import Bag

TOPIC_REPLAYED = "replay/command"

SUBSCRIBER_TIMEOUT = 60.0
"""Longest time that the policy may take to subscribe [s]."""

TICK_NS = 10_000_000
"""Longest step of the clock [ns]."""

LAST_ANSWER = 1.0
"""Time for the last command of the policy [s]."""


class BagPlayer(Node):
    """Publishes images, arm states and episode events of one bag, then ends the process."""

    def __init__(self, **options: Any) -> None:
        """Open the bag and begin to play it in a thread.

        Args:
            options: Passed on to `rclpy.node.Node`.

        Raises:
            PtrError: If the bag cannot be read or lacks a topic.
        """
        super().__init__("bag_player", **options)
        self._path = Path(parameter(self, "bag", "", "folder of the bag to play"))
        camera = parameter(self, "camera", "over_shoulder", "camera of the policy")
        speed = "seconds of the bag per second of real time"
        self._rate = parameter(self, "rate", 1.0, speed)

        self._bag = Bag(self._path)
        self._publishers_by_topic: dict[str, Publisher] = {}
        for kind, topic, profile in (
            (Image, image_topic(camera), qos.IMAGES),
            (ArmState, TOPIC_ARM_STATE, qos.STATE),
            (EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS),
        ):
            name = self._topic_of(topic)
            self._publishers_by_topic[name] = self.create_publisher(kind, topic, profile)
        self._recorded_topic = self._topic_of(TOPIC_COMMAND)

        # Actions (7,) by the stamp of the image that they answer.
        self._recorded: dict[int, np.ndarray] = {}
        self._replayed: dict[int, np.ndarray] = {}

        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.CLOCK)
        subscribe(self, EefCommand, TOPIC_REPLAYED, self._on_command, qos.COMMANDS)
        self._error: Exception | None = None  # of the player's thread
        self._done = self.create_guard_condition(self._end)
        threading.Thread(target=self._play_and_end, name="player", daemon=True).start()

    def _topic_of(self, relative: str) -> str:
        """Return a topic's name in the bag, which may have any namespace.

        Args:
            relative: Name of the topic without a namespace.

        Raises:
            PtrError: If the bag has no such topic, or several.
        """
        names = []
        for name in self._bag.types:
            if f"/{name.lstrip('/')}".endswith(f"/{relative}"):
                names.append(name)

        if len(names) != 1:
            raise PtrError(
                f"{self._path} has {len(names) or 'no'} topics {relative}; one is needed; "
                f"it has: {', '.join(self._bag.types)}"
            )
        return names[0]

    def _on_command(self, message: EefCommand) -> None:
        self._replayed[to_ns(message.observation_stamp)] = np.asarray(message.action)

    # --- the player's thread ----------------------------------------------------------------

    def _play_and_end(self) -> None:
        """Play the bag, then let the executor end the process."""
        try:
            self._wait_for_subscribers()
            self._play()
            self._report()
        except Exception as error:
            self._error = error
        finally:
            self._done.trigger()

    def _end(self) -> None:
        """End the process, with the error of the player's thread if there was one."""
        if self._error is not None:
            raise PtrError(f"playing {self._path}: {self._error}") from self._error
        rclpy.try_shutdown()

    def _wait_for_subscribers(self) -> None:
        """Wait until every topic has a subscriber.

        Raises:
            PtrError: If that takes longer than `SUBSCRIBER_TIMEOUT`.
        """
        deadline = time.monotonic() + SUBSCRIBER_TIMEOUT
        while not self._has_subscribers():
            if time.monotonic() > deadline:
                raise PtrError(
                    f"no node subscribed to the topics of the bag for {SUBSCRIBER_TIMEOUT:g} s"
                )
            time.sleep(0.05)

    def _has_subscribers(self) -> bool:
        publishers = self._publishers_by_topic.values()
        return all(publisher.get_subscription_count() for publisher in publishers)

    def _play(self) -> None:
        """Publish every message and the clock; keep the recorded commands."""
        start: float | None = None
        now_ns = 0
        topics = [*self._publishers_by_topic, self._recorded_topic]

        for topic, stamp_ns, data in self._bag.messages(topics):
            if start is None:
                start = time.monotonic() - stamp_ns * 1e-9 / self._rate
                now_ns = stamp_ns

            while now_ns < stamp_ns:
                now_ns = min(now_ns + TICK_NS, stamp_ns)
                due = start + now_ns * 1e-9 / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
                self._clock_publisher.publish(Clock(clock=to_stamp(now_ns)))

            if topic in self._publishers_by_topic:
                self._publishers_by_topic[topic].publish(bytes(data))
            else:
                command = deserialize_message(bytes(data), EefCommand)
                action = np.asarray(command.action)
                self._recorded[to_ns(command.observation_stamp)] = action

        time.sleep(LAST_ANSWER)

    def _report(self) -> None:
        """Log how many commands answer the same image, and their mean difference."""
        stamps = sorted(self._recorded.keys() & self._replayed.keys())
        self.get_logger().info(
            f"{len(self._recorded)} commands recorded, {len(self._replayed)} replayed, "
            f"{len(stamps)} on the same image"
        )
        if stamps:
            differences = [
                self._replayed[stamp] - self._recorded[stamp] for stamp in stamps
            ]
            mean = np.abs(differences).mean(axis=0)
            self.get_logger().info(
                f"mean difference: {np.array2string(mean, precision=4)} [m, rad, opening]"
            )

    def destroy_node(self) -> None:
        """Close the bag."""
        self._bag.__exit__()
        super().destroy_node()


def main() -> int:
    """Run the player."""
    return run(BagPlayer)


if __name__ == "__main__":
    sys.exit(main())
