"""The messages of one topic in memory, each with a status that says what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class MessageStatus(IntEnum):
    """What became of a message."""

    USED = 0
    SUPERSEDED = 1  # a newer one had arrived when the step was taken
    OUTSIDE_EPISODE = 2
    DISCARDED = 3  # in an episode that ended with DISCARD
    REFUSED = 4  # in an episode that was refused; the audit holds the reason
    EARLY = 5  # command from before there was an observation
    LATE = 6  # command that no observation follows
    DUPLICATE = 7  # command with the stamp of another, or START of a running episode
    UNMATCHED = 8  # executed without a request, or event without a START
    NOT_FINITE = 9
    UNDECODABLE = 10
    OTHER_CAMERA = 11
    NOT_NEEDED = 12  # known topic that holds nothing of an episode
    UNKNOWN_TOPIC = 13
    UNTIMED = 14  # without a stamp, where log times are of another clock than stamps

    @property
    def label(self) -> str:
        """Return the name as the audit and the table show it."""
        return self.name.lower().replace("_", " ")


UNREADABLE = (
    MessageStatus.NOT_FINITE,
    MessageStatus.UNDECODABLE,
    MessageStatus.UNTIMED,
)
"""Statuses of messages without usable values or time; they never change again."""


@dataclass(frozen=True)
class Stream:
    """The messages of one topic that episodes are made of, in the order of the bag.

    Only the elements of `status` change while a bag is read.
    """

    topic: str
    type_name: str
    stamps: np.ndarray  # (n,) int64 [ns]; the log time where the header has none
    logs: np.ndarray  # (n,) int64, log times [ns]
    unstamped: np.ndarray  # (n,) bool, whether the header has no stamp
    payloads: list[bytes | memoryview]  # empty for images, which are read when chosen
    status: np.ndarray  # (n,) int8, of MessageStatus

    def readable(self) -> np.ndarray:
        """Return the indices of the messages with usable values, ordered by stamp.

        Messages of equal stamps stay in the order of the bag.

        Returns:
            Indices, shape (m,), m <= n.
        """
        order = np.argsort(self.stamps, kind="stable")
        return order[~np.isin(self.status[order], UNREADABLE)]

    def mark(self, indices: np.ndarray, status: MessageStatus) -> None:
        """Set the status of messages; unreadable ones keep theirs.

        Args:
            indices: Messages, shape (m,).
            status: Their new status.
        """
        readable = ~np.isin(self.status[indices], UNREADABLE)
        self.status[indices[readable]] = status

    def between(self, start_ns: int, end_ns: int) -> np.ndarray:
        """Return the indices of the messages stamped within a span, both ends included.

        Args:
            start_ns: Begin of the span [ns].
            end_ns: End of the span [ns].

        Returns:
            Indices in the order of the bag, shape (m,).
        """
        return np.flatnonzero((self.stamps >= start_ns) & (self.stamps <= end_ns))
