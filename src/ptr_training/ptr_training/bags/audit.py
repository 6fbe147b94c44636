"""What became of every message of a bag: one fate each, and sums that agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from ptr_common.images import IMAGE_TYPES
from ptr_common.topics import TOPIC_DIAGNOSTICS, TOPIC_JOINT_STATES, TOPIC_POLICY_STATE

from .mcap_reader import BagError
from .reader import Bag


class MessageStatus(IntEnum):
    """What became of a message."""

    USED = 0
    SUPERSEDED = 1  # a newer one was there when the step was taken
    OUTSIDE_EPISODE = 2
    DISCARDED = 3  # in an episode that ended with DISCARD
    REFUSED = 4  # in an episode that was refused; the audit says why
    EARLY = 5  # command from before there was an observation
    LATE = 6  # command that no observation follows
    DUPLICATE = 7  # command with the stamp of another, or START of an episode that runs
    UNMATCHED = 8  # executed without a request, or event without a START
    NOT_FINITE = 9
    UNDECODABLE = 10
    OTHER_CAMERA = 11
    NOT_NEEDED = 12  # known topic that says nothing an episode holds
    UNKNOWN_TOPIC = 13

    @property
    def label(self) -> str:
        """Return the name as the audit and the table show it."""
        return self.name.lower().replace("_", " ")


_NOT_NEEDED = re.compile(
    rf"(^|/)({TOPIC_JOINT_STATES}|{TOPIC_POLICY_STATE}|{TOPIC_DIAGNOSTICS[1:]}|camera_info|sim/world"
    r"|rosout|parameter_events|clock|tf|tf_static|events/write_split)$"
)


@dataclass
class Stream:
    """The messages of one topic that episodes are made of, in the order of the bag."""

    topic: str
    type_name: str
    stamps: np.ndarray  # (n,) int64 [ns]
    payloads: list[
        bytes | memoryview
    ]  # empty for images, which are read again once it is known which
    fates: np.ndarray  # (n,) int8, of MessageStatus
    unstamped: int = 0  # messages whose header has no stamp; they took their log time

    def readable(self) -> np.ndarray:
        """Return the indices of the messages that are neither damaged nor not finite, ordered by stamp."""
        order = np.argsort(self.stamps, kind="stable")
        return order[
            ~np.isin(
                self.fates[order], (MessageStatus.NOT_FINITE, MessageStatus.UNDECODABLE)
            )
        ]

    def mark(self, indices: np.ndarray, fate: MessageStatus) -> None:
        """Give messages a fate; those that cannot be read keep theirs."""
        readable = ~np.isin(
            self.fates[indices], (MessageStatus.NOT_FINITE, MessageStatus.UNDECODABLE)
        )
        self.fates[indices[readable]] = fate

    def between(self, start_ns: int, end_ns: int) -> np.ndarray:
        """Return the indices of the messages stamped within a span, both ends included."""
        return np.flatnonzero((self.stamps >= start_ns) & (self.stamps <= end_ns))


def audit_topics(bag: Bag, streams: Mapping[str, Stream]) -> dict[str, dict[str, Any]]:
    """Return for every topic of a bag its type, its messages and how many met which fate.

    Raises:
        BagError: If the fates of a topic do not add up to its messages.
    """
    topics: dict[str, dict[str, Any]] = {}
    for topic, kind in bag.types.items():
        stream = streams.get(topic)
        if stream is None:
            fates = {_fate_of(topic, kind).label: bag.counts[topic]}
        else:
            fates = {
                fate.label: int((stream.fates == fate).sum()) for fate in MessageStatus
            }
        fates = {label: number for label, number in fates.items() if number}
        if sum(fates.values()) != bag.counts[topic]:
            raise BagError(
                f"{bag.path}: {topic}: the fates {fates} do not add up to {bag.counts[topic]} messages"
            )
        topics[topic] = {"type": kind, "messages": bag.counts[topic], "fates": fates}
        if stream is not None and stream.unstamped:
            topics[topic]["without stamp"] = stream.unstamped
    return topics


def _fate_of(topic: str, type_name: str) -> MessageStatus:
    """Return what becomes of all messages of a topic that no episode is made of."""
    if type_name in IMAGE_TYPES:
        return MessageStatus.OTHER_CAMERA
    return (
        MessageStatus.NOT_NEEDED
        if _NOT_NEEDED.search(topic)
        else MessageStatus.UNKNOWN_TOPIC
    )
