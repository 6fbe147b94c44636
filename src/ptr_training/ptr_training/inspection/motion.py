"""Motion of the arm from `steps.npy`: commands, the motion after them, and how they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptr_training.data.episode import StoreError
from ptr_training.data.store import EpisodeStore

IDLE_COMMAND = 0.02
"""Commands below this part of the largest are idle: 1 mm, 5 mrad."""

IDLE_GRIPPER = 0.05
"""A gripper is idle if its command and measured opening change by less than this in a step."""

POSE_RANGE = np.array([1.0, 1.0, 1.0, 2 * np.pi, 2 * np.pi, 2 * np.pi])
"""A WidowX 250 has no measured pose beyond this: x, y, z [m], roll, pitch, yaw [rad]."""

OPENING_RANGE = 0.75
"""A WidowX 250 has no measured opening farther than this from the middle, 0.5."""

BOUND = 1e-6
"""Commands this close to a bound, as a part of its range, are at it."""

LAGS = 4
"""Lags [steps] at which commanded and achieved motion are compared: 0 .. LAGS - 1."""


@dataclass(frozen=True)
class Motion:
    """Motion of all rows of `steps.npy`; the last row of an episode has no meaning.

    Rows that hold NaN or an infinite number count as zero.
    """

    commands: np.ndarray  # (N, 7) learnt from
    opening: np.ndarray  # (N,) measured, of the gripper
    achieved: np.ndarray  # (N, 7)
    """Motion to the next row in the base frame [m, rad as rotation vector]; opening there."""
    gap: np.ndarray  # (N,) time to the next row [control periods]
    idle: np.ndarray  # (N,) bool
    finite: np.ndarray  # (N,) bool
    beyond: np.ndarray  # (N, 7) bool, command outside the bounds
    out_of_range: np.ndarray  # (N,) bool, measured pose that no WidowX can have

    @classmethod
    def of(cls, store: EpisodeStore) -> Motion:
        """Return the motion of all rows of a store."""
        steps, info = store.steps, store.info
        finite = np.ones(len(steps), bool)
        for name in ("proprio", "requested", "executed"):
            finite &= np.isfinite(steps[name]).all(1)

        commands = np.where(finite[:, None], store.actions, 0.0)
        proprio = np.where(finite[:, None], steps["proprio"], 0.0)
        achieved = np.zeros_like(commands)
        achieved[:-1, :3] = np.diff(proprio[:, :3], axis=0)
        achieved[:-1, 3:6] = turns(proprio[:, 3:6])
        achieved[:-1, 6] = proprio[1:, 6]
        low, high = np.array(info.action_low), np.array(info.action_high)
        margin = BOUND * (high - low)
        opening = proprio[:, 6]
        periods_ns = np.diff(steps["stamp_ns"], append=steps["stamp_ns"][-1:])
        is_far = (np.abs(proprio[:, :6]) > POSE_RANGE).any(1)
        is_wide = np.abs(opening - 0.5) > OPENING_RANGE
        is_first = steps["step"] == 0
        return cls(
            commands=commands,
            opening=opening,
            achieved=achieved,
            gap=np.abs(periods_ns) * 1e-9 * info.rate,
            idle=_idle(commands, opening, achieved[:, 6], is_first, reach_of(store)),
            finite=finite,
            beyond=(commands < low - margin) | (commands > high + margin),
            out_of_range=is_far | is_wide,
        )


def turns(angles: np.ndarray) -> np.ndarray:
    """Return the rotation from each orientation to the next.

    Args:
        angles: Roll, pitch, yaw [rad], R = Rz(yaw) Ry(pitch) Rx(roll), shape (N, 3).

    Returns:
        Rotation vectors in the base frame [rad], shape (N - 1, 3), at most pi long.
    """
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles.T / 2), np.sin(angles.T / 2)
    scalar = cy * cp * cr + sy * sp * sr
    vector = np.stack(
        [
            cy * cp * sr - sy * sp * cr,
            cy * sp * cr + sy * cp * sr,
            sy * cp * cr - cy * sp * sr,
        ],
        -1,
    )
    # the next quaternion times the conjugate of the first
    half_cos = scalar[1:] * scalar[:-1] + (vector[1:] * vector[:-1]).sum(1)
    half_sin = (
        scalar[:-1, None] * vector[1:]
        - scalar[1:, None] * vector[:-1]
        - np.cross(vector[1:], vector[:-1])
    )
    half_sin *= np.where(half_cos < 0, -1.0, 1.0)[:, None]  # the shorter rotation
    length = np.linalg.norm(half_sin, axis=1)
    angle = 2 * np.arctan2(length, np.abs(half_cos))
    return half_sin * (angle / np.maximum(length, 1e-12))[:, None]


def reach_of(store: EpisodeStore) -> np.ndarray:
    """Return the largest motion of each dimension in a step, shape (6,)."""
    return np.maximum(np.abs(store.info.action_low), np.abs(store.info.action_high))[:6]


def _idle(
    commands: np.ndarray,
    opening: np.ndarray,
    opening_after: np.ndarray,
    is_first: np.ndarray,
    reach: np.ndarray,
) -> np.ndarray:
    """Return which rows are idle, shape (N,), bool.

    Args:
        commands: Shape (N, 7).
        opening: Measured, of the gripper, shape (N,).
        opening_after: In the next row, shape (N,).
        is_first: Whether a row is the first of its episode, shape (N,).
        reach: Largest commands [m, rad], shape (6,).
    """
    change = np.diff(commands[:, 6], prepend=commands[:1, 6])
    change[is_first] = 0
    is_quiet = (np.abs(commands[:, :6]) <= IDLE_COMMAND * reach).all(1)
    is_held = np.abs(change) < IDLE_GRIPPER
    is_still = np.abs(opening_after - opening) < IDLE_GRIPPER
    return is_quiet & is_held & is_still


def regress(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return correlation and slope of the columns of `b` over those of `a`.

    Args:
        a: Shape (n, d).
        b: Shape (n, d).

    Returns:
        Both of shape (d,), NaN where one of the columns is constant.
    """
    if not len(a):
        return np.full(a.shape[1], np.nan), np.full(a.shape[1], np.nan)
    a, b = a - a.mean(0), b - b.mean(0)
    product, squares = (a * b).sum(0), (a**2).sum(0)
    norm = np.sqrt(squares * (b**2).sum(0))
    varies = norm > 1e-12
    correlation = np.where(varies, product / np.where(varies, norm, 1), np.nan)
    slope = np.where(varies, product / np.where(varies, squares, 1), np.nan)
    return correlation, slope


