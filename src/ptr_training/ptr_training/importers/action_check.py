"""What actions of a source mean: one check for all formats, and the options that convert them.

An action of a store is a step of this arm in its base frame: metres, radians, a gripper of 0
(closed) to 1 (open). Other conventions have the same seven numbers. A few steps beyond the
bounds are clipped, as BridgeData's robot clips them; an episode whose numbers cannot be steps
is refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptr_common.action_space import ACTION_HIGH

from .base import ImportOptions, RecordError, SourceEpisode

LONGEST, WIDEST = float(ACTION_HIGH[:3].max()), float(ACTION_HIGH[3:6].max())
"""Longest step [m] and widest turn [rad] of the arm."""

GRIPPER_SLACK = 0.1
"""How far commands of a gripper may be outside 0 … 1."""

NEAR_POSE, NEAR_TURN = 0.03, 0.05
"""Distances within which an action is taken for the next pose itself [m, rad]."""

MIN_POSE, MIN_TURN = 0.1, 0.15
"""Poses nearer to zero than these cannot be told from steps [m, rad]."""


def convert_units(source: SourceEpisode, options: ImportOptions) -> SourceEpisode:
    """Return an episode with its actions in radians and a gripper of 0 … 1, as chosen.

    An episode that came from a store is left as it is.
    """
    closed, opened = options.gripper_range
    if source.original or ((closed, opened) == (0.0, 1.0) and not options.degrees):
        return source
    actions = source.actions.copy()
    if options.degrees:
        actions[:, 3:6] = np.deg2rad(actions[:, 3:6])
    actions[:, 6] = (actions[:, 6] - closed) / (opened - closed)
    return replace(source, actions=actions)


def check_steps(source: SourceEpisode) -> None:
    """Refuse an episode whose actions cannot be steps of this arm in its base frame.

    An episode that came from a store is not looked at: it was checked when that was made.

    Raises:
        RecordError: If they are poses, scaled, in other units, or turn as no step does; the
            message says what was found and which option mends it.
    """
    if source.original or not len(source.actions):
        return
    found = (
        _found_in_gripper(source.actions[:, 6])
        or _found_in_poses(source)
        or _found_in_positions(source.actions[:, :3])
        or _found_in_angles(source.actions[:, 3:6])
    )
    if found:
        raise RecordError(
            f"its actions are no steps: {found}. An action must be a step in the base frame "
            f"of at most {LONGEST} m and {WIDEST} rad, and a gripper of 0 (closed) to 1 (open)"
        )


def _found_in_gripper(gripper: np.ndarray) -> str:
    """Return what is wrong with commands of the gripper, shape (T,); "" if nothing is."""
    low, high = float(gripper.min()), float(gripper.max())
    if low >= -GRIPPER_SLACK and high <= 1.0 + GRIPPER_SLACK:
        return ""
    closed = min(0.0, np.floor(low)) if low < -GRIPPER_SLACK else 0.0
    return (
        f"the gripper's are {low:.3g} … {high:.3g}; they are scaled. "
        f"`--gripper-range {closed:g} {max(1.0, np.ceil(high)):g}` says which values are "
        "closed and open"
    )


def _found_in_poses(source: SourceEpisode) -> str:
    """Return what is wrong where actions are the poses that follow; "" if they are not."""
    following = source.states[1:]
    positions = source.actions[:, :3]
    distance = np.linalg.norm(positions - following[:, :3], axis=1)
    if (
        np.median(distance) < NEAR_POSE
        and np.median(np.linalg.norm(positions, axis=1)) > MIN_POSE
    ):
        return (
            f"half of them are within {np.median(distance):.2g} m of the position that "
            "follows; they are poses. Use the data set's steps (`--action` of lerobot names "
            "their dimensions), or subtract each pose from the next"
        )
    angles = source.actions[:, 3:6]
    turn = np.abs(angles - following[:, 3:6]).max(axis=1)
    if np.median(turn) < NEAR_TURN and np.median(np.abs(angles).max(axis=1)) > MIN_TURN:
        return (
            f"half of their rotations are within {np.median(turn):.2g} rad of the orientation "
            "that follows; they are poses. Use the data set's steps (`--action` of lerobot)"
        )
    return ""


def _found_in_positions(positions: np.ndarray) -> str:
    """Return what is wrong with translations, shape (T, 3); "" if nothing is."""
    usual = float(np.median(np.abs(positions), axis=0).max())
    if usual <= LONGEST and np.abs(positions).max() <= 1.0:
        return ""
    return (
        f"half of them are longer than {usual:.3g} m, the longest is "
        f"{np.abs(positions).max():.3g} m; they are poses, or scaled, or in millimetres. Use "
        "the data set's steps in metres (`--action` of lerobot names their dimensions)"
    )


def _found_in_angles(angles: np.ndarray) -> str:
    """Return what is wrong with rotations, shape (T, 3); "" if nothing is."""
    largest = np.abs(angles).max(axis=1)
    if np.median(largest) <= WIDEST and largest.max() <= np.pi:
        return ""
    return (
        f"half of their rotations are wider than {np.median(largest):.3g}, the widest is "
        f"{largest.max():.3g}; they are in degrees (`--degrees` converts them), or poses"
    )
