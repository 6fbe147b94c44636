"""Camera latency [s]: header stamp minus time of exposure."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import PtrError

MAX_CAMERA_LATENCY = 1.0
"""Largest camera latency that is accepted [s]."""


class CameraLatencyError(PtrError, ValueError):
    """A latency that no camera has."""


def camera_latency(value: object) -> float:
    """Return a camera latency [s] after checking its range.

    `ptr calibrate camera` measures it. Messages keep the stamps of their driver; the reader of
    an image subtracts the latency from its stamp.

    Args:
        value: A number, or its text.

    Raises:
        CameraLatencyError: If the value is not a number from 0 to `MAX_CAMERA_LATENCY`.
    """
    try:
        latency = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        latency = float("nan")
    if not 0.0 <= latency <= MAX_CAMERA_LATENCY:
        raise CameraLatencyError(
            f"camera_latency is {value!r}; allowed are 0 to {MAX_CAMERA_LATENCY:g} s"
        )
    return latency


def recorded_latency(custom: Mapping[str, str], camera: str) -> float:
    """Return the latency [s] of a camera as a bag's metadata give it; 0 where they give none.

    Args:
        custom: The bag's custom data. `camera_latency` has a number for each name in
            `cameras`. In bags without `cameras` it is the latency of `camera`.
        camera: Name of the camera.

    Raises:
        CameraLatencyError: If the recorded value is out of range.
    """
    names = custom.get("cameras") or custom.get("camera") or camera
    recorded = custom.get("camera_latency", "").split(",")
    latencies = dict(zip(names.split(","), recorded, strict=False))
    return camera_latency(latencies.get(camera) or 0.0)
