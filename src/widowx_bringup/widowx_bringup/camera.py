"""A camera, as the rest of the system sees it: a protocol, its value types and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptr_policy_node.spec import PtrError


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
