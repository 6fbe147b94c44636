"""Reads fields of serialised ROS messages (CDR) without their message types."""

from __future__ import annotations

import struct

import numpy as np

from .errors import PtrError

ENCAPSULATION = 4
"""Bytes before the first field; the second of them names the byte order."""


class CdrError(PtrError):
    """A serialised message ends inside a field."""


def stamp_of(buffer: bytes | memoryview) -> int:
    """Return the header stamp [ns] of a serialised message that begins with a std_msgs/Header.

    Args:
        buffer: The serialised message.

    Raises:
        CdrError: If the message is too short for a stamp.
    """
    return CdrReader(buffer).stamp()


class CdrReader:
    """Reads the fields of one CDR message in order.

    Fields are aligned to their size, counted from the end of the encapsulation.

    Args:
        buffer: The serialised message.

    Attributes:
        position: Byte at which the next field begins, before alignment.
    """

    def __init__(self, buffer: bytes | memoryview) -> None:
        self.buffer = memoryview(buffer)
        self.position = ENCAPSULATION
        is_little_endian = len(self.buffer) < 2 or self.buffer[1] & 1
        self._order = "<" if is_little_endian else ">"

    def stamp(self) -> int:
        """Return a builtin_interfaces/Time in nanoseconds."""
        seconds, nanoseconds = self._unpack("iI")
        return seconds * 1_000_000_000 + nanoseconds

    def header(self) -> tuple[int, str]:
        """Return stamp [ns] and frame id of a std_msgs/Header."""
        stamp_ns = self.stamp()
        return stamp_ns, self.string()

    def unsigned(self) -> int:
        """Return a uint32."""
        self.position = (self.position + 3) & ~3
        return self._unpack("I")[0]

    def octet(self) -> int:
        """Return a uint8."""
        return self._unpack("B")[0]

    def string(self) -> str:
        """Return a string; bytes that are not UTF-8 are replaced.

        Raises:
            CdrError: If the message ends before the string does.
        """
        content = self._take(self.unsigned()).tobytes()
        return content.rstrip(b"\0").decode("utf-8", "replace")

    def octets(self) -> np.ndarray:
        """Return a uint8[] as an array, shape (n,), that shares memory with the message."""
        return np.frombuffer(self._take(self.unsigned()), np.uint8)

    def _unpack(self, kinds: str) -> tuple[int, ...]:
        layout = self._order + kinds
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _take(self, size: int) -> memoryview:
        """Return the next bytes and move on.

        Raises:
            CdrError: If the message ends before them.
        """
        end = self.position + size
        content = self.buffer[self.position : end]
        if len(content) < size:
            raise CdrError(
                f"message of {len(self.buffer)} bytes is truncated: a field ends at {end}"
            )
        self.position = end
        return content
