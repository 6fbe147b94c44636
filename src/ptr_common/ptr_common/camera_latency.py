"""Camera latency [s]: header stamp minus time of exposure."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import PtrError

MAX_CAMERA_LATENCY = 1.0
"""Largest latency of a camera that is believed [s]."""


class CameraLatencyError(PtrError, ValueError):
    """A latency that no camera has."""


def camera_latency(value: object) -> float:
    """Return the latency of a camera [s]: by how much a picture's stamp is later than the moment the picture shows.

    `ptr calibrate camera` measures it. Messages keep the stamps their driver gave them; who
    reads them subtracts it.

    Args:
        value: A number, or text that is one.

    Raises:
        CameraLatencyError: If it is not a number from 0 to `MAX_CAMERA_LATENCY`.
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
    """Return the latency [s] that a bag says a camera had; 0 where it says nothing of it.

    Args:
        custom: The bag's custom data. `camera_latency` has a number for each name in
            `cameras`; where those are missing it is that of `camera`.
        camera: Name of the camera.

    Raises:
        CameraLatencyError: If what it says is impossible.
    """
    names = custom.get("cameras") or custom.get("camera") or camera
    latencies = dict(
        zip(names.split(","), custom.get("camera_latency", "").split(","), strict=False)
    )
    return camera_latency(latencies.get(camera) or 0.0)
