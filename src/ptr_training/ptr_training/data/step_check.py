"""Whether seven numbers a step can be actions: steps of this arm in its base frame.

An action of a store is a step in metres and radians and a gripper of 0 (closed) to 1 (open).
Other conventions have the same seven numbers.
"""

from __future__ import annotations

import numpy as np

from ptr_common.action_space import ACTION_HIGH

LONGEST, WIDEST = float(ACTION_HIGH[:3].max()), float(ACTION_HIGH[3:6].max())
"""Longest step [m] and widest turn [rad] of the arm."""

GRIPPER_SLACK = 0.1
"""How far commands of a gripper may be outside 0 … 1."""

NEAR_POSE, NEAR_TURN = 0.03, 0.05
"""Distances within which an action is taken for the next pose itself [m, rad]."""

MIN_POSE, MIN_TURN = 0.1, 0.15
"""Poses nearer to zero than these cannot be told from steps [m, rad]."""


def why_no_steps(actions: np.ndarray, states: np.ndarray) -> str:
    """Return why actions cannot be steps of this arm in its base frame; "" if they can.

    A few steps beyond the bounds are none of the reasons.

    Args:
        actions: Shape (T, 7), T >= 1, in the units of `ACTION_NAMES`, if they are steps.
        states: Proprioception before each action and after the last, (T + 1, 7).
    """
    found = (
        _found_in_gripper(actions[:, 6])
        or _found_in_poses(actions, states[1:])
        or _found_in_positions(actions[:, :3])
        or _found_in_angles(actions[:, 3:6])
    )
    if not found:
        return ""
    return (
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


def _found_in_poses(actions: np.ndarray, following: np.ndarray) -> str:
    """Return what is wrong where actions are the poses that follow; "" if they are not.

    Args:
        actions: Shape (T, 7).
        following: Proprioception after each of them, (T, 7).
    """
    positions = actions[:, :3]
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
    angles = actions[:, 3:6]
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
