"""Estimates camera latency by correlating image change with joint motion. Pure NumPy.

Camera latency [s]: header stamp minus time of exposure.

The change from each image to the next is compared with the distance that the joints moved in
the same interval, for every possible latency. The latency with the highest correlation is
the estimate. Image change and distance cover the same interval, so there is no offset of half
an interval, and camera and arm may have any rates. Joint positions are used because servos
filter their velocities.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.stamps import MAX_CAMERA_LATENCY

LAGS = np.linspace(-0.2, MAX_CAMERA_LATENCY + 0.2, 281)
"""Latencies tried [s], 5 ms apart; a parabola through the best one and its neighbours refines
it. The margins below 0 and above the maximum detect an impossible latency."""

PARTS = 4
"""Number of parts that are measured separately; their scatter gives the uncertainty."""

MIN_IMAGES = 100
MIN_DISTANCE = 0.3
"""Smallest distance, summed over the recording, that a latency can be estimated from [rad]."""

MAX_GAP = 0.5
"""Longest interval between two images or two arm states [s]."""

MIN_CORRELATION = 0.6
RIVAL = 0.85
"""Height of a second peak, relative to the highest, that makes the estimate ambiguous."""

MOVES = 30
"""Number of moves; an even number ends at the start."""

MOVE = (0.0, 0.03, 0.015)
"""One move, forth or back: x, y, z [m]. It is oblique, so that no camera looks along it."""

PAUSES = (2, 3, 4, 5)
"""Control steps between two moves, chosen at random: the motion is never periodic."""


class LatencyError(PtrError):
    """The latency of a camera cannot be estimated from a recording."""


@dataclass(frozen=True)
class Recording:
    """Images and arm states of some seconds of motion, on one clock.

    Attributes:
        image_ns: Header stamps of the images, shape (n,), int64, ascending [ns].
        images: Small grey images, shape (n, h, w), uint8.
        state_ns: Header stamps of the arm states, shape (m,), int64, ascending [ns].
        joints: Joint positions, shape (m, J) [rad].
    """

    image_ns: np.ndarray
    images: np.ndarray
    state_ns: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True)
class Measurement:
    """The latency with the highest correlation, and the evidence for it.

    Attributes:
        latency: The estimate [s].
        correlation: Correlation of image change and distance at the estimate.
        parts: Estimate from each part alone, shape (PARTS,) [s].
        interval: Mean interval between two images [s].
        curve: Correlation at each latency, shape (LAGS,).
        times: Middle of each interval by the stamps, shape (k,) [s]; 0: the first image.
        change: Image change in each interval, shape (k,) [grey levels].
        distance: Distance of the joints in each interval shifted by each latency, shape
            (LAGS, k) [rad].
    """

    latency: float
    correlation: float
    parts: np.ndarray
    interval: float
    curve: np.ndarray
    times: np.ndarray
    change: np.ndarray
    distance: np.ndarray

    @property
    def frames(self) -> float:
        """The latency in intervals between images."""
        return self.latency / self.interval

    @property
    def uncertainty(self) -> float:
        """Standard error of the latency [s], from the scatter of the parts."""
        return float(self.parts.std(ddof=1) / np.sqrt(len(self.parts)))


def motion(gripper: float) -> np.ndarray:
    """Return the actions of the recording, always the same ones.

    Args:
        gripper: Gripper command of all actions, 0 to 1.

    Returns:
        Shape (T, 7): moves of `MOVE`, forth and back in turn, at irregular intervals.
    """
    pauses = np.random.default_rng(0).choice(PAUSES, MOVES)
    actions = np.zeros((pauses.sum(), 7))
    steps = (np.cumsum(pauses) - 1).tolist()
    for number, step in enumerate(steps):
        sign = 1 if number % 2 == 0 else -1
        actions[step, :3] = sign * np.array(MOVE)
    actions[:, 6] = gripper
    return actions


def image_change(images: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of successive images, shape (n - 1,) [grey levels].

    The median difference is removed first: a change of light or exposure does not count.

    Args:
        images: Shape (n, h, w), uint8.
    """
    change = np.empty(len(images) - 1)
    for index, (before, after) in enumerate(itertools.pairwise(images)):
        difference = after.astype(np.float32) - before
        change[index] = np.abs(difference - np.median(difference)).mean()
    return change


