"""What can be measured of the episodes of a store without knowing their tasks, and what of it is worth a look.

The frames are read once, in the order of the file: every one is hashed and tested for being blank, four of each
episode are shrunk to 8x8 grey pixels to find pictures that are alike. All else comes from `steps.npy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from ptr_policy_node.images import resize_area

from .episodes import EpisodeEntry, EpisodeStore, StoreError

IDLE_COMMAND = 0.02
"""Commands below this part of the largest are idle: 1 mm, 5 mrad."""

IDLE_GRIPPER = 0.05
"""So is a gripper whose command and measured opening change by less than this in a step."""

IDLE_STEPS = 5
"""Idle steps at the start or the end that are worth a look: one second."""

JUMP = 1.5
"""A measured step may be this much longer than the longest command: an arm catches up with a target it lags behind."""

POSE_RANGE = np.array([1.0, 1.0, 1.0, 2 * np.pi, 2 * np.pi, 2 * np.pi])
OPENING_RANGE = 0.75
"""Measured poses [m, rad] and openings (from the middle, 0.5) beyond these are not those of a WidowX 250."""

FROZEN_MOTION = 0.005
"""Measured motion [m] in a step that must change the picture."""

BLANK_RANGE = 16
"""Grey levels between the darkest and the brightest pixel of a blank picture, in each colour."""

NEAR = 2.0
"""Root mean square difference [grey levels] of the shrunk pictures of near duplicates.

