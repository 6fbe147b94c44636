"""One topic of the recorder: its type, its pre-roll and its description in a bag."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import yaml
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from ptr_common.stamps import FUTURE_TOLERANCE

from .bag_writer import Topic
from .message_definitions import message_definition, type_hash

PRE_ROLL_NS = 1_000_000_000
"""Maximum age of a message that enters the bag when the recorder hears of START [ns]."""
TICK_NS = round(1e9 * FUTURE_TOLERANCE)
"""How much later than here it may be on the clock of the sender of START [ns]."""

QUEUE_DEPTH = 100
"""Depth of the subscriptions, whatever the depth of the publishers: messages survive a pause
of this process."""


@dataclass
class RecordedTopic:
    """A subscribed topic.

    Attributes:
        name: Full name.
        type_name: Message type, for instance "sensor_msgs/msg/Image".
        pre_roll: Whether the newest message from before START enters the bag.
        needed: Whether a bag without this topic is useless.
        lead_ns: How much older than START the newest of these is; all after it enter too [ns].
        shared: Whether several nodes may publish it.
        recent: Messages of the latest time, with their times of arrival [ns]; at least one.
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
        """Keep a message for the start of the next bag and drop those that are too old for it."""
        self.recent.append((data, stamp_ns))
        oldest = stamp_ns - PRE_ROLL_NS - self.lead_ns
        while len(self.recent) > 1 and self.recent[1][1] <= oldest:
            self.recent.popleft()

    def pre_roll_at(self, start_ns: int, now_ns: int) -> Iterator[tuple[bytes, int]]:
        """Yield the messages that a bag begins with, and their times of arrival [ns].

        Answers to START may arrive before it does, on a busy computer: what arrived since START
        was said enters the bag too.

        Args:
            start_ns: Time of START [ns].
            now_ns: The time now [ns].
        """
        oldest = now_ns - PRE_ROLL_NS - self.lead_ns
        kept = [message for message in self.recent if oldest <= message[1] <= now_ns]
        begin = start_ns - self.lead_ns
        if self.pre_roll:
            yield from [message for message in kept if message[1] <= begin][-1:]
        yield from (message for message in kept if message[1] > begin)

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


def pre_roll(
    topics: Iterable[RecordedTopic], start_ns: int, now_ns: int
) -> list[tuple[int, RecordedTopic, bytes]]:
    """Return the messages that a bag begins with, with their times of arrival [ns], oldest first.

    Args:
        topics: All topics.
        start_ns: Stamp of START [ns]. One of another clock says nothing of when it was: then all
            that is kept enters, which readers of the bag find to be from before START.
        now_ns: The time now [ns].
    """
    begins = min(max(start_ns - TICK_NS, now_ns - PRE_ROLL_NS), now_ns)
    messages = []
    for topic in topics:
        for data, stamp_ns in topic.pre_roll_at(begins, now_ns):
            messages.append((stamp_ns, topic, data))
    return sorted(messages, key=lambda message: message[0])


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