def interpolate(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return values between samples by cubic Hermite splines with slopes from differences.

    Args:
        times: Shape (m,), ascending, m >= 2.
        values: Shape (m, J).
        at: Shape (k,), within `times`.

    Returns:
        Shape (k, J).
    """
    slopes = np.gradient(values, times, axis=0)
    left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    width = (times[left + 1] - times[left])[:, None]
    u = (at - times[left])[:, None] / width
    start, end = values[left], values[left + 1]
    tangents = slopes[left] * (1 - u) - slopes[left + 1] * u
    bend = tangents * width + (end - start) * (2 * u - 1)
    return start + (end - start) * u + u * (1 - u) * bend


def correlate(change: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the correlation of one series with each of others; 0 where one is constant.

    Args:
        change: Shape (k,).
        distance: Shape (L, k).

    Returns:
        Shape (L,).
    """
    a = change - change.mean()
    b = distance - distance.mean(axis=1, keepdims=True)
    scale = np.sqrt((a @ a) * np.einsum("lk,lk->l", b, b))
    return np.divide(b @ a, scale, out=np.zeros(len(distance)), where=scale > 1e-12)


def peak(curve: np.ndarray) -> tuple[float, float]:
    """Return latency [s] and height of the highest point of a curve, refined by a parabola.

    Args:
        curve: Correlation at each latency, shape (LAGS,).
    """
    top = int(np.argmax(curve))
    if top in (0, len(curve) - 1):
        return float(LAGS[top]), float(curve[top])
    before, highest, after = curve[top - 1 : top + 2]
    bend = before - 2 * highest + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    latency = LAGS[top] + shift * (LAGS[1] - LAGS[0])
    height = highest - 0.25 * (before - after) * shift
    return float(latency), float(height)


def measure(recording: Recording) -> Measurement:
    """Return the latency with the highest correlation; `check` decides whether it is valid.

    Raises:
        LatencyError: If the recording is too short or has a gap, or if the arm did not
            move.
    """
    _check_stamps("images", recording.image_ns)
    _check_stamps("arm states", recording.state_ns)
    start_ns = recording.image_ns[0]
    times = (recording.image_ns - start_ns) * 1e-9
    states = (recording.state_ns - start_ns) * 1e-9
    # The images for which there are arm states at every latency tried.
    first, last = states[0] + LAGS[-1], states[-1] + LAGS[0]
    covered = (times >= first) & (times <= last)
    times = times[covered]
    if len(times) < MIN_IMAGES:
        raise LatencyError(
            f"only {len(times)} images lie between arm states; at least {MIN_IMAGES} are "
            "needed. Do the stamps of camera and arm come from the same clock?"
        )
    change = image_change(recording.images[covered])
    distance = np.stack([_distance(states, recording.joints, times - lag) for lag in LAGS])
    longest = float(distance.sum(axis=1).max())
    if longest < MIN_DISTANCE:
        raise LatencyError(
            f"the arm moved by {longest:.3f} rad only; at least {MIN_DISTANCE:g} rad are "
            "needed: is it held?"
        )
    curve = correlate(change, distance)
    latency, correlation = peak(curve)
    middle = (times[1:] + times[:-1]) / 2
    parts = _measure_parts(change, distance)
    interval = _mean_interval(times)
    return Measurement(
        latency, correlation, parts, interval, curve, middle, change, distance
    )


def _measure_parts(change: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the latency of each part of the recording, shape (PARTS,) [s]."""
    ends = np.linspace(0, len(change), PARTS + 1).astype(int).tolist()
    latencies = []
    for start, end in itertools.pairwise(ends):
        latency, _ = peak(correlate(change[start:end], distance[:, start:end]))
        latencies.append(latency)
    return np.array(latencies)


def _mean_interval(times: np.ndarray) -> float:
    """Return the mean interval between images [s]; intervals with a lost image are left out."""
    intervals = np.diff(times)
    return float(intervals[intervals < 1.5 * np.median(intervals)].mean())


def check(measurement: Measurement) -> None:
    """Refuse a measurement that is not valid.

    Raises:
        LatencyError: If images and motion hardly correlate, the best latency is impossible,
            another one is nearly as good, or the parts of the recording disagree.
    """
    latency = measurement.latency
    correlation = measurement.correlation
    half = measurement.interval / 2
    if correlation < MIN_CORRELATION:
        raise LatencyError(
            f"images and joints hardly agree: correlation {correlation:.2f}, at least "
            f"{MIN_CORRELATION:g} is needed. Does the camera see the arm, nothing else move, "
            "and the light not flicker?"
        )
    if not -half <= latency <= MAX_CAMERA_LATENCY + half:
        raise LatencyError(
            f"the best latency is {1e3 * latency:.0f} ms; possible are 0 to "
            f"{1e3 * MAX_CAMERA_LATENCY:.0f} ms: do the stamps of camera and arm come from "
            "the same clock?"
        )
    rival = _rival(measurement)
    if rival is not None:
        raise LatencyError(
            f"{1e3 * LAGS[rival]:.0f} ms (correlation {measurement.curve[rival]:.2f}) is "
            f"nearly as good as {1e3 * latency:.0f} ms ({correlation:.2f}): the motion "
            "repeats itself"
        )
    if np.ptp(measurement.parts) > measurement.interval:
        parts = ", ".join(f"{1e3 * part:.0f}" for part in measurement.parts)
        raise LatencyError(
            f"the parts of the recording disagree: {parts} ms; they must be within one frame "
            f"of each other, {1e3 * measurement.interval:.0f} ms. Does something else move, "
            "or does the camera skip images?"
        )


def _check_stamps(name: str, stamps: np.ndarray) -> None:
    if len(stamps) < 2:
        raise LatencyError(
            f"{len(stamps)} {name} were recorded; a latency needs some seconds of them"
        )
    intervals = np.diff(stamps) * 1e-9
    if intervals.min() <= 0:
        raise LatencyError(
            f"the stamps of the {name} do not ascend; does their driver stamp them?"
        )
    gap = float(intervals.max())
    if gap > MAX_GAP:
        raise LatencyError(
            f"the {name} stopped for {gap:.2f} s; at most {MAX_GAP:g} s are allowed"
        )


def _distance(states: np.ndarray, joints: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the distance of the joints from each time to the next.

    Args:
        states: Times of the arm states, shape (m,) [s].
        joints: Their joint positions, shape (m, J) [rad].
        at: Times, shape (k,) [s].

    Returns:
        Euclidean distances, shape (k - 1,) [rad].
    """
    return np.linalg.norm(np.diff(interpolate(states, joints, at), axis=0), axis=1)


def _rival(measurement: Measurement) -> int | None:
    """Return the index of the second highest peak if it is nearly as high as the highest."""
    curve = measurement.curve
    rises = curve[1:-1] >= curve[:-2]
    falls = curve[1:-1] > curve[2:]
    peaks = np.flatnonzero(rises & falls) + 1
    others = peaks[np.abs(LAGS[peaks] - measurement.latency) > measurement.interval]
    if not len(others):
        return None
    highest = int(others[np.argmax(curve[others])])
    return highest if curve[highest] > RIVAL * measurement.correlation else None