A copy saved as JPEG of quality 50 differs by 1.1; no two of 240 simulated episodes by less than 9, none of 25 of
BridgeData by less than 11.
"""

BOUND = 1e-6
"""Commands this close to a bound, as a part of its range, are at it."""

THUMBNAILS, THUMBNAIL_SIZE = 4, 8
LAGS = 4
"""Lags [steps] at which commanded and achieved motion are compared: 0 .. LAGS - 1."""

FENCE = 3.0
"""Outliers are this many interquartile ranges outside the quartiles (Tukey's outer fence)."""

MIN_GROUP = 8
"""Tasks with fewer episodes are compared with the whole store."""

MIN_MOVING = 8
"""Episodes with fewer steps that are not idle say nothing of the agreement of command and motion."""


@dataclass(frozen=True)
class Measures:
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
    holds: Callable[[Measures], bool]
    detail: str = ""  # the name with what was found, as a format over the measures


FLAGS = (
    Flag("not finite", "rows that hold NaN or infinite numbers", lambda m: m.not_finite > 0, "{not_finite} not finite"),
    Flag("out of range", "a measured pose or opening that no WidowX can have", lambda m: m.out_of_range > 0),
    Flag("beyond bounds", "commands outside the bounds, which learning clips", lambda m: m.beyond_bounds > 0),
    Flag("blank", "black frames, or of a single colour", lambda m: m.blank > 0, "{blank} blank, first {blank_step}"),
    Flag("frozen", "the picture stood still for 3 steps or more in which the arm moved", lambda m: m.frozen >= 3),
    Flag("jump", "the measured pose moves farther in a step than it can", lambda m: m.jump > 1, "jump at {jump_step}"),
    Flag("gap", "a frame came more than 1.5 control periods after the one before", lambda m: m.gap > 1.5),
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
    Flag("short", "far shorter than others of its task", lambda m: m.length_outlier < -FENCE),
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
    Flag("gripper still", "the gripper is never told to move", lambda m: m.gripper_commanded < 0.1),
    Flag(
        "gripper stuck",
        "the gripper is told to move and does not",
        lambda m: m.gripper_commanded > 0.5 and m.gripper_moved < 0.1,
    ),
    Flag("disagrees", "the arm does not do what was commanded: correlation below 0.3", lambda m: m.agreement < 0.3),
)


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
    deviation: float  # std where the bounds are -1 .. 1; what `min_action_std` is compared with
    at_bounds: float  # share of the steps at or beyond a bound
    beyond: float  # share of the steps beyond
    correlation: tuple[float, ...]  # with the achieved motion (gripper: opening), `lag` steps later, lag 0 .. LAGS - 1
    lag: int  # where it is largest
    gain: float  # achieved / commanded there


def flags_of(measures: Measures) -> tuple[Flag, ...]:
    """Return the flags that hold."""
    return tuple(flag for flag in FLAGS if flag.holds(measures))


def details_of(measures: Measures) -> str:
    """Return the flags that hold as text, with what was found."""
    return ", ".join((flag.detail or flag.name).format(**vars(measures)) for flag in flags_of(measures))


def measure(store: EpisodeStore) -> tuple[list[Measures], list[Dimension], bool]:
    """Return the measures of every episode and of every action dimension, and whether the pixels match the card.

    Args:
        store: A store opened as written (`reviewed=False`).
    """
    motion, frames = Motion.of(store), Frames.read(store)
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
    rows = [{name: values[index] for name, values in columns.items()} for index in range(len(store))]
    measures = [
        Measures(**{name: getattr(entry, name) for name in known}, **row)
        for entry, row in zip(store.entries, rows, strict=True)
    ]
    return measures, dimensions(store, motion), frames.intact


# Motion ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Motion:
    """What `steps.npy` says of motion, row by row; the last row of an episode means nothing.

    Rows that hold NaN or an infinite number count as zero.
    """

    commands: np.ndarray  # (N, 7) learnt from
    opening: np.ndarray  # (N,) measured, of the gripper
    achieved: np.ndarray  # (N, 7) way to the next row in the base frame [m, rad as rotation vector]; opening there
    gap: np.ndarray  # (N,) time to the next row [control periods]
    idle: np.ndarray  # (N,) bool
    finite: np.ndarray  # (N,) bool
    beyond: np.ndarray  # (N, 7) bool, command outside the bounds
    out_of_range: np.ndarray  # (N,) bool, measured pose that no WidowX can have

    @classmethod
    def of(cls, store: EpisodeStore) -> Motion:
        """Return the motion of all rows of a store."""
        steps, card = store.steps, store.card
        finite = np.all([np.isfinite(steps[name]).all(1) for name in ("proprio", "requested", "executed")], axis=0)
        commands, proprio = (np.where(finite[:, None], each, 0.0) for each in (store.actions, steps["proprio"]))
        achieved = np.zeros_like(commands)
        achieved[:-1, :3] = np.diff(proprio[:, :3], axis=0)
        achieved[:-1, 3:6] = turns(proprio[:, 3:6])
        achieved[:-1, 6] = proprio[1:, 6]
        low, high = np.array(card.action_low), np.array(card.action_high)
        margin = BOUND * (high - low)
        return cls(
            commands=commands,
            opening=proprio[:, 6],
            achieved=achieved,
            gap=np.diff(steps["stamp_ns"], append=steps["stamp_ns"][-1:]) * 1e-9 * card.rate,
            idle=_idle(commands, proprio[:, 6], achieved[:, 6], steps["step"] == 0, _reach(store)),
            finite=finite,
            beyond=(commands < low - margin) | (commands > high + margin),
            out_of_range=(np.abs(proprio[:, :6]) > POSE_RANGE).any(1) | (np.abs(proprio[:, 6] - 0.5) > OPENING_RANGE),
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
    vector = np.stack([cy * cp * sr - sy * sp * cr, cy * sp * cr + sy * cp * sr, sy * cp * cr - cy * sp * sr], -1)
    # the next quaternion times the conjugate of the first
    half_cos = scalar[1:] * scalar[:-1] + (vector[1:] * vector[:-1]).sum(1)
    half_sin = scalar[:-1, None] * vector[1:] - scalar[1:, None] * vector[:-1] - np.cross(vector[1:], vector[:-1])
    half_sin *= np.where(half_cos < 0, -1.0, 1.0)[:, None]  # the shorter way
    length = np.linalg.norm(half_sin, axis=1)
    angle = 2 * np.arctan2(length, np.abs(half_cos))
    return half_sin * (angle / np.maximum(length, 1e-12))[:, None]


def _reach(store: EpisodeStore) -> np.ndarray:
    """Return the largest motion of each dimension in a step, shape (6,)."""
    return np.maximum(np.abs(store.card.action_low), np.abs(store.card.action_high))[:6]


def _idle(
    commands: np.ndarray, opening: np.ndarray, opening_after: np.ndarray, first: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    told = np.diff(commands[:, 6], prepend=commands[:1, 6])
    told[first] = 0
    quiet = (np.abs(commands[:, :6]) <= IDLE_COMMAND * reach).all(1)
    return quiet & (np.abs(told) < IDLE_GRIPPER) & (np.abs(opening_after - opening) < IDLE_GRIPPER)


def regress(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return correlation and slope of the columns of `b` over those of `a`, both (n, d); NaN where one is constant."""
    if not len(a):
        return np.full(a.shape[1], np.nan), np.full(a.shape[1], np.nan)
    a, b = a - a.mean(0), b - b.mean(0)
    product, squares = (a * b).sum(0), (a**2).sum(0)
    norm = np.sqrt(squares * (b**2).sum(0))
    varies = norm > 1e-12
    correlation = np.where(varies, product / np.where(varies, norm, 1), np.nan)
    return correlation, np.where(varies, product / np.where(varies, squares, 1), np.nan)


def dimensions(store: EpisodeStore, motion: Motion) -> list[Dimension]:
    """Return the statistics of every action dimension over the steps of all episodes."""
    card, acts = store.card, ~store.steps["is_last"] & motion.finite
    low, high = np.array(card.action_low), np.array(card.action_high)
    if not acts.any():
        raise StoreError(f"{store.path}: every step holds NaN or an infinite number; export it again")
    commands, margin = motion.commands[acts], BOUND * (high - low)
    deviation = (2 * (commands - low) / (high - low)).std(0)
    at_bounds = ((commands <= low + margin) | (commands >= high - margin)).mean(0)
    beyond = motion.beyond[acts].mean(0)
    fits = np.array([regress(*_lagged(store, motion, acts, lag)) for lag in range(LAGS)])  # (LAGS, 2, 7)
    lags = np.nan_to_num(fits[:, 0], nan=-2.0).argmax(0)
    return [
        Dimension(
            name=name,
            low=float(low[k]),
            high=float(high[k]),
            minimum=float(commands[:, k].min()),
            mean=float(commands[:, k].mean()),
            std=float(commands[:, k].std()),
            maximum=float(commands[:, k].max()),
            deviation=float(deviation[k]),
            at_bounds=float(at_bounds[k]),
            beyond=float(beyond[k]),
            correlation=tuple(fits[:, 0, k].tolist()),
            lag=int(lags[k]),
            gain=float(fits[lags[k], 1, k]),
        )
        for k, name in enumerate(card.action_names)
    ]


def _lagged(store: EpisodeStore, motion: Motion, acts: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return commands and what was achieved `lag` steps later in the same episode."""
    size, episode = max(len(acts) - lag, 0), store.steps["episode"]
    both = acts[:size] & acts[lag:] & (episode[:size] == episode[lag:])
    return motion.commands[:size][both], motion.achieved[lag:][both]


# Columns: one value per episode ---------------------------------------------------------------------


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


def _outlying(values: np.ndarray, entries: Sequence[EpisodeEntry], floor: float) -> np.ndarray:
    """Return how far each value is outside the quartiles of its task, in interquartile ranges of at least `floor`."""
    tasks = np.unique([entry.task for entry in entries], return_inverse=True)[1]
    whole, result = np.percentile(values, [25, 75]), np.zeros(len(values))
    for task in range(tasks.max() + 1):
        members = tasks == task
        lower, upper = np.percentile(values[members], [25, 75]) if members.sum() >= MIN_GROUP else whole
        outside = np.maximum(values[members] - upper, 0) + np.minimum(values[members] - lower, 0)
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
        "gripper_commanded": [float(np.ptp(motion.commands[span, 6])) for span in _spans(store)],
        "gripper_moved": [float(np.ptp(motion.opening[span.start : span.stop + 1])) for span in _spans(store)],
    }


def _jumps(store: EpisodeStore, motion: Motion) -> dict[str, list[Any]]:
    reach, known = JUMP * _reach(store), motion.finite & np.roll(motion.finite, -1)
    moved = np.linalg.norm(motion.achieved[:, :3], axis=1) / np.linalg.norm(reach[:3])
    turned = np.linalg.norm(motion.achieved[:, 3:6], axis=1) / np.linalg.norm(reach[3:])
    jump = np.maximum(moved, turned) * known / np.maximum(motion.gap, 1.0)  # there was more time where frames lack
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
        float(regress(commands[: size - lag].reshape(-1, 1), achieved[lag:].reshape(-1, 1))[0][0])
        for lag in range(min(LAGS, size))
    ]
    lag = int(np.nan_to_num(values, nan=-2.0).argmax())
    return values[lag], lag


def _pictures(store: EpisodeStore, motion: Motion, frames: Frames) -> dict[str, list[Any]]:
    moves = np.linalg.norm(motion.achieved[:, :3], axis=1) > FROZEN_MOTION
    frozen = moves & ~frames.blank & (frames.digests == np.roll(frames.digests, -1))
    blank = [frames.blank[span.start : span.stop + 1] for span in _spans(store)]
    return {
        "blank": [int(each.sum()) for each in blank],
        "blank_step": [int(each.argmax()) if each.any() else -1 for each in blank],
        "frozen": [int(frozen[span].sum()) for span in _spans(store)],
    }


# Pictures -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frames:
    """What one pass over the pictures of a store gives."""

    digests: np.ndarray  # (N,) uint64, of each frame's bytes
    blank: np.ndarray  # (N,) bool
    thumbnails: np.ndarray  # (episodes, THUMBNAILS * THUMBNAIL_SIZE²) float32, grey levels
    intact: bool  # the pixels have the SHA-256 of the card

    @classmethod
    def read(cls, store: EpisodeStore) -> Frames:
        """Read all frames of a store, with a progress bar."""
        digests, blank = np.zeros(len(store.steps), np.uint64), np.zeros(len(store.steps), bool)
        thumbnails, pixels = [], hashlib.sha256()
        stride = max(1, min(store.frames.shape[1:3]) // 16)  # a grid of some 16 x 16 pixels tells whether it is blank
        with tqdm(total=len(digests), unit="frame", unit_scale=True, desc="inspect", disable=None) as bar:
            for entry in store.entries:
                rows = slice(entry.start, entry.start + entry.length + 1)
                frames = np.array(store.frames[rows])
                pixels.update(frames.data)
                digests[rows] = [_digest(frame) for frame in frames]
                grid = frames[:, ::stride, ::stride].reshape(len(frames), -1, 3)
                blank[rows] = (np.ptp(grid, axis=1) <= BLANK_RANGE).all(1)
                thumbnails.append(_thumbnails(frames))
                bar.update(len(frames))
        return cls(digests, blank, np.stack(thumbnails), pixels.hexdigest() == store.pixels_sha256)


def _digest(frame: np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(frame.data, digest_size=8).digest(), "little")


def _thumbnails(frames: np.ndarray) -> np.ndarray:
    """Return evenly spaced frames of an episode, grey and small, in one vector."""
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    chosen = np.linspace(0, len(frames) - 1, THUMBNAILS).round().astype(int)
    grey = [cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY) for index in chosen]
    return np.stack([resize_area(each, size) for each in grey]).ravel().astype(np.float32)


def _copies(store: EpisodeStore, frames: Frames) -> dict[str, list[Any]]:
    entries, spans = store.entries, list(_spans(store))
    owner = np.repeat(np.arange(len(entries)), [entry.length + 1 for entry in entries])
    other = np.where(frames.blank, owner, _another_owner(frames.digests, owner))
    shared, partners = [], []
    for index, span in enumerate(spans):
        found = other[span.start : span.stop + 1]
        found = found[found != index]
        shared.append(len(found) / (entries[index].length + 1))
        partners.append(entries[np.bincount(found).argmax()].id if len(found) else "")
    contents = np.array([_digest(np.ascontiguousarray(store.actions[span])) for span in spans], np.uint64)
    twins = _another_owner(contents, np.arange(len(entries)))
    same = [entries[twin].id if twin != index else "" for index, twin in enumerate(twins)]
    return {"shared": shared, "shared_with": partners, "same_actions": same}


def _another_owner(contents: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return for each item an owner of equal content: the first that is another, else its own; all (n,)."""
    _, group = np.unique(contents, return_inverse=True)
    first, last = np.full(group.max() + 1, len(owner)), np.full(group.max() + 1, -1)
    np.minimum.at(first, group, owner)
    np.maximum.at(last, group, owner)
    return np.where(first[group] != owner, first[group], last[group])


def _likeness(store: EpisodeStore, frames: Frames) -> dict[str, list[Any]]:
    """Compare the pictures of every episode that has any with those of all others."""
    seen = np.array([i for i, span in enumerate(_spans(store)) if not frames.blank[span.start : span.stop + 1].all()])
    near, near_to = [float("nan")] * len(store), [""] * len(store)
    if len(seen) > 1:
        distance, partner = _nearest(frames.thumbnails[seen])
        for index, value, other in zip(seen, distance, seen[partner], strict=True):
            near[index], near_to[index] = float(value), store.entries[other].id
    return {"near": near, "near_to": near_to}


def _nearest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the root mean square difference of each point (n, d) to its nearest other one, and which that is."""
    points = points - points.mean(0)  # keeps the differences of squares exact
    squares = (points**2).sum(1)
    partner = np.zeros(len(points), int)
    for start in range(0, len(points), 1024):
        block = slice(start, start + 1024)
        distance = squares - 2 * points[block] @ points.T  # squared, less what is the same for the row
        rows = np.arange(len(distance))
        distance[rows, start + rows] = np.inf
        partner[block] = distance.argmin(1)
    return np.sqrt(((points - points[partner]) ** 2).mean(1)), partner
