"""Flags: which metrics of an episode make it worth a look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .episode_metrics import IDLE_STEPS, EpisodeMetrics

NEAR = 2.0
"""Root mean square difference [grey levels] of the small images of near duplicates.

A copy saved as JPEG of quality 50 differs by 1.1; no two of 240 simulated episodes by less
than 9, none of 25 of BridgeData by less than 11.
"""

FENCE = 3.0
"""Outliers are this many interquartile ranges outside the quartiles (Tukey's outer fence)."""


class Flag(NamedTuple):
    """Something worth a look."""

    name: str
    meaning: str
    holds: Callable[[EpisodeMetrics], bool]
    detail: str = ""  # the name with its values, as a format over the metrics


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
        "the image stood still for 3 steps or more in which the arm moved",
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
        f"another episode has nearly the same images (grey 8x8, within {NEAR:g} levels)",
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
        "no command moves the gripper",
        lambda m: m.gripper_commanded < 0.1,
    ),
    Flag(
        "gripper stuck",
        "commands move the gripper, and it does not move",
        lambda m: m.gripper_commanded > 0.5 and m.gripper_moved < 0.1,
    ),
    Flag(
        "disagrees",
        "the arm does not do what was commanded: correlation below 0.3",
        lambda m: m.agreement < 0.3,
    ),
)
"""All flags, in the order in which they are shown."""


def flags_of(metrics: EpisodeMetrics) -> tuple[Flag, ...]:
    """Return the flags of an episode."""
    return tuple(flag for flag in FLAGS if flag.holds(metrics))


def names_of(flags: Iterable[Flag]) -> str:
    """Return the names of flags as text."""
    return "; ".join(flag.name for flag in flags)


def details_of(metrics: EpisodeMetrics) -> str:
    """Return the flags of an episode as text, with their values."""
    details = []
    for flag in flags_of(metrics):
        details.append((flag.detail or flag.name).format(**vars(metrics)))
    return ", ".join(details)
