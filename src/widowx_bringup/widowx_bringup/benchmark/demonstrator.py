"""A scripted demonstrator of the benchmark's tasks; it knows where the objects are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptr_common.action_space import ACTION_HIGH

from .world import SimplerWorld

OPEN, CLOSED = 1.0, 0.0

UP = np.array([0.0, 0.0, 1.0])

HOVER = 0.07
"""Height above an object from which it is approached, and at which it is carried [m]."""

LIFT = 0.09
"""How far an object is lifted [m]."""

REACHED = (0.006, 0.06)
"""Distance [m] and angle [rad] within which a place is reached."""

CORRECTION = 0.5
"""Share of what the arm lacks at a place that is added to the next command."""

LARGEST_CORRECTION = 0.02
"""Largest sum of the corrections [m]."""


@dataclass(frozen=True)
class Grip:
    """How the objects of a task are held and put down.

    Attributes:
        depth: Height of the end effector above the object's middle when it closes [m].
        drop: Height of the object's middle above the target's when it is let go [m].
        along: Place on the object's long axis at which it is held [m].
        symmetry: Angle after which the gripper fits the object again [rad].
    """

    depth: float
    drop: float
    along: float = 0.0
    symmetry: float = np.pi


GRIPS = {
    "spoon": Grip(depth=0.01, drop=0.02, along=0.015),
    "carrot": Grip(depth=0.0, drop=0.035),
    "cubes": Grip(depth=0.0, drop=0.034, symmetry=np.pi / 2),
    "eggplant": Grip(depth=0.0, drop=0.08),
}
"""By the name of the task."""


class SimplerDemonstrator:
    """Demonstrates the episode that a world was reset to.

    Args:
        world: Tells where arm and objects are.
    """

    def __init__(self, world: SimplerWorld) -> None:
        self._world = world
        self._grip = GRIPS[world.task.name]
        self._commanded = np.append(world.proprio[:3], world.proprio[5])  # x, y, z, yaw
        self._actions = self._demonstrate()

    def act(self) -> np.ndarray:
        """Return the next action, (7,), see action_space.ACTION_NAMES."""
        return next(self._actions)

    def executed(self, action: np.ndarray) -> None:
        """Learn what was carried out, (7,): the arm adds its commands up."""
        self._commanded += action[[0, 1, 2, 5]]

    def _demonstrate(self) -> Iterator[np.ndarray]:
        """Yield the actions of the whole task, and then those of an arm that stays."""
        yaw = self._grasp_yaw()
        place = self._grasp_place()
        yield from self._go(place + HOVER * UP, yaw, OPEN)
        yield from self._go(self._grasp_place(), yaw, OPEN)
        yield from self._stay(CLOSED, 3)
        yield from self._go(self._tip() + LIFT * UP, yaw, CLOSED)
        for height in (HOVER, 0.0):
            yield from self._go(self._release_place(height), yaw, CLOSED)
        yield from self._stay(OPEN, 2)
        yield from self._go(self._tip() + HOVER * UP, yaw, OPEN)
        while True:
            yield from self._stay(OPEN, 1)

    def _tip(self) -> np.ndarray:
        return np.asarray(self._world.proprio[:3])

    def _grasp_yaw(self) -> float:
        """Return the yaw at which the fingers close across the object [rad]."""
        moved, _ = self._world.objects()
        axis = moved[:2, 0]
        angle = float(np.arctan2(axis[1], axis[0]))
        symmetry = self._grip.symmetry
        return (angle + symmetry / 2 - 1e-3) % symmetry - symmetry / 2 + 1e-3

    def _grasp_place(self) -> np.ndarray:
        """Return where the end effector closes, (3,) [m]."""
        moved, _ = self._world.objects()
        place = moved[:3, 3] + self._grip.along * moved[:3, 0]
        return np.asarray(place + self._grip.depth * UP)

    def _release_place(self, height: float) -> np.ndarray:
        """Return where the end effector is when the object is above its target, (3,) [m]."""
        moved, target = self._world.objects()
        goal = target[:3, 3] + (self._grip.drop + height) * UP
        return np.asarray(self._tip() + goal - moved[:3, 3])

    def _go(
        self, place: np.ndarray, yaw: float, gripper: float, most: int = 14
    ) -> Iterator[np.ndarray]:
        """Yield the steps to a place, (3,) [m]; what the arm lacks there is corrected."""
        goal = np.append(place, yaw)
        correction = np.zeros(4)
        for _ in range(most):
            lacking = goal - np.append(self._tip(), self._yaw())
            near = np.abs(goal + correction - self._commanded).max() < 1e-3
            if np.abs(lacking[:3]).max() < REACHED[0] and abs(lacking[3]) < REACHED[1]:
                return
            if near:
                correction[:3] += CORRECTION * lacking[:3]
                correction = correction.clip(-LARGEST_CORRECTION, LARGEST_CORRECTION)
            yield self._towards(goal + correction, gripper)

    def _towards(self, goal: np.ndarray, gripper: float) -> np.ndarray:
        """Return the step from the last command towards x, y, z [m] and yaw [rad]."""
        action = np.zeros(7)
        action[[0, 1, 2, 5]] = goal - self._commanded
        action[:6] = action[:6].clip(-ACTION_HIGH[:6], ACTION_HIGH[:6])
        action[6] = gripper
        return action

    def _stay(self, gripper: float, steps: int) -> Iterator[np.ndarray]:
        for _ in range(steps):
            yield self._towards(self._commanded, gripper)

    def _yaw(self) -> float:
        return float(self._world.proprio[5])
