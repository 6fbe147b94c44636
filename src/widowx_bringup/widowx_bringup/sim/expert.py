"""The scripted expert: requests end-effector steps from the true poses of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, RELEASED, opening_of

from .families.family import TrueScene
from .families.things import Container, Object

LONGEST_STEP = 0.03  # [m]
LONGEST_TURN = 0.2  # [rad]
HOVER = 0.078  # end-effector height from which it descends on an object [m]
FUNNEL = 2.0  # height above the grasp per horizontal distance from it
CARRY = 0.095  # end-effector height at which it carries an object [m]
LEFT = 0.012  # below this height it has left an object that it put down [m]
AWAY = 0.06  # horizontal distance at which it has left an object [m]
WIDEST = 0.85  # measured opening below which the gripper is not open
STILL = (
    0.02  # change of the measured opening in one step below which the fingers stand still
)
ABOVE = 0.03  # horizontal distance at which the arm counts as above an object [m]
OPEN = 1.0  # gripper command
CLOSED = 0.0  # gripper command


class Disturbance:
    """Noise on the executed actions, so that demonstrations also show how to recover.

    The requested action stays the label of the step (M. Laskey et al., DART, CoRL 2017).

    Args:
        rng: Source of the noise.
        noise: Standard deviation, relative to the longest step; 0 disables the bursts as
            well.
        burst: Probability that a step begins a burst: two to five times the same random
            step, with the gripper closed in most of them, as after a missed grasp.
    """

    def __init__(
        self, rng: np.random.Generator, noise: float = 0.15, burst: float = 0.04
    ) -> None:
        self._rng = rng
        self._noise = noise
        self._burst = burst if noise > 0 else 0.0
        self._burst_left = 0
        self._burst_action = np.zeros(7)

    def __call__(self, requested: np.ndarray) -> np.ndarray:
        """Return the action to execute.

        Args:
            requested: Requested action, shape (7,).

        Returns:
            Shape (7,), within the bounds of the action space.
        """
        if self._burst_left == 0 and self._rng.random() < self._burst:
            self._burst_left = int(self._rng.integers(2, 6))
            self._burst_action = self._random_step()
        if self._burst_left > 0:
            self._burst_left -= 1
            return self._burst_action.copy()

        # Short steps have less noise.
        length = float(np.linalg.norm(requested[:3]))
        std = self._noise * (0.25 + 0.75 * length / LONGEST_STEP)

        noise = np.zeros(7)
        noise[:3] = std * LONGEST_STEP * self._rng.standard_normal(3)
        noise[5] = std * LONGEST_TURN * self._rng.standard_normal()
        return np.clip(requested + noise, ACTION_LOW, ACTION_HIGH)

    def _random_step(self) -> np.ndarray:
        """Return a random action, shape (7,), within the longest step and turn."""
        step = self._rng.uniform(-LONGEST_STEP, LONGEST_STEP, 3)
        turn = self._rng.uniform(-LONGEST_TURN, LONGEST_TURN)
        gripper = OPEN if self._rng.random() < 0.3 else CLOSED
        return np.array([*step, 0.0, 0.0, turn, gripper])


@dataclass(frozen=True)
class Manner:
    """How an expert works.

    Attributes:
        longest_step: How far it moves in one control step [m].
        holds_askew: Whether it goes on with an object that lies askew between the fingers, so
            that they stand still wider apart than they would; else it waits for it to slip in.
    """

    longest_step: float = LONGEST_STEP
    holds_askew: bool = False


USUAL = Manner()


class Expert:
    """Picks up an object and puts it into a container, at 5 Hz.

    Every step depends on the scene and the measured pose alone (and on whether the fingers
    move), not on a plan: after a slip, a push or a wrong step the expert continues from the new
    situation.

    Args:
        scene: The true scene.
        item: The object.
        container: The container.
        manner: How it works.
    """

    def __init__(
        self,
        scene: TrueScene,
        item: Object,
        container: Container,
        manner: Manner,
    ) -> None:
        self._scene = scene
        self._manner = manner
        self._opening = 0.0  # measured at the step before
        self._object = item
        self._container = container
        # Largest reading of a gripper closed on the object, with a margin of 2 mm.
        self._held = opening_of(self._object.half_size[1] + 0.002)

    def act(self, proprio: np.ndarray) -> np.ndarray:
        """Return the next action for the present scene.

        Args:
            proprio: Measured proprioception, shape (7,): position [m], rotation [rad],
                gripper opening.

        Returns:
            Requested action, shape (7,).
        """
        goal, yaw, gripper = self._decide(np.asarray(proprio, dtype=float))
        self._opening = float(proprio[6])
        step = goal - proprio[:3]
        step *= min(1.0, self._manner.longest_step / max(float(np.linalg.norm(step)), 1e-9))
        turn = np.clip(yaw - proprio[5], -LONGEST_TURN, LONGEST_TURN)
        return np.clip(np.array([*step, 0.0, 0.0, turn, gripper]), ACTION_LOW, ACTION_HIGH)

    def is_done(self, proprio: np.ndarray) -> bool:
        """Return whether the object is in the container and the gripper has left it.

        Args:
            proprio: Measured proprioception, shape (7,).
        """
        risen = proprio[2] > CARRY - LEFT and proprio[6] >= RELEASED
        return self._is_delivered() and bool(risen or self.distance(proprio) > AWAY)

    def distance(self, proprio: np.ndarray) -> float:
        """Return the horizontal distance of the end effector from the object [m]."""
        position, _ = self._scene.object_pose(self._object.name)
        return float(np.hypot(*(proprio[:2] - position[:2])))

    def _is_delivered(self) -> bool:
        """Return whether the object lies in the container, held or not."""
        position, _ = self._scene.object_pose(self._object.name)
        offset = position - self._scene.container_position(self._container.name)
        height = offset[2] - self._container.floor - self._object.half_size[2]
        distance = np.hypot(*offset[:2])
        low, high = self._container.set_down
        near = distance < self._container.middle * self._container.half_size
        return bool(near and low < height < high)

    def _decide(self, proprio: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Choose the goal of the next step.

        Args:
            proprio: Measured proprioception, shape (7,).

        Returns:
            Goal position (3,) [m], goal yaw [rad] and gripper command.
        """
        eef, yaw, opening = proprio[:3], proprio[5], proprio[6]
        position, _ = self._scene.object_pose(self._object.name)
        container = self._scene.container_position(self._container.name)
        offset = eef - position
        distance = float(np.hypot(*offset[:2]))
        left = float(np.hypot(*(position[:2] - container[:2])))

        if self._is_delivered():
            return self._release(eef, opening), yaw, OPEN
        near = distance < 0.016 and abs(offset[2]) < 0.026
        if near and self._holds(opening):
            return self._carry(eef, offset, container, left), yaw, CLOSED
        if distance < 0.014 and offset[2] < 0.019 and opening < 1.3:
            return eef, yaw, CLOSED
        if opening < WIDEST:
            return self._approach(eef, position), 0.0, OPEN

        # Down a funnel: the smaller the distance, the lower. Each step then depends only on
        # what an image shows.
        height = position[2] + self._object.grasp + FUNNEL * max(0.0, distance - 0.008)
        return np.array([*position[:2], min(height, HOVER)]), 0.0, OPEN

    def _holds(self, opening: float) -> bool:
        """Return whether a gripper beside the object, at this measured opening, holds it."""
        if 0.25 < opening < self._held:
            return True
        blocked = 0.25 < opening < WIDEST and abs(opening - self._opening) < STILL
        return self._manner.holds_askew and blocked

    def _release(self, eef: np.ndarray, opening: float) -> np.ndarray:
        """Return the goal after delivery: stay until the fingers are open, then rise.

        Args:
            eef: Position of the end effector, (3,) [m].
            opening: Measured gripper opening.
        """
        return eef if opening < RELEASED else np.array([*eef[:2], CARRY])

    def _carry(
        self, eef: np.ndarray, offset: np.ndarray, container: np.ndarray, left: float
    ) -> np.ndarray:
        """Return the goal with the object in the gripper.

        The object is lifted, carried above everything, and set down in the middle of the
        container.

        Args:
            eef: Position of the end effector, (3,) [m].
            offset: Its offset from the object, (3,) [m].
            container: Position of the container, (3,) [m].
            left: Horizontal distance from the object to the container [m].
        """
        if left < 0.02:
            rest = self._container.floor + self._object.half_size[2] - 0.002
            return container + offset + [0, 0, rest]
        if eef[2] < CARRY - 0.03:
            return np.array([*eef[:2], CARRY])
        return np.array([*(container + offset)[:2], CARRY])

    def _approach(self, eef: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the goal without the object: rise first, then move above the object.

        Args:
            eef: Position of the end effector, (3,) [m].
            position: Position of the object, (3,) [m].
        """
        if eef[2] < HOVER - 0.015:
            return np.array([*eef[:2], HOVER])
        return np.array([*position[:2], HOVER])


class InTurn:
    """Makes one placement after the other; goes back to one that was undone.

    Args:
        experts: The experts of the placements, in their order.
    """

    def __init__(self, experts: Sequence[Expert]) -> None:
        self._experts = experts

    def act(self, proprio: np.ndarray) -> np.ndarray:
        """Return the next action, shape (7,), for a proprioception, shape (7,)."""
        for expert in self._experts[:-1]:
            if not expert.is_done(proprio):
                return expert.act(proprio)
        return self._experts[-1].act(proprio)
