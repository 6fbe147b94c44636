"""Random places on the table, for the layouts of every family."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CENTRE = (0.28, 0.0)
"""Middle of the objects' area, base frame [m]."""
CLEARANCE = 0.075
"""Smallest distance between the centres of two objects: an open finger fits between them [m]."""
CONTAINER_JITTER = 0.015
"""Half extent of a container's position in x and y [m]."""
OBJECT_TURN = 0.1
"""Largest yaw of a cube [rad]; larger ones are not visible at 64 x 64 pixels."""
START_TURN = 0.4
"""Largest yaw of the gripper at the start [rad], which the policy has to undo."""
START_AREA = (0.09, 0.19)
"""Half extent of the start positions in x and y [m]. It includes the containers, over which a
failed attempt ends."""
START_HEIGHT = (0.09, 0.21)
"""Lowest and highest start position [m]."""


def sample_apart(
    rng: np.random.Generator, count: int, area: tuple[float, float]
) -> list[tuple[float, float]]:
    """Return places [m] that keep the clearance from each other.

    Args:
        rng: Source of randomness.
        count: Number of places.
        area: Half extent of the objects' area in x and y [m].
    """
    positions: list[tuple[float, float]] = []
    while len(positions) < count:
        position = uniform(rng, area, CENTRE)
        if _is_clear(position, positions):
            positions.append(position)
    return positions


def sample_containers(
    rng: np.random.Generator, sides: Iterable[tuple[str, float]]
) -> dict[str, tuple[float, float]]:
    """Return x, y [m] of containers by name, near the middle of their sides.

    Args:
        rng: Source of randomness.
        sides: Name and mean y [m] of each.
    """
    jitter = (CONTAINER_JITTER, CONTAINER_JITTER)
    return {name: uniform(rng, jitter, (CENTRE[0], side)) for name, side in sides}


def sample_start(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return x, y, z [m] and yaw [rad] at which the end effector starts."""
    x, y = uniform(rng, START_AREA, CENTRE)
    height = float(rng.uniform(*START_HEIGHT))
    return x, y, height, float(rng.uniform(-START_TURN, START_TURN))


def _is_clear(position: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    """Return whether a position [m] keeps the clearance from all others."""
    distances = [np.hypot(position[0] - x, position[1] - y) for x, y in others]
    return min(distances, default=np.inf) >= CLEARANCE


def uniform(
    rng: np.random.Generator, half: tuple[float, float], centre: tuple[float, float]
) -> tuple[float, float]:
    """Return a point of the rectangle with this half extent around a centre [m]."""
    x, y = np.asarray(centre) + rng.uniform(-1, 1, 2) * half
    return float(x), float(y)
