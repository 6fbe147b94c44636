"""The audit of a bag: every message has one status, and the counts of a topic add up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ptr_common.images import IMAGE_TYPES
from ptr_common.topics import (
    TOPIC_COMMAND,
    TOPIC_DIAGNOSTICS,
    TOPIC_EXECUTED,
    TOPIC_JOINT_STATES,
    TOPIC_POLICY_STATE,
)

from .errors import BagError
from .reader import Bag
from .streams import MessageStatus, Stream
from .topics import base_and_transport

_NOT_NEEDED = re.compile(
    rf"(^|/)({TOPIC_COMMAND}|{TOPIC_EXECUTED}|{TOPIC_JOINT_STATES}|{TOPIC_POLICY_STATE}"
    rf"|{TOPIC_DIAGNOSTICS[1:]}"
    r"|camera_info|sim/world"
    r"|rosout|parameter_events|clock|tf|tf_static|events/write_split)$"
)


def audit_topics(bag: Bag, streams: Mapping[str, Stream]) -> dict[str, dict[str, Any]]:
    """Return type, number of messages and counts by status of every topic of a bag.

    Args:
        bag: The recording.
        streams: The streams that episodes were made of, by topic.

    Returns:
        Per topic `type`, `messages`, `fates` (label of a status to its number of messages),
        `without stamp` where some messages had none, and `unreadable` with the reason where
        none can be read.

    Raises:
        BagError: If the counts of a topic do not add up to its messages.
    """
    topics: dict[str, dict[str, Any]] = {}
    for topic, type_name in bag.types.items():
        total = bag.counts[topic]
        stream = streams.get(topic)
        counts = {_status_of(topic, bag.types).label: total} if total else {}
        if stream is not None:
            counts = _counts_of(stream)
        if sum(counts.values()) != total:
            raise BagError(
                f"{bag.path}: {topic}: the counts {counts} do not add up to {total} messages"
            )
        topics[topic] = {"type": type_name, "messages": total, "fates": counts}
        if topic in bag.unreadable:
            topics[topic]["unreadable"] = bag.unreadable[topic]
        if stream is not None and stream.unstamped.any():
            topics[topic]["without stamp"] = int(stream.unstamped.sum())
    return topics


def _counts_of(stream: Stream) -> dict[str, int]:
    """Return how many messages of a stream have each status that occurs."""
    counts = {}
    for status in MessageStatus:
        number = int((stream.status == status).sum())
        if number:
            counts[status.label] = number
    return counts


def _status_of(topic: str, types: Mapping[str, str]) -> MessageStatus:
    """Return the status of all messages of a topic that no episode is made of.

    Args:
        topic: Full name of the topic.
        types: Type of the messages of all topics.
    """
    base, transport = base_and_transport(topic)
    if transport and types.get(base) in IMAGE_TYPES:
        return MessageStatus.NOT_NEEDED  # the same images in another form
    if types[topic] in IMAGE_TYPES:
        return MessageStatus.OTHER_CAMERA
    if _NOT_NEEDED.search(topic):
        return MessageStatus.NOT_NEEDED
    return MessageStatus.UNKNOWN_TOPIC
