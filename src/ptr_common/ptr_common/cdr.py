"""Reads fields of serialised ROS messages (CDR) without their message types."""

from __future__ import annotations

import struct

import numpy as np

from .errors import PtrError


class CdrError(PtrError):
    """A serialised message ends inside a field."""


def stamp_of(buffer: bytes | memoryview) -> int:
    """Return the header stamp [ns] of any serialised message whose first field is a std_msgs/Header."""
    return CdrReader(buffer).stamp()


class CdrReader:
    """Walks the fields of one CDR message; they are aligned to their size after the 4 bytes of encapsulation."""

    def __init__(self, buffer: bytes | memoryview) -> None:
        self.buffer = memoryview(buffer)
        self.position = 4
        self.order = "<" if len(self.buffer) < 2 or self.buffer[1] & 1 else ">"

    def stamp(self) -> int:
        seconds, nanoseconds = self._unpack("iI")
        return seconds * 1_000_000_000 + nanoseconds

    def header(self) -> tuple[int, str]:
        return self.stamp(), self.string()

    def unsigned(self) -> int:
        self.position = (self.position + 3) & ~3
        return self._unpack("I")[0]

    def string(self) -> str:
        return (
            self._take(self.unsigned()).tobytes().rstrip(b"\0").decode("utf-8", "replace")
        )

    def octets(self) -> np.ndarray:
        return np.frombuffer(self._take(self.unsigned()), np.uint8)

    def _unpack(self, kinds: str) -> tuple[int, ...]:
        return struct.unpack(
            self.order + kinds, self._take(struct.calcsize(self.order + kinds))
        )

    def _take(self, size: int) -> memoryview:
        taken = self.buffer[self.position : self.position + size]
        if len(taken) < size:
            raise CdrError(
                f"message of {len(self.buffer)} bytes is truncated: a field ends at {self.position + size}"
            )
        self.position += size
        return taken
