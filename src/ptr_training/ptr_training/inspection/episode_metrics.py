"""What can be measured of the episodes of a store without knowing their tasks, and what of it is worth a look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ptr_training.data.episode import EpisodeEntry
from ptr_training.data.store import EpisodeStore

from .frame_scan import FrameScan, another_owner, digest_of, nearest
from .motion import LAGS, Dimension, Motion, dimensions, reach_of, regress

IDLE_STEPS = 5
"""Idle steps at the start or the end that are worth a look: one second."""

JUMP = 1.5
"""A measured step may be this much longer than the longest command: an arm catches up with a target it lags behind."""

FROZEN_MOTION = 0.005
"""Measured motion [m] in a step that must change the picture."""

NEAR = 2.0
"""Root mean square difference [grey levels] of the shrunk pictures of near duplicates.

A copy saved as JPEG of quality 50 differs by 1.1; no two of 240 simulated episodes by less
than 9, none of 25 of BridgeData by less than 11.
"""

FENCE = 3.0
"""Outliers are this many interquartile ranges outside the quartiles (Tukey's outer fence)."""

MIN_GROUP = 8
"""Tasks with fewer episodes are compared with the whole store."""

MIN_MOVING = 8
"""Episodes with fewer steps that are not idle say nothing of the agreement of command and motion."""


@dataclass(frozen=True)
class EpisodeMetrics:
    """One episode, as written: one row of `episodes.csv`. Numbers that cannot be had are NaN."""

    id: str
    task: str
    outcome: str
    operator: str
    source: str
    steps: int
    length_outlier: float  # interquartile ranges outside the quartiles of its task, of log(steps); below 0: short
    gap: float  # longest time between two frames [control periods]
    idle: float  # share of its steps
    idle_outlier: float  # as for the length
    idle_head: int  # idle steps before the first other
    idle_tail: int  # after the last other
    gripper_commanded: float  # range of the commanded opening
    gripper_moved: float  # range of the measured opening
    jump: float  # longest measured step, in units of the longest possible
    jump_step: int  # where it is
    agreement: float  # correlation of commanded and achieved translation, at the lag where it is largest
    lag: int  # that lag [steps]
    beyond_bounds: int  # steps whose command is outside the bounds
    not_finite: int  # rows that hold NaN or an infinite number
    out_of_range: int  # rows whose measured pose no WidowX can have
    blank: int  # frames of a single colour
    blank_step: int  # the first of them; -1 without
    frozen: int  # frames equal to the one before although the arm moved
    shared: float  # share of its frames that another episode has byte for byte
    shared_with: str  # the episode that has most of them
    same_actions: str  # first other episode with the same commands byte for byte
    near: float  # difference to the episode whose pictures are most alike [grey levels]
    near_to: str  # that episode


class Flag(NamedTuple):
    """Something worth a look."""

    name: str
    meaning: str
    holds: Callable[[EpisodeMetrics], bool]
    detail: str = ""  # the name with what was found, as a format over the measures


FLAGS = (
    Flag(
        "not finite",
        "rows that hold NaN or infinite numbers",
        lambda m: m.not_finite > 0,
        "{not_finite} not finite",
    ),
    Flag(
        "out of range",
        "a measured pose or opening that no WidowX can have",
        lambda m: m.out_of_range > 0,
    ),
    Flag(
        "beyond bounds",
        "commands outside the bounds, which learning clips",
        lambda m: m.beyond_bounds > 0,
    ),
    Flag(
        "blank",
        "black frames, or of a single colour",
        lambda m: m.blank > 0,
        "{blank} blank, first {blank_step}",
    ),
    Flag(
        "frozen",
        "the picture stood still for 3 steps or more in which the arm moved",
        lambda m: m.frozen >= 3,
    ),
    Flag(
        "jump",
        "the measured pose moves farther in a step than it can",
        lambda m: m.jump > 1,
        "jump at {jump_step}",
    ),
    Flag(
        "gap",
        "a frame is more than 1.5 control periods away from the one before",
        lambda m: m.gap > 1.5,
    ),
    Flag(
        "duplicate",
        "another episode has half of its frames or more, byte for byte",
        lambda m: m.shared >= 0.5,
        "duplicate of {shared_with}",
    ),
    Flag(
        "near duplicate",
        f"another episode has nearly the same pictures (grey 8x8, within {NEAR:g} levels)",
        lambda m: m.near < NEAR and m.shared < 0.5,
        "near duplicate of {near_to}",
    ),
    Flag(
        "same actions",
        "another episode has the same commands, byte for byte",
        lambda m: bool(m.same_actions),
        "same actions as {same_actions}",
    ),
    Flag(
        "short", "far shorter than others of its task", lambda m: m.length_outlier < -FENCE
    ),
    Flag("long", "far longer than others of its task", lambda m: m.length_outlier > FENCE),
    Flag(
        "idle",
        "idle more than half of the time, or far more than others of its task",
        lambda m: m.idle > 0.5 or m.idle_outlier > FENCE,
        "{idle:.0%} idle",
    ),
    Flag(
        "idle head",
        f"the first {IDLE_STEPS} steps or more are idle",
        lambda m: m.idle_head >= IDLE_STEPS,
        "first {idle_head} idle",
    ),
    Flag(
        "idle tail",
        f"the last {IDLE_STEPS} steps or more are idle",
        lambda m: m.idle_tail >= IDLE_STEPS,
        "last {idle_tail} idle",
    ),
    Flag(
        "gripper still",
        "the gripper is never told to move",
        lambda m: m.gripper_commanded < 0.1,
    ),
    Flag(
        "gripper stuck",
        "the gripper is told to move and does not",
        lambda m: m.gripper_commanded > 0.5 and m.gripper_moved < 0.1,
    ),
    Flag(
        "disagrees",
        "the arm does not do what was commanded: correlation below 0.3",
        lambda m: m.agreement < 0.3,
    ),
)


def flags_of(measures: EpisodeMetrics) -> tuple[Flag, ...]:
    """Return the flags that hold."""
    return tuple(flag for flag in FLAGS if flag.holds(measures))


def details_of(measures: EpisodeMetrics) -> str:
    """Return the flags that hold as text, with what was found."""
    return ", ".join(
        (flag.detail or flag.name).format(**vars(measures)) for flag in flags_of(measures)
    )


def measure(store: EpisodeStore) -> tuple[list[EpisodeMetrics], list[Dimension], bool]:
    """Return the measures of every episode and of every action dimension, and whether the pixels match the card.

    Args:
        store: A store opened as written (`reviewed=False`).
    """
    motion, frames = Motion.of(store), FrameScan.read(store)
    columns: dict[str, list[Any]] = {
        **_lengths(store, motion),
        **_health(store, motion),
        **_idleness(store, motion),
        **_grippers(store, motion),
        **_jumps(store, motion),
        **_agreement(store, motion),
        **_pictures(store, motion, frames),
        **_copies(store, frames),
        **_likeness(store, frames),
    }
    known = ("id", "task", "outcome", "operator", "source")
    rows = [
        {name: values[index] for name, values in columns.items()}
        for index in range(len(store))
    ]
    measures = [
        EpisodeMetrics(**{name: getattr(entry, name) for name in known}, **row)
        for entry, row in zip(store.entries, rows, strict=True)
    ]
    return measures, dimensions(store, motion), frames.intact


# Columns: one value per episode
# ---------------------------------------------------------------------


def _spans(store: EpisodeStore) -> Iterator[slice]:
    """Yield the rows of each episode that have an action."""
    return (slice(entry.start, entry.start + entry.length) for entry in store.entries)


def _lengths(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    steps = np.array([entry.length for entry in store.entries])
    return {
        "steps": steps.tolist(),
        "length_outlier": _outlying(np.log(steps), store.entries, floor=0.1).tolist(),
    }


def _health(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    with_last = [slice(span.start, span.stop + 1) for span in _spans(store)]
    return {
        "gap": [float(motion.gap[span].max()) for span in _spans(store)],
        "not_finite": [int((~motion.finite[rows]).sum()) for rows in with_last],
        "out_of_range": [int(motion.out_of_range[rows].sum()) for rows in with_last],
        "beyond_bounds": [int(motion.beyond[span].any(1).sum()) for span in _spans(store)],
    }


def _outlying(
    values: np.ndarray, entries: Sequence[EpisodeEntry], floor: float
) -> np.ndarray:
    """Return how far each value is outside the quartiles of its task, in interquartile ranges of at least `floor`."""
    tasks = np.unique([entry.task for entry in entries], return_inverse=True)[1]
    whole, result = np.percentile(values, [25, 75]), np.zeros(len(values))
    for task in range(tasks.max() + 1):
        members = tasks == task
        lower, upper = (
            np.percentile(values[members], [25, 75])
            if members.sum() >= MIN_GROUP
            else whole
        )
        outside = np.maximum(values[members] - upper, 0) + np.minimum(
            values[members] - lower, 0
        )
        result[members] = outside / max(upper - lower, floor)
    return result


def _idleness(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    idle = [motion.idle[span] for span in _spans(store)]
    share = np.array([each.mean() for each in idle])
    return {
        "idle": share.tolist(),
        "idle_outlier": _outlying(share, store.entries, floor=0.05).tolist(),
        "idle_head": [_leading(each) for each in idle],
        "idle_tail": [_leading(each[::-1]) for each in idle],
    }


def _leading(idle: np.ndarray) -> int:
    """Return how many values are true before the first that is not."""
    return int(idle.argmin()) if not idle.all() else len(idle)


def _grippers(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    return {
        "gripper_commanded": [
            float(np.ptp(motion.commands[span, 6])) for span in _spans(store)
        ],
        "gripper_moved": [
            float(np.ptp(motion.opening[span.start : span.stop + 1]))
            for span in _spans(store)
        ],
    }


def _jumps(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    reach, known = JUMP * reach_of(store), motion.finite & np.roll(motion.finite, -1)
    moved = np.linalg.norm(motion.achieved[:, :3], axis=1) / np.linalg.norm(reach[:3])
    turned = np.linalg.norm(motion.achieved[:, 3:6], axis=1) / np.linalg.norm(reach[3:])
    jump = (
        np.maximum(moved, turned) * known / np.maximum(motion.gap, 1.0)
    )  # there was more time where frames lack
    return {
        "jump": [float(jump[span].max()) for span in _spans(store)],
        "jump_step": [int(jump[span].argmax()) for span in _spans(store)],
    }


def _agreement(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    best = [_best_lag(motion, span) for span in _spans(store)]
    return {"agreement": [value for value, _ in best], "lag": [lag for _, lag in best]}


def _best_lag(motion: Motion, span: slice) -> tuple[float, int]:
    commands, achieved = motion.commands[span, :3], motion.achieved[span, :3]
    size = len(commands)
    if (~motion.idle[span]).sum() < MIN_MOVING:
        return float("nan"), 0
    values = [
        float(
            regress(commands[: size - lag].reshape(-1, 1), achieved[lag:].reshape(-1, 1))[
                0
            ][0]
        )
        for lag in range(min(LAGS, size))
    ]
    lag = int(np.nan_to_num(values, nan=-2.0).argmax())
    return values[lag], lag


def _pictures(
    store: EpisodeStore, motion: Motion, frames: FrameScan
) -> dict[str, list[Any]]:
    moves = np.linalg.norm(motion.achieved[:, :3], axis=1) > FROZEN_MOTION
    frozen = moves & ~frames.blank & (frames.digests == np.roll(frames.digests, -1))
    blank = [frames.blank[span.start : span.stop + 1] for span in _spans(store)]
    return {
        "blank": [int(each.sum()) for each in blank],
        "blank_step": [int(each.argmax()) if each.any() else -1 for each in blank],
        "frozen": [int(frozen[span].sum()) for span in _spans(store)],
    }


def _copies(store: EpisodeStore, frames: FrameScan) -> dict[str, list[Any]]:
    entries, spans = store.entries, list(_spans(store))
    owner = np.repeat(np.arange(len(entries)), [entry.length + 1 for entry in entries])
    other = np.where(frames.blank, owner, another_owner(frames.digests, owner))
    shared, partners = [], []
    for index, span in enumerate(spans):
        found = other[span.start : span.stop + 1]
        found = found[found != index]
        shared.append(len(found) / (entries[index].length + 1))
        partners.append(entries[np.bincount(found).argmax()].id if len(found) else "")
    contents = np.array(
        [digest_of(np.ascontiguousarray(store.actions[span])) for span in spans], np.uint64
    )
    twins = another_owner(contents, np.arange(len(entries)))
    same = [entries[twin].id if twin != index else "" for index, twin in enumerate(twins)]
    return {"shared": shared, "shared_with": partners, "same_actions": same}


def _likeness(store: EpisodeStore, frames: FrameScan) -> dict[str, list[Any]]:
    """Compare the pictures of every episode that has any with those of all others."""
    seen = np.array(
        [
            i
            for i, span in enumerate(_spans(store))
            if not frames.blank[span.start : span.stop + 1].all()
        ]
    )
    near, near_to = [float("nan")] * len(store), [""] * len(store)
    if len(seen) > 1:
        distance, partner = nearest(frames.thumbnails[seen])
        for index, value, other in zip(seen, distance, seen[partner], strict=True):
            near[index], near_to[index] = float(value), store.entries[other].id
    return {"near": near, "near_to": near_to}
