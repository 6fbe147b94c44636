"""By how much a camera's stamps are late, from how its pictures change while the arm moves: arithmetic only.

What changes from one picture to the next is compared with how far the joints went in the
same interval, shifted by every latency that is possible. Where the two agree best, stamps
minus that latency are the moments the pictures show. Both sides belong to the same two
moments, so the half interval by which a difference lies before its stamp cancels, and
camera and arm may have any rates. Joint positions are used rather than velocities: servos
filter the latter.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ptr_common.camera_latency import MAX_CAMERA_LATENCY
from ptr_common.errors import PtrError

LAGS = np.linspace(-0.2, MAX_CAMERA_LATENCY + 0.2, 281)
"""Latencies tried [s], 5 ms apart; a parabola through the best and its neighbours is finer. The margins tell a latency
that is possible from one beyond."""

PARTS = 4
"""The recording is also measured in so many parts, whose scatter is the uncertainty."""

MIN_PICTURES = 100
MIN_WAY = 0.3
"""Shortest way of all joints together that a latency can be read from [rad]."""

MAX_GAP = 0.5
"""Longest pause of pictures or arm states [s]."""

MIN_CORRELATION = 0.6
RIVAL = 0.85
"""A second peak as high as this part of the highest makes the answer ambiguous."""


MOVES = 30
"""Moves of the arm; an even number ends where it began."""

MOVE = (0.0, 0.03, 0.015)
"""One move, there or back: x, y, z [m]. Aslant, so that no camera looks along it by chance."""

PAUSES = (2, 3, 4, 5)
"""Control steps from one move to the next: at random, so that the motion never repeats itself."""


class LatencyError(PtrError):
    """A recording does not tell the latency of a camera."""


@dataclass(frozen=True)
class Recording:
    """Pictures and arm states of some seconds in which the arm moved, on one clock."""

    picture_ns: np.ndarray  # (n,) int64, header stamps, ascending
    pictures: np.ndarray  # (n, h, w) uint8, grey, small
    state_ns: np.ndarray  # (m,) int64, header stamps, ascending
    joints: np.ndarray  # (m, J) [rad]


@dataclass(frozen=True)
class Measurement:
    """The latency that fits a recording best, and all that says how far to trust it."""

    latency: float  # [s]
    correlation: float  # at that latency
    parts: np.ndarray  # (PARTS,) latency by each part alone [s]
    interval: float  # between two pictures [s]
    curve: np.ndarray  # (LAGS,) correlation at each latency
    times: (
        np.ndarray
    )  # (k,) middle of each interval by the stamps [s], from the first picture on
    change: np.ndarray  # (k,) of the picture in each interval [grey levels]
    way: (
        np.ndarray
    )  # (LAGS, k) of the joints in each interval shifted by each latency [rad]

    @property
    def frames(self) -> float:
        """The latency in intervals between pictures."""
        return self.latency / self.interval

    @property
    def uncertainty(self) -> float:
        """Standard error of the latency [s], by the scatter of the parts."""
        return float(self.parts.std(ddof=1) / np.sqrt(len(self.parts)))


def motion(gripper: float) -> np.ndarray:
    """Return the actions to be recorded, shape (T, 7): there and back by `MOVE`, at irregular times, always the same.

    Args:
        gripper: Opening that is kept, 0 to 1.
    """
    pauses = np.random.default_rng(0).choice(PAUSES, MOVES)
    actions = np.zeros((pauses.sum(), 7))
    for number, step in enumerate((np.cumsum(pauses) - 1).tolist()):
        actions[step, :3] = MOVE if number % 2 == 0 else [-way for way in MOVE]
    actions[:, 6] = gripper
    return actions


def picture_change(pictures: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of each picture from the one before, shape (n - 1,) [grey levels].

    What all pixels share, a change of light or exposure, is taken out first.

    Args:
        pictures: Shape (n, h, w), uint8.
    """
    change = np.empty(len(pictures) - 1)
    for index, (before, after) in enumerate(itertools.pairwise(pictures)):
        difference = after.astype(np.float32) - before
        change[index] = np.abs(difference - np.median(difference)).mean()
    return change


