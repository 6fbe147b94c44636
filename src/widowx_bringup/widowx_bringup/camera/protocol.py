"""The protocol of a camera, its value types and errors, and a monitor of rate and age."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.stamps import early_problem

from .view import CameraView

TOPIC_WORLD = "sim/world"
"""Topic of the states of a simulated world, which its cameras render."""


class CameraError(PtrError):
    """The camera does not answer, or its newest frame is too old."""


@dataclass(frozen=True)
class CameraFeatures:
    """Properties of a camera, known before it is connected.

    Attributes:
        name: Name of the camera.
        width: Image width [pixels].
        height: Image height [pixels].
        rate: Images per second [Hz].
    """

    name: str
    width: int
    height: int
    rate: float


@dataclass(frozen=True)
class Frame:
    """One image with its time.

    Attributes:
        stamp_ns: Stamp [ns].
        image: Shape (height, width, 3), uint8 RGB.
    """

    stamp_ns: int
    image: np.ndarray


class Camera(Protocol):
    """A colour camera, real or simulated.

    Attributes:
        features: Name, size and rate.
    """

    features: CameraFeatures

    @property
    def view(self) -> CameraView:
        """Its intrinsics and pose, once it is connected."""

    def connect(self) -> None:
        """Open the device."""

    def disconnect(self) -> None:
        """Close the device."""

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Return the newest frame.

        Args:
            max_age: Maximum age of the frame [s].

        Raises:
            CameraError: If the newest frame is older, or there is none.
        """


class FrameMonitor:
    """Measures rate and age of a camera's images.

    Args:
        rate: Expected images per second [Hz].
        max_age: Maximum age of the latest image [s].
        now_ns: The clock that stamps the images.
    """

    SPAN = 2.0
    """Length of the window in which the rate is measured [s of real time]."""

    SLOW = 0.8
    """Part of the expected rate below which a camera counts as slow."""

    def __init__(self, rate: float, max_age: float, now_ns: Callable[[], int]) -> None:
        self._expected = rate
        self._max_age = max_age
        self._now_ns = now_ns
        # Arrival on the monotonic clock [s] and stamp [ns] of the images in the window.
        self._images: deque[tuple[float, int]] = deque()

    def on_image(self, stamp_ns: int) -> None:
        """Note an image that arrived now.

        Args:
            stamp_ns: Its stamp [ns].
        """
        self._images.append((time.monotonic(), stamp_ns))
        self._forget()

    def _forget(self) -> None:
        """Drop the images that have left the window; the latest one stays."""
        oldest = time.monotonic() - self.SPAN
        while len(self._images) > 1 and self._images[0][0] < oldest:
            self._images.popleft()

    @property
    def rate(self) -> float:
        """Images per second of the clock that stamps them, which may be simulated [Hz]."""
        self._forget()
        if len(self._images) < 2:
            return 0.0
        duration_ns = self._images[-1][1] - self._images[0][1]
        return (len(self._images) - 1) * 1e9 / max(duration_ns, 1)

    @property
    def age(self) -> float:
        """Age of the latest image [s]; infinite before the first."""
        if not self._images:
            return float("inf")
        return (self._now_ns() - self._images[-1][1]) * 1e-9

    def problem(self) -> tuple[bool, str]:
        """Return the present problem of the camera.

        Returns:
            Whether images are missing (rather than slow), and a description of the problem,
            which is empty if there is none.
        """
        if not self._images:
            return True, "no image yet"
        if early := early_problem("image", self._images[-1][1], self._now_ns()):
            return True, early

        silence = time.monotonic() - self._images[-1][0]
        # Both clocks count: while a simulated clock is paused, images do not age.
        if self.age > self._max_age and silence > self._max_age:
            return True, (
                f"the latest image is {self.age:.2f} s old; "
                f"at most {self._max_age:g} s are allowed"
            )
        if self.rate < self.SLOW * self._expected:
            return False, f"{self.rate:.1f} images per second, not {self._expected:g}"
        return False, ""
