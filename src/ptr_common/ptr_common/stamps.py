"""What the stamp of a message may be, and how far a camera's is behind the exposure.

The latency of a camera [s] is the header stamp of its image minus the time of exposure.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import PtrError

FUTURE_TOLERANCE = 0.05
"""A stamp may be this far ahead of the clock of the node that uses it [s].

Two processes see simulated time one tick apart.
"""


def early_problem(name: str, stamp_ns: int, now_ns: int) -> str:
    """Return why a stamp is refused as one from the future; empty if it is not.

    Args:
        name: What was stamped, such as "image".
        stamp_ns: Its stamp [ns].
        now_ns: The time now, on the clock of the node that uses it [ns].
    """
    ahead = (stamp_ns - now_ns) * 1e-9
    if ahead <= FUTURE_TOLERANCE:
        return ""
    return (
        f"{name} is stamped {ahead:.3f} s in the future; at most {FUTURE_TOLERANCE:g} s are "
        "allowed: the sender's clock differs from this computer's"
    )


def age_problem(name: str, stamp_ns: int, now_ns: int, max_age: float) -> str:
    """Return why a message is refused as late or as one from the future; empty if it is not.

    Args:
        name: What was stamped, such as "image".
        stamp_ns: Its stamp [ns].
        now_ns: The time now, on the clock of the node that uses it [ns].
        max_age: Maximum age [s].
    """
    age = (now_ns - stamp_ns) * 1e-9
    if age > max_age:
        return f"{name} is {age:.3f} s old; at most {max_age:g} s are allowed"
    return early_problem(name, stamp_ns, now_ns)


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
