"""Mistakes of a demonstrator: wrong moves, waits, detours, wrong objects, misses and drops.

Unlike the noise of the arm (`expert.Disturbance`), a mistake is what the demonstrator asked for:
it is the label of its step, and a clone of the demonstrations learns it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW

from .expert import CLOSED, LONGEST_STEP, OPEN

WRONG_STEPS = (1, 3)
"""Shortest and longest wrong move [control steps]."""

PAUSE_STEPS = (1, 4)
"""Shortest and longest hesitation [control steps]."""

WAIT_STEPS = (4, 8)
"""Shortest and longest wait before the gripper closes or opens [control steps]."""

DETOUR_STEPS = (5, 9)
"""Shortest and longest detour [control steps]."""

DETOUR_START = (2, 12)
"""First and last step at which a detour may begin."""

SHORTEST_STEP = 0.01
"""Length of a step above which the arm is on its way [m]."""

MISS_STEPS = 3
"""Steps for which the gripper closes on nothing."""

MISS_HEIGHT = 0.045
"""Height of the end effector below which an open gripper may miss [m]."""

DROP_STEPS = 3
"""Steps for which the gripper opens while it carries."""

DROP_DELAY = (0, 7)
"""Shortest and longest time for which an object is carried before it drops [control steps]."""

CARRY_HEIGHT = 0.055
"""Height of the end effector above which a closed gripper carries [m]."""


@dataclass(frozen=True)
class Mistakes:
    """How often a demonstrator is wrong; all 0 for the expert itself.

    Attributes:
        wrong_moves: Share of the steps that lead away from where they should.
        hesitation: Share of the steps in which the arm waits on its way; it never waits where
            the gripper is to close or to open.
        waits: Share of the closings and openings of the gripper before which the arm waits.
        detours: Share of the episodes with a detour.
        wrong_objects: Share of the episodes in which it reaches for another object first.
        misses: Share of the descents on which the gripper closes too early.
        drops: Share of the carries on which the gripper opens too early.
    """

    wrong_moves: float = 0.0
    hesitation: float = 0.0
    waits: float = 0.0
    detours: float = 0.0
    wrong_objects: float = 0.0
    misses: float = 0.0
    drops: float = 0.0

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) > 0 for field in fields(self))


class ImperfectDemonstrator:
    """Asks for what the expert would, less its mistakes.

    Args:
        expert: Proprioception (7,) to the right action (7,) of the present scene.
        mistakes: How often it is wrong.
        rng: Source of the mistakes.
        reach_other: Proprioception (7,) to the action (7,) that reaches for another object of
            the scene; None once the arm is above it. There, the demonstrator notices.
    """

    def __init__(
        self,
        expert: Callable[[np.ndarray], np.ndarray],
        mistakes: Mistakes,
        rng: np.random.Generator,
        reach_other: Callable[[np.ndarray], np.ndarray | None] | None = None,
    ) -> None:
        self._expert = expert
        self._mistakes = mistakes
        self._rng = rng
        self._step = 0
        self._left = 0  # steps of the present mistake
        self._motion = np.zeros(6)  # of the present mistake
        self._gripper: float | None = None  # of the present mistake; None: the expert's
        self._can_miss = True  # until the arm has risen again
        self._drop_in = -1  # steps of carrying until the object drops; -1: it does not
        self._carries = False
        self._hand = OPEN  # what the expert last asked of the gripper
        self._detour_at = -1  # step of the detour that is still to come, or -1
        if rng.random() < mistakes.detours:
            self._detour_at = int(rng.integers(DETOUR_START[0], DETOUR_START[1] + 1))
        mistaken = mistakes.wrong_objects > 0 and rng.random() < mistakes.wrong_objects
        self._reach_other = reach_other if mistaken else None

    def act(self, proprio: np.ndarray) -> np.ndarray:
        """Return the requested action, shape (7,), for a proprioception, shape (7,)."""
        right = self._intend(proprio)
        if self._left == 0:
            self._begin(right, proprio)
        self._step += 1
        self._hand = right[6]
        if self._left == 0:
            return right
        self._left -= 1
        gripper = right[6] if self._gripper is None else self._gripper
        return np.clip(np.array([*self._motion, gripper]), ACTION_LOW, ACTION_HIGH)

    def _intend(self, proprio: np.ndarray) -> np.ndarray:
        """Return the action towards the object that the demonstrator takes for the right one."""
        if self._reach_other is not None:
            action = self._reach_other(proprio)
            if action is not None:
                return action
            self._reach_other = None
        return self._expert(proprio)

    def _begin(self, right: np.ndarray, proprio: np.ndarray) -> None:
        """Begin a mistake, or none."""
        moves = right[6] == self._hand and np.linalg.norm(right[:3]) > SHORTEST_STEP
        low, is_open = proprio[2] < MISS_HEIGHT, proprio[6] > 0.9
        descends = bool(low and is_open and right[6] == OPEN)
        if not low:
            self._can_miss = True
        if descends and self._can_miss:
            self._can_miss = False
            if self._rng.random() < self._mistakes.misses:
                self._start(np.zeros(6), CLOSED, MISS_STEPS)
                return
        if self._drops(right, proprio):
            self._start(np.zeros(6), OPEN, DROP_STEPS)
            return
        waits = self._mistakes.waits
        if waits > 0 and right[6] != self._hand and self._rng.random() < waits:
            self._start(np.zeros(6), self._hand, self._duration(WAIT_STEPS))
            return
        if 0 <= self._detour_at <= self._step:  # another mistake may have delayed it
            self._detour_at = -1
            self._start(self._away_from(right), None, self._duration(DETOUR_STEPS))
        elif self._rng.random() < _start_rate(self._mistakes.wrong_moves, WRONG_STEPS):
            self._start(self._away_from(right), None, self._duration(WRONG_STEPS))
        elif moves and self._rng.random() < _start_rate(
            self._mistakes.hesitation, PAUSE_STEPS
        ):
            self._start(np.zeros(6), None, self._duration(PAUSE_STEPS))

    def _drops(self, right: np.ndarray, proprio: np.ndarray) -> bool:
        """Return whether a carried object is let go now; drawn anew for every carry."""
        carries = bool(right[6] == CLOSED and proprio[2] > CARRY_HEIGHT)
        if carries and not self._carries:
            drops = self._rng.random() < self._mistakes.drops
            self._drop_in = self._duration(DROP_DELAY) if drops else -1
        self._carries = carries
        if not carries or self._drop_in < 0:
            return False
        self._drop_in -= 1
        return self._drop_in < 0

    def _start(self, motion: np.ndarray, gripper: float | None, steps: int) -> None:
        self._motion, self._gripper, self._left = motion, gripper, steps

    def _duration(self, limits: tuple[int, int]) -> int:
        return int(self._rng.integers(limits[0], limits[1] + 1))

    def _away_from(self, right: np.ndarray) -> np.ndarray:
        """Return a longest step, shape (6,), at more than 90 degrees from the right one."""
        direction = self._rng.standard_normal(3)
        direction /= max(float(np.linalg.norm(direction)), 1e-9)
        if direction @ right[:3] > 0:
            direction = -direction
        return np.array([*(LONGEST_STEP * direction), 0.0, 0.0, 0.0])


def _start_rate(share: float, limits: tuple[int, int]) -> float:
    """Return the probability that a free step begins a mistake.

    Args:
        share: Of the steps that the mistake takes in the long run.
        limits: Its shortest and longest duration [control steps].
    """
    mean = (limits[0] + limits[1]) / 2
    return share / (share + mean * (1.0 - share)) if share > 0 else 0.0
