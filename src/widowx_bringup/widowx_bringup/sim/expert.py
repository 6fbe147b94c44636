"""The scripted demonstrator: sees the true poses, asks for end-effector steps as a person would."""

from __future__ import annotations

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.arm.gripper import opening_of

from .tasks import CONTAINERS, OBJECTS, Task
from .world import World

LONGEST_STEP = 0.03  # [m]
LONGEST_TURN = 0.2  # [rad]
HOVER = 0.078  # end-effector height from which it goes down on an object [m]
GRASP = 0.011  # height above the object's centre at which it closes [m]
FUNNEL = 2.0  # height above the grasp per distance beside it
CARRY = 0.095  # end-effector height at which an object travels [m]
OPEN, CLOSED = 1.0, 0.0
RELEASED = 0.75  # gripper reading from which nothing is held


class Disturbance:
    """An arm that does not quite do what it is told, so that demonstrations also show how to recover.

    What was wanted stays the label of the step (M. Laskey et al., DART, CoRL 2017).

    Args:
        rng: Source of the noise.
        noise: Standard deviation as a part of the longest step; 0 switches the bursts off
            as well.
        burst: Probability that a step begins two to five moves the same random way, with
            the gripper closed more often than not: as after a missed grasp.
    """

    def __init__(
        self, rng: np.random.Generator, noise: float = 0.15, burst: float = 0.04
    ) -> None:
        self._rng = rng
        self._noise = noise
        self._burst = burst if noise > 0 else 0.0
        self._burst_left = 0
        self._burst_action = np.zeros(7)

    def __call__(self, wanted: np.ndarray) -> np.ndarray:
        """Return the step to carry out, shape (7,), for the one wanted (7,)."""
        if self._burst_left == 0 and self._rng.random() < self._burst:
            self._burst_left = int(self._rng.integers(2, 6))
            self._burst_action = self._random_step()
        if self._burst_left > 0:
            self._burst_left -= 1
            return self._burst_action.copy()
        # Slow steps tremble less.
        spread = self._noise * (
            0.25 + 0.75 * float(np.linalg.norm(wanted[:3])) / LONGEST_STEP
        )
        tremble = np.zeros(7)
        tremble[:3] = spread * LONGEST_STEP * self._rng.standard_normal(3)
        tremble[5] = spread * LONGEST_TURN * self._rng.standard_normal()
        return np.clip(wanted + tremble, ACTION_LOW, ACTION_HIGH)

    def _random_step(self) -> np.ndarray:
        step = self._rng.uniform(-LONGEST_STEP, LONGEST_STEP, 3)
        turn = self._rng.uniform(-LONGEST_TURN, LONGEST_TURN)
        return np.array([*step, 0.0, 0.0, turn, float(self._rng.random() < 0.3)])


class Expert:
    """Picks the task's object up and puts it into the container, at 5 Hz.

    Every step follows from the scene and the measured pose alone, not from a plan: after a
    slip, a push or a wrong step it goes back to what the new situation asks for.

    Args:
        world: The true scene; another process shows it with `World.set_state`.
        task: What to do.
    """

    def __init__(self, world: World, task: Task) -> None:
        self._world = world
        self._object, self._container = OBJECTS[task.object], CONTAINERS[task.container]
        # Reading of a gripper closed on the object, with 2 mm to spare.
        self._closed_on_it = opening_of(self._object.half_size[1] + 0.002)

    def act(self, proprio: np.ndarray) -> np.ndarray:
        """Return the step that the situation asks for, shape (7,), for the measured proprioception (7,)."""
        goal, yaw, gripper = self._decide(np.asarray(proprio, dtype=float))
        step = goal - proprio[:3]
        step *= min(1.0, LONGEST_STEP / max(float(np.linalg.norm(step)), 1e-9))
        turn = np.clip(yaw - proprio[5], -LONGEST_TURN, LONGEST_TURN)
        return np.clip(np.array([*step, 0.0, 0.0, turn, gripper]), ACTION_LOW, ACTION_HIGH)

    def _delivered(self) -> bool:
        """Tell whether the object lies in the container, held or not."""
        thing, _ = self._world.object_pose(self._object.name)
        offset = thing - self._world.container_position(self._container.name)
        lift = offset[2] - self._container.floor - self._object.half_size[2]
        return bool(
            np.hypot(*offset[:2]) < 0.6 * self._container.half_size and abs(lift) < 0.006
        )

    def _decide(self, proprio: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return where to go (3,) [m], the yaw wanted [rad] and the gripper command."""
        eef, yaw, opening = proprio[:3], proprio[5], proprio[6]
        thing, _ = self._world.object_pose(self._object.name)
        place = self._world.container_position(self._container.name)
        offset = eef - thing
        beside = float(np.hypot(*offset[:2]))
        away = float(np.hypot(*(thing[:2] - place[:2])))
        if self._delivered():
            return self._release(eef, opening), yaw, OPEN
        if (
            beside < 0.016
            and abs(offset[2]) < 0.026
            and 0.25 < opening < self._closed_on_it
        ):
            return self._carry(eef, offset, place, away), yaw, CLOSED
        if beside < 0.014 and offset[2] < 0.019 and opening < 1.3:
            return eef, yaw, CLOSED
        if opening < 0.85:
            return self._come_over(eef, thing), 0.0, OPEN
        # Down a funnel: the nearer above the object, the lower. Every step then follows
        # from what a picture shows.
        height = thing[2] + GRASP + FUNNEL * max(0.0, beside - 0.008)
        return np.array([*thing[:2], min(height, HOVER)]), 0.0, OPEN

    def _release(self, eef: np.ndarray, opening: float) -> np.ndarray:
        """Stay until the fingers are open, then withdraw upwards."""
        return eef if opening < RELEASED else np.array([*eef[:2], CARRY])

    def _carry(
        self, eef: np.ndarray, offset: np.ndarray, place: np.ndarray, away: float
    ) -> np.ndarray:
        """Lift, travel above everything, and set down in the middle of the container."""
        if away < 0.02:
            return (
                place
                + offset
                + [0, 0, self._container.floor + self._object.half_size[2] - 0.002]
            )
        if eef[2] < CARRY - 0.03:
            return np.array([*eef[:2], CARRY])
        return np.array([*(place + offset)[:2], CARRY])

    def _come_over(self, eef: np.ndarray, thing: np.ndarray) -> np.ndarray:
        """Rise if low, else travel to above the object."""
        if eef[2] < HOVER - 0.015:
            return np.array([*eef[:2], HOVER])
        return np.array([*thing[:2], HOVER])