@dataclass(frozen=True)
class Dimension:
    """One dimension of the command learnt from, over all steps of a store."""

    name: str
    low: float  # bounds
    high: float
    minimum: float
    mean: float
    std: float
    maximum: float
    scaled_std: float  # where the bounds are -1 .. 1, as `min_action_std` has it
    at_bounds: float  # share of the steps at or beyond a bound
    beyond: float  # share of the steps beyond
    correlation: tuple[float, ...]
    """With the achieved motion (gripper: opening) at the lags 0 .. LAGS - 1."""
    lag: int  # of the largest correlation [steps]
    gain: float  # achieved / commanded at that lag


def dimensions(store: EpisodeStore, motion: Motion) -> list[Dimension]:
    """Return the statistics of every action dimension over the steps of all episodes."""
    info = store.info
    acts = ~store.steps["is_last"] & motion.finite
    low, high = np.array(info.action_low), np.array(info.action_high)
    if not acts.any():
        raise StoreError(
            f"{store.path}: every step holds NaN or an infinite number; export it again"
        )

    commands, margin = motion.commands[acts], BOUND * (high - low)
    scaled_std = (2 * (commands - low) / (high - low)).std(0)
    at_bounds = ((commands <= low + margin) | (commands >= high - margin)).mean(0)
    beyond = motion.beyond[acts].mean(0)
    correlations, slopes = np.zeros((2, LAGS, 7))
    for lag in range(LAGS):
        correlations[lag], slopes[lag] = regress(*_lagged(store, motion, acts, lag))

    lags = np.nan_to_num(correlations, nan=-2.0).argmax(0)
    return [
        Dimension(
            name=name,
            low=float(low[k]),
            high=float(high[k]),
            minimum=float(commands[:, k].min()),
            mean=float(commands[:, k].mean()),
            std=float(commands[:, k].std()),
            maximum=float(commands[:, k].max()),
            scaled_std=float(scaled_std[k]),
            at_bounds=float(at_bounds[k]),
            beyond=float(beyond[k]),
            correlation=tuple(correlations[:, k].tolist()),
            lag=int(lags[k]),
            gain=float(slopes[lags[k], k]),
        )
        for k, name in enumerate(info.action_names)
    ]


def _lagged(
    store: EpisodeStore, motion: Motion, acts: np.ndarray, lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return commands, and the achieved motion `lag` steps later in the same episode.

    Args:
        store: The episodes.
        motion: Of all rows, N of them.
        acts: Which rows have an action, shape (N,).
        lag: Steps.

    Returns:
        Both of shape (n, 7).
    """
    size = max(len(acts) - lag, 0)
    episode = store.steps["episode"]
    both = acts[:size] & acts[lag:] & (episode[:size] == episode[lag:])
    return motion.commands[:size][both], motion.achieved[lag:][both]
