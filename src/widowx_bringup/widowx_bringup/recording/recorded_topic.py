"""One topic of the recorder: its type, its pre-roll and its description in a bag."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import yaml
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from .bag_writer import Topic
from .message_definitions import message_definition, type_hash

PRE_ROLL_NS = 1_000_000_000
"""Maximum age at START of a message from before it that enters the bag [ns]."""


QUEUE_DEPTH = 100
"""Depth of the subscriptions, whatever the depth of the publishers: messages survive a pause
of this process."""


@dataclass
class RecordedTopic:
    """A subscribed topic.

    Attributes:
        name: Full name.
        type_name: Message type, for instance "sensor_msgs/msg/Image".
        pre_roll: Whether the newest message is kept for the start of the next bag.
        needed: Whether a bag without this topic is useless.
        lead_ns: The newest message older than this is kept as well, with all after it [ns].
        shared: Whether several nodes may publish it.
        recent: Messages kept, with their times of arrival [ns].
        description: Description in the running bag; None before its first message.
    """

    name: str
    type_name: str
    pre_roll: bool
    needed: bool
    lead_ns: int = 0
    shared: bool = False
    recent: deque[tuple[bytes, int]] = field(default_factory=deque)
    description: Topic | None = None

    def keep(self, data: bytes, stamp_ns: int) -> None:
        """Keep a message for the start of the next bag and drop those it replaces."""
        self.recent.append((data, stamp_ns))
        while len(self.recent) > 1 and self.recent[1][1] <= stamp_ns - self.lead_ns:
            self.recent.popleft()

    def pre_roll_at(self, now_ns: int) -> Iterator[tuple[bytes, int]]:
        """Yield the messages that a bag which starts now begins with, and their times [ns]."""
        for data, stamp_ns in self.recent:
            if 0 <= now_ns - stamp_ns <= PRE_ROLL_NS + self.lead_ns:
                yield data, stamp_ns

    def describe(self, profiles: Iterable[QoSProfile]) -> Topic:
        """Return the description for a bag.

        Args:
            profiles: Quality of service of the present publishers.
        """
        return Topic(
            self.name,
            self.type_name,
            message_definition(self.type_name),
            type_hash(self.type_name),
            offered_qos(profiles),
        )


def deep_queue(profile: QoSProfile) -> QoSProfile:
    """Return the quality of service of a subscription, from that of its publishers."""
    return QoSProfile(
        depth=QUEUE_DEPTH, reliability=profile.reliability, durability=profile.durability
    )


def full_type_name(message_type: type) -> str:
    """Return the name of a message class of ROS, for instance "sensor_msgs/msg/Image"."""
    package, folder, _ = message_type.__module__.split(".", 2)
    return f"{package}/{folder}/{message_type.__name__}"


def offered_qos(profiles: Iterable[QoSProfile]) -> str:
    """Return profiles of publishers as text: a YAML list, as in rosbag2 up to version 8."""
    entries = []
    for profile in profiles:
        entry = {
            "history": int(profile.history),
            "depth": profile.depth,
            "reliability": int(profile.reliability),
            "durability": int(profile.durability),
            "deadline": _duration(profile.deadline),
            "lifespan": _duration(profile.lifespan),
            "liveliness": int(profile.liveliness),
            "liveliness_lease_duration": _duration(profile.liveliness_lease_duration),
            "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
        }
        entries.append(entry)
    return yaml.safe_dump(entries, sort_keys=False).strip() if entries else ""


def _duration(duration: Duration) -> dict[str, int]:
    seconds, nanoseconds = divmod(duration.nanoseconds, 1_000_000_000)
    return {"sec": seconds, "nsec": nanoseconds}
