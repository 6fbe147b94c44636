"""A camera, as the rest of the system sees it: a protocol, its value types and its errors; and how well it shows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptr_common.errors import PtrError

TOPIC_WORLD = "sim/world"
"""Where a simulated world says what there is to draw."""


class CameraError(PtrError):
    """The camera does not answer or its newest frame is too old."""


@dataclass(frozen=True)
class CameraFeatures:
    """What a camera is, readable before it is connected."""

    name: str
    width: int
    height: int
    rate: float  # [Hz]


@dataclass(frozen=True)
class Frame:
    """One picture."""

    stamp_ns: int
    image: np.ndarray  # (height, width, 3) uint8 RGB


class Camera(Protocol):
    """A colour camera, real or simulated."""

    features: CameraFeatures

    def connect(self) -> None:
        """Open the device."""

    def disconnect(self) -> None:
        """Close the device."""

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame; raises CameraError if it is older than `max_age` seconds."""


class FrameMonitor:
    """Knows how often a camera shows something new, and how old that is.

    Args:
        rate: Pictures per second expected [Hz].
        max_age: Oldest newest picture that is no error [s].
        now_ns: The clock that stamps the pictures.
    """

    SPAN = 2.0
    """The rate is that of so many last seconds [s]."""

    SLOW = 0.8
    """Part of the expected rate below which a camera is told to be slow."""

    def __init__(self, rate: float, max_age: float, now_ns: Callable[[], int]) -> None:
        self._expected = rate
        self._max_age = max_age
        self._now_ns = now_ns
        self._seen: deque[tuple[float, int]] = (
            deque()
        )  # arrival on the monotonic clock [s], stamp [ns]

    def saw(self, stamp_ns: int) -> None:
        """Take note of a picture."""
        self._seen.append((time.monotonic(), stamp_ns))
        self._forget()

    def _forget(self) -> None:
        while len(self._seen) > 1 and self._seen[0][0] < time.monotonic() - self.SPAN:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Pictures per second of their own time [Hz], so that simulated ones are judged by the simulated clock."""
        self._forget()
        if len(self._seen) < 2:
            return 0.0
        return (len(self._seen) - 1) * 1e9 / max(self._seen[-1][1] - self._seen[0][1], 1)

    @property
    def age(self) -> float:
        """Age of the newest picture [s]; infinite before the first."""
        return (self._now_ns() - self._seen[-1][1]) * 1e-9 if self._seen else float("inf")

    def problem(self) -> tuple[bool, str]:
        """Return whether pictures are missing, and what is wrong; an empty text if nothing is."""
        if not self._seen:
            return True, "no picture yet"
        since = time.monotonic() - self._seen[-1][0]
        if (
            self.age > self._max_age and since > self._max_age
        ):  # a simulated clock that stands lets nothing age
            return (
                True,
                f"the newest picture is {self.age:.2f} s old; at most {self._max_age:g} s are allowed",
            )
        if self.rate < self.SLOW * self._expected:
            return False, f"{self.rate:.1f} pictures per second, not {self._expected:g}"
        return False, ""
