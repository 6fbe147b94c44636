"""Metrics of the episodes of a store that need no knowledge of their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptr_training.data.episode import EpisodeEntry
from ptr_training.data.store import EpisodeStore

from .frame_scan import FrameScan, another_owner, digest_of, nearest
from .motion import LAGS, Dimension, Motion, dimensions, reach_of, regress

IDLE_STEPS = 5
"""Idle steps at the start or the end that are worth a look: one second."""

JUMP = 1.5
"""A measured step may be this much longer than the longest command.

An arm catches up with a target that it lags behind.
"""

FROZEN_MOTION = 0.0002
FROZEN_TURN = 0.002
"""Measured motion in a step that must change the image: position [m] and rotation [rad].

No sensor gives the same image twice to the byte; a simulated camera does while the arm
stands still.
"""

MIN_GROUP = 8
"""Tasks with fewer episodes are compared with the whole store."""

MIN_MOVING = 8
"""Episodes with fewer steps that are not idle have no agreement of command and motion."""

MIN_LENGTH_SPREAD, MIN_IDLE_SPREAD = 0.1, 0.05
"""Smallest interquartile ranges of log(steps) and of the share of idle steps."""

Columns = dict[str, list[Any]]
"""Metrics by name: one value per episode."""


@dataclass(frozen=True)
class EpisodeMetrics:
    """One episode, as written: one row of `episodes.csv`. Missing numbers are NaN."""

    id: str
    task: str
    outcome: str
    operator: str
    source: str
    steps: int
    length_outlier: float
    """Interquartile ranges outside the quartiles of its task, of log(steps); below 0: short."""
    gap: float  # longest time between two frames [control periods]
    idle: float  # share of its steps
    idle_outlier: float  # as for the length
    idle_head: int  # idle steps before the first other
    idle_tail: int  # after the last other
    gripper_commanded: float  # range of the commanded opening
    gripper_moved: float  # range of the measured opening
    jump: float  # longest measured step, in units of the longest possible
    jump_step: int  # its index
    agreement: float  # largest correlation of commanded and achieved translation over lags
    lag: int  # of that correlation [steps]
    beyond_bounds: int  # steps whose command is outside the bounds
    not_finite: int  # rows that hold NaN or an infinite number
    out_of_range: int  # rows whose measured pose no WidowX can have
    blank: int  # frames of a single colour
    blank_step: int  # the first of them; -1 without
    frozen: int  # frames equal to the one before although the arm moved
    shared: float  # share of its frames that another episode has byte for byte
    shared_with: str  # the episode that has most of them
    same_actions: str  # first other episode with the same commands byte for byte
    near: float  # difference to the episode with the most similar images [grey levels]
    near_to: str  # that episode


def measure(store: EpisodeStore) -> tuple[list[EpisodeMetrics], list[Dimension], bool]:
    """Return the metrics of every episode and of every action dimension.

    Args:
        store: A store opened as written (`reviewed=False`).

    Returns:
        The metrics of the episodes, those of the dimensions, and whether the pixels have
        the SHA-256 of the card.
    """
    motion, frames = Motion.of(store), FrameScan.read(store)
    columns: Columns = {
        **_durations(store),
        **_health(store, motion),
        **_idleness(store, motion),
        **_grippers(store, motion),
        **_jumps(store, motion),
        **_agreement(store, motion),
        **_images(store, motion, frames),
        **_copies(store, frames),
        **_similarity(store, frames),
    }
    metrics = []
    for index, entry in enumerate(store.entries):
        values = {name: column[index] for name, column in columns.items()}
        for name in ("id", "task", "outcome", "operator", "source"):
            values[name] = getattr(entry, name)
        metrics.append(EpisodeMetrics(**values))

    return metrics, dimensions(store, motion), frames.intact


# Rows of an episode
# ---------------------------------------------------------------------------------------


def _spans(store: EpisodeStore) -> list[slice]:
    """Return the rows of each episode that have an action."""
    spans = []
    for entry in store.entries:
        spans.append(slice(entry.start, entry.start + entry.length))
    return spans


def _parts(
    store: EpisodeStore, rows: np.ndarray, *, with_last: bool = False
) -> list[np.ndarray]:
    """Return for each episode its part of an array (N, …).

    Args:
        store: The episodes.
        rows: A value for each row of the store.
        with_last: Include the last row of an episode, which has no action.
    """
    parts = []
    for span in _spans(store):
        parts.append(rows[span.start : span.stop + with_last])

    return parts


def _counts(parts: Sequence[np.ndarray]) -> list[int]:
    """Return how many values are true in each part."""
    return [int(part.sum()) for part in parts]


def _maxima(parts: Sequence[np.ndarray]) -> list[float]:
    """Return the largest value of each part."""
    return [float(part.max()) for part in parts]


def _lengths(store: EpisodeStore) -> np.ndarray:
    """Return the number of steps of each episode, shape (n,)."""
    return np.array([entry.length for entry in store.entries])


# Columns
# ---------------------------------------------------------------------------------------


def _durations(store: EpisodeStore) -> Columns:
    """Return the lengths of the episodes."""
    steps = _lengths(store)
    outlying = _outlying(np.log(steps), store.entries, MIN_LENGTH_SPREAD)
    return {"steps": steps.tolist(), "length_outlier": outlying.tolist()}


def _health(store: EpisodeStore, motion: Motion) -> Columns:
    """Return what is wrong with the values themselves."""
    return {
        "gap": _maxima(_parts(store, motion.gap)),
        "not_finite": _counts(_parts(store, ~motion.finite, with_last=True)),
        "out_of_range": _counts(_parts(store, motion.out_of_range, with_last=True)),
        "beyond_bounds": _counts(_parts(store, np.any(motion.beyond, axis=1))),
    }


def _outlying(
    values: np.ndarray, entries: Sequence[EpisodeEntry], floor: float
) -> np.ndarray:
    """Return the distances of values from the quartiles of their tasks.

    Args:
        values: One for each episode, shape (n,).
        entries: The episodes.
        floor: Smallest interquartile range.

    Returns:
        Interquartile ranges above (positive) or below the quartiles, shape (n,).
    """
    tasks = np.unique([entry.task for entry in entries], return_inverse=True)[1]
    result = np.zeros(len(values))
    for task in range(tasks.max() + 1):
        members = tasks == task
        group = values[members] if members.sum() >= MIN_GROUP else values
        lower, upper = np.percentile(group, [25, 75])
        above = np.maximum(values[members] - upper, 0)
        below = np.minimum(values[members] - lower, 0)
        result[members] = (above + below) / max(upper - lower, floor)

    return result


def _idleness(store: EpisodeStore, motion: Motion) -> Columns:
    """Return how much of the episodes is idle."""
    shares, heads, tails = [], [], []
    for idle in _parts(store, motion.idle):
        shares.append(float(idle.mean()))
        heads.append(_leading(idle))
        tails.append(_leading(idle[::-1]))

    outlying = _outlying(np.array(shares), store.entries, MIN_IDLE_SPREAD)
    return {
        "idle": shares,
        "idle_outlier": outlying.tolist(),
        "idle_head": heads,
        "idle_tail": tails,
    }


def _leading(idle: np.ndarray) -> int:
    """Return how many values are true before the first that is not.

    Args:
        idle: Shape (n,), bool.
    """
    return int(idle.argmin()) if not idle.all() else len(idle)


def _grippers(store: EpisodeStore, motion: Motion) -> Columns:
    """Return the ranges of the gripper."""
    commanded, moved = [], []
    for commands in _parts(store, motion.commands[:, 6]):
        commanded.append(float(np.ptp(commands)))
    for opening in _parts(store, motion.opening, with_last=True):
        moved.append(float(np.ptp(opening)))
    return {"gripper_commanded": commanded, "gripper_moved": moved}


def _jumps(store: EpisodeStore, motion: Motion) -> Columns:
    """Return the longest measured steps."""
    reach = JUMP * reach_of(store)
    is_known = motion.finite & np.roll(motion.finite, -1)
    moved = np.linalg.norm(motion.achieved[:, :3], axis=1) / np.linalg.norm(reach[:3])
    turned = np.linalg.norm(motion.achieved[:, 3:6], axis=1) / np.linalg.norm(reach[3:])
    # there was more time where frames are missing
    jump = np.maximum(moved, turned) * is_known / np.maximum(motion.gap, 1.0)
    longest, steps = [], []
    for jumps in _parts(store, jump):
        longest.append(float(jumps.max()))
        steps.append(int(jumps.argmax()))
    return {"jump": longest, "jump_step": steps}


def _agreement(store: EpisodeStore, motion: Motion) -> Columns:
    """Return how well the achieved motion follows the commands, and how late."""
    agreements, lags = [], []
    for span in _spans(store):
        agreement, lag = _best_lag(motion, span)
        agreements.append(agreement)
        lags.append(lag)
    return {"agreement": agreements, "lag": lags}


def _best_lag(motion: Motion, span: slice) -> tuple[float, int]:
    """Return the largest correlation of commands and motion in an episode.

    Args:
        motion: Of the store.
        span: Rows of the episode.

    Returns:
        The correlation, NaN if too little moves, and its lag [steps].
    """
    commands, achieved = motion.commands[span, :3], motion.achieved[span, :3]
    size = len(commands)
    if (~motion.idle[span]).sum() < MIN_MOVING:
        return float("nan"), 0
    values = []
    for lag in range(min(LAGS, size)):
        earlier = commands[: size - lag].reshape(-1, 1)
        correlation, _ = regress(earlier, achieved[lag:].reshape(-1, 1))
        values.append(float(correlation[0]))

    best = int(np.nan_to_num(values, nan=-2.0).argmax())
    return values[best], best


def _images(store: EpisodeStore, motion: Motion, frames: FrameScan) -> Columns:
    """Return how many images are blank, and how many stand still while the arm moves."""
    moves = np.linalg.norm(motion.achieved[:, :3], axis=1) > FROZEN_MOTION
    moves |= np.linalg.norm(motion.achieved[:, 3:6], axis=1) > FROZEN_TURN
    is_repeated = frames.digests == np.roll(frames.digests, -1)
    frozen = moves & ~frames.blank & is_repeated
    blanks, first_blanks = [], []
    for blank in _parts(store, frames.blank, with_last=True):
        blanks.append(int(blank.sum()))
        first_blanks.append(int(blank.argmax()) if blank.any() else -1)

    return {
        "blank": blanks,
        "blank_step": first_blanks,
        "frozen": _counts(_parts(store, frozen)),
    }


def _copies(store: EpisodeStore, frames: FrameScan) -> Columns:
    """Return what episodes share with others, byte for byte."""
    entries = store.entries
    owner = np.repeat(np.arange(len(entries)), _lengths(store) + 1)
    other = np.where(frames.blank, owner, another_owner(frames.digests, owner))
    shared, partners = [], []
    for index, owners in enumerate(_parts(store, other, with_last=True)):
        others = owners[owners != index]
        shared.append(len(others) / len(owners))
        partners.append(entries[np.bincount(others).argmax()].id if len(others) else "")

    return {
        "shared": shared,
        "shared_with": partners,
        "same_actions": _same_actions(store),
    }


def _same_actions(store: EpisodeStore) -> list[str]:
    """Return for each episode the first other one with the same commands, "" if none."""
    digests = []
    for commands in _parts(store, store.actions):
        digests.append(digest_of(np.ascontiguousarray(commands)))
    contents = np.array(digests, np.uint64)
    twins = another_owner(contents, np.arange(len(digests)))
    names = []
    for index, twin in enumerate(twins):
        names.append(store.entries[twin].id if twin != index else "")
    return names


def _similarity(store: EpisodeStore, frames: FrameScan) -> Columns:
    """Compare the images of every episode that has any with those of all others."""
    blank = _parts(store, frames.blank, with_last=True)
    seen = np.flatnonzero(_lengths(store) + 1 > _counts(blank))
    near, near_to = [float("nan")] * len(store), [""] * len(store)
    if len(seen) > 1:
        distances, partners = nearest(frames.thumbnails[seen])
        for index, distance, partner in zip(seen, distances, seen[partners], strict=True):
            near[index] = float(distance)
            near_to[index] = store.entries[partner].id
    return {"near": near, "near_to": near_to}
