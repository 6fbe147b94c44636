"""Random start scenes of the benchmark's tasks, never one of the 24 that are evaluated."""

from __future__ import annotations

import numpy as np

from .tasks import BenchmarkError, BenchmarkTask
from .world import Scene

SPREAD = 0.085
"""Largest distance of an object from the middle of the fixed scenes, along either axis [m]."""

APART = 0.085
"""Smallest distance of the two objects [m]."""

NEAR = 0.015
"""Distance within which both objects would stand as in a fixed scene [m]."""

TURNS = {"spoon": np.pi / 2, "carrot": np.pi / 2, "cubes": np.pi / 8}
"""Largest turn of the moved object from its orientations in the fixed scenes [rad], by task."""

DRAWS = 1000


def random_scene(
    task: BenchmarkTask, fixed: list[Scene], rng: np.random.Generator
) -> Scene:
    """Return a scene whose objects lie on the table of the fixed ones, none of which it is like.

    Args:
        task: The task.
        fixed: All fixed scenes of the task.
        rng: Source of the scene.

    Raises:
        BenchmarkError: If the task has no random scenes.
    """
    if task.name not in TURNS:
        raise BenchmarkError(
            f"{task.name} has no random scenes: its objects fall into a sink; "
            f"collect {', '.join(TURNS)}"
        )
    places = np.stack([scene.positions for scene in fixed])  # (24, 2, 3)
    middle = places[..., :2].mean((0, 1))
    for _ in range(DRAWS):
        positions = places[0].copy()
        positions[:, :2] = middle + rng.uniform(-SPREAD, SPREAD, (2, 2))
        apart = np.linalg.norm(positions[0] - positions[1])
        if apart >= APART and not is_like(positions, fixed):
            like = fixed[int(rng.integers(len(fixed)))]
            turn = float(rng.uniform(-TURNS[task.name], TURNS[task.name]))
            quaternions = like.quaternions.copy()
            quaternions[0] = turned(quaternions[0], turn)
            return Scene(positions, quaternions)
    raise BenchmarkError(f"{task.name}: no scene in {DRAWS} draws")


def is_like(positions: np.ndarray, fixed: list[Scene]) -> bool:
    """Return whether both objects stand where those of a fixed scene do, whatever their turn.

    Args:
        positions: Of both objects, (2, 3) [m].
        fixed: The fixed scenes.
    """
    for scene in fixed:
        distances = np.linalg.norm((positions - scene.positions)[:, :2], axis=1)
        if distances.max() < NEAR:
            return True
    return False


def turned(quaternion: np.ndarray, angle: float) -> np.ndarray:
    """Return an orientation w, x, y, z, turned about the vertical by an angle [rad], (4,)."""
    w, x, y, z = quaternion
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    return np.array([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w])