def interpolate(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return smooth values between samples: the cubic Hermite spline whose slopes are the samples' differences.

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
    bend = (slopes[left] * (1 - u) - slopes[left + 1] * u) * width + (end - start) * (
        2 * u - 1
    )
    return start + (end - start) * u + u * (1 - u) * bend


def correlate(change: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return the correlation of one series (k,) with each row of others (L, k); 0 where one of the two is constant."""
    a, b = change - change.mean(), way - way.mean(axis=1, keepdims=True)
    scale = np.sqrt((a @ a) * np.einsum("lk,lk->l", b, b))
    return np.divide(b @ a, scale, out=np.zeros(len(way)), where=scale > 1e-12)


def peak(curve: np.ndarray) -> tuple[float, float]:
    """Return the latency [s] and the height of the highest point of a curve over `LAGS`, by a parabola."""
    top = int(np.argmax(curve))
    if top in (0, len(curve) - 1):
        return float(LAGS[top]), float(curve[top])
    before, highest, after = curve[top - 1 : top + 2]
    bend = before - 2 * highest + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(LAGS[top] + shift * (LAGS[1] - LAGS[0])), float(
        highest - 0.25 * (before - after) * shift
    )


def measure(recording: Recording) -> Measurement:
    """Return the latency that fits a recording best; `check` says whether it can be believed.

    Raises:
        LatencyError: If the recording is too short or has a gap, or if the arm did not
        move.
    """
    for what, stamps in (
        ("pictures", recording.picture_ns),
        ("arm states", recording.state_ns),
    ):
        _check_stamps(what, stamps)
    begin = recording.picture_ns[0]
    times, states = (
        (recording.picture_ns - begin) * 1e-9,
        (recording.state_ns - begin) * 1e-9,
    )
    known = (times >= states[0] + LAGS[-1]) & (
        times <= states[-1] + LAGS[0]
    )  # whatever the latency
    times = times[known]
    if len(times) < MIN_PICTURES:
        raise LatencyError(
            f"only {len(times)} pictures lie between arm states; at least {MIN_PICTURES} are needed. Do the stamps of "
            "camera and arm come from the same clock?"
        )
    change = picture_change(recording.pictures[known])
    way = np.stack([_way(states, recording.joints, times - lag) for lag in LAGS])
    if (most := float(way.sum(axis=1).max())) < MIN_WAY:
        raise LatencyError(
            f"the arm moved by {most:.3f} rad only; at least {MIN_WAY:g} rad are needed: is it held?"
        )
    curve = correlate(change, way)
    latency, correlation = peak(curve)
    parts = [
        peak(correlate(change[part], way[:, part]))[0] for part in _slices(len(change))
    ]
    intervals = np.diff(times)
    interval = float(
        intervals[intervals < 1.5 * np.median(intervals)].mean()
    )  # lost pictures do not count
    middle = (times[1:] + times[:-1]) / 2
    return Measurement(
        latency, correlation, np.array(parts), interval, curve, middle, change, way
    )


def check(measurement: Measurement) -> None:
    """Accept or refuse a measurement.

    Raises:
        LatencyError: If pictures and motion hardly agree, the best latency is at the edge
            of what is possible, another one is nearly as good, or the parts of the
            recording disagree.
    """
    latency, correlation = measurement.latency, measurement.correlation
    half = measurement.interval / 2
    if correlation < MIN_CORRELATION:
        raise LatencyError(
            f"pictures and joints hardly agree: correlation {correlation:.2f}, at least {MIN_CORRELATION:g} is needed. "
            "Does the camera see the arm, nothing else move, and the light not flicker?"
        )
    if not -half <= latency <= MAX_CAMERA_LATENCY + half:
        raise LatencyError(
            f"the best latency is {1e3 * latency:.0f} ms; possible are 0 to {1e3 * MAX_CAMERA_LATENCY:.0f} ms: do the "
            "stamps of camera and arm come from the same clock?"
        )
    if (rival := _rival(measurement)) is not None:
        raise LatencyError(
            f"{1e3 * LAGS[rival]:.0f} ms (correlation {measurement.curve[rival]:.2f}) is nearly as good as "
            f"{1e3 * latency:.0f} ms ({correlation:.2f}): the motion repeats itself"
        )
    if np.ptp(measurement.parts) > measurement.interval:
        parts = ", ".join(f"{1e3 * part:.0f}" for part in measurement.parts)
        raise LatencyError(
            f"the parts of the recording disagree: {parts} ms; they must lie within one frame of each other, "
            f"{1e3 * measurement.interval:.0f} ms. Does something else move, or does the camera skip pictures?"
        )


def _check_stamps(what: str, stamps: np.ndarray) -> None:
    if len(stamps) < 2:
        raise LatencyError(
            f"{len(stamps)} {what} were recorded; a latency needs some seconds of them"
        )
    intervals = np.diff(stamps) * 1e-9
    if intervals.min() <= 0:
        raise LatencyError(
            f"the stamps of the {what} do not ascend; does their driver stamp them?"
        )
    if (gap := float(intervals.max())) > MAX_GAP:
        raise LatencyError(
            f"the {what} stopped for {gap:.2f} s; at most {MAX_GAP:g} s are allowed"
        )


def _way(states: np.ndarray, joints: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return how far the joints went from each time to the next, shape (k - 1,) [rad]."""
    return np.linalg.norm(np.diff(interpolate(states, joints, at), axis=0), axis=1)


def _slices(length: int) -> list[slice]:
    ends = np.linspace(0, length, PARTS + 1).astype(int).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _rival(measurement: Measurement) -> int | None:
    """Return the highest other peak of the curve if it is nearly as high as the best."""
    curve = measurement.curve
    inner = np.flatnonzero((curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:])) + 1
    others = inner[np.abs(LAGS[inner] - measurement.latency) > measurement.interval]
    if not len(others):
        return None
    highest = int(others[np.argmax(curve[others])])
    return highest if curve[highest] > RIVAL * measurement.correlation else None
