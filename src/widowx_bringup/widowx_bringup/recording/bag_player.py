"""Plays what a policy sees of a recorded bag, on the bag's own clock, and compares what the policy would do.

It publishes no command. Commands of the replayed policy are heard on `replay/command`.
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
from ptr_common.managed_node import parameter, run, to_ns, to_stamp
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    image_topic,
)
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent

TOPIC_REPLAYED = "replay/command"

LISTENER_LIMIT = 60.0
"""Longest time the policy may take to come up [s]."""

TICK_NS = 10_000_000
"""The clock goes on in ticks of this length where the bag has no messages."""


class BagPlayer(Node):
    """Publishes images, arm states and episode events of one bag, then ends the process."""

    def __init__(self, **options: Any) -> None:
        from ptr_training.bags.reader import Bag

        super().__init__("bag_player", **options)
        self._path = Path(parameter(self, "bag", "", "folder of the bag to play"))
        camera = parameter(
            self, "camera", "over_shoulder", "camera the policy looks through"
        )
        self._rate = parameter(
            self, "rate", 1.0, "seconds of the bag per second of real time"
        )
        self._bag = Bag(self._path)
        kinds = (
            (Image, image_topic(camera), qos.IMAGES),
            (ArmState, TOPIC_ARM_STATE, qos.STATE),
        )
        self._publishers_by_topic: dict[str, Publisher] = {
            self._topic_of(topic): self.create_publisher(kind, topic, profile)
            for kind, topic, profile in (
                *kinds,
                (EpisodeEvent, TOPIC_EPISODE_EVENT, qos.EVENTS),
            )
        }
        self._recorded_topic = self._topic_of(TOPIC_COMMAND)
        self._recorded: dict[
            int, np.ndarray
        ] = {}  # by the stamp of the picture they answer
        self._replayed: dict[int, np.ndarray] = {}
        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self.create_subscription(EefCommand, TOPIC_REPLAYED, self._on_command, qos.COMMANDS)
        self._error: Exception | None = None
        self._done = self.create_guard_condition(self._end)
        threading.Thread(target=self._play_and_end, name="player", daemon=True).start()

    def _topic_of(self, relative: str) -> str:
        """Return a topic's name in the bag, whatever namespace it was recorded in."""
        names = [
            name
            for name in self._bag.types
            if f"/{name.lstrip('/')}".endswith(f"/{relative}")
        ]
        if len(names) != 1:
            there = ", ".join(self._bag.types)
            raise PtrError(
                f"{self._path} has {len(names) or 'no'} topics {relative}; one is needed; it has: {there}"
            )
        return names[0]

    def _on_command(self, message: EefCommand) -> None:
        self._replayed[to_ns(message.observation_stamp)] = np.asarray(message.action)

    # --- the player's thread --------------------------------------------------------------------------------

    def _play_and_end(self) -> None:
        try:
            self._wait_for_listeners()
            self._play()
            self._report()
        except Exception as error:
            self._error = error
        finally:
            self._done.trigger()

    def _end(self) -> None:
        if self._error is not None:
            raise PtrError(f"playing {self._path}: {self._error}") from self._error
        rclpy.try_shutdown()

    def _wait_for_listeners(self) -> None:
        deadline = time.monotonic() + LISTENER_LIMIT
        while not all(
            publisher.get_subscription_count()
            for publisher in self._publishers_by_topic.values()
        ):
            if time.monotonic() > deadline:
                raise PtrError(f"nobody listens to the bag for {LISTENER_LIMIT:g} s")
            time.sleep(0.05)

    def _play(self) -> None:
        start: float | None = None
        now_ns = 0
        for topic, stamp_ns, data in self._bag.messages(
            [*self._publishers_by_topic, self._recorded_topic]
        ):
            if start is None:
                start, now_ns = time.monotonic() - stamp_ns * 1e-9 / self._rate, stamp_ns
            while now_ns < stamp_ns:
                now_ns = min(now_ns + TICK_NS, stamp_ns)
                time.sleep(max(0.0, start + now_ns * 1e-9 / self._rate - time.monotonic()))
                self._clock_publisher.publish(Clock(clock=to_stamp(now_ns)))
            if topic in self._publishers_by_topic:
                self._publishers_by_topic[topic].publish(bytes(data))
            else:
                command = deserialize_message(bytes(data), EefCommand)
                self._recorded[to_ns(command.observation_stamp)] = np.asarray(
                    command.action
                )
        time.sleep(1.0)  # the policy's last answer

    def _report(self) -> None:
        both = sorted(self._recorded.keys() & self._replayed.keys())
        self.get_logger().info(
            f"{len(self._recorded)} commands recorded, {len(self._replayed)} replayed, {len(both)} on the same picture"
        )
        if both:
            difference = np.abs(
                [self._replayed[stamp] - self._recorded[stamp] for stamp in both]
            ).mean(axis=0)
            self.get_logger().info(
                f"mean difference: {np.array2string(difference, precision=4)} [m, rad, opening]"
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
