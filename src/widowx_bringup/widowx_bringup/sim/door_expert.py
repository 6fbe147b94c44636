"""The scripted expert for doors: grips the handle, pulls, goes round and pushes from inside."""

from __future__ import annotations

import math

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.arm.gripper import opening_of

from .expert import CLOSED, LONGEST_TURN, OPEN, WIDEST
from .families.family import TrueScene
from .families.things import Door

LONGEST_STEP = 0.024  # [m]
OPEN_ENOUGH = math.radians(52.0)  # the expert rests from here on
PULLED = math.radians(36.0)  # it pulls up to here
LEFT_OPEN = math.radians(27.0)  # it goes round from here on
LEAD = 0.22  # how far ahead of the door's angle it pulls and pushes [rad]
ABOVE = (
    0.036  # height of the end effector above the door's top at which it passes over it [m]
)
NEAR = 0.018  # horizontal distance at which it stands where it should [m]
INSIDE = 0.040  # distance from the panel at which it descends behind it [m]
REACH = 0.80  # part of the door's width, from the hinge, at which it pushes


class DoorExpert:
    """Opens a door, at 5 Hz; every step depends on the angle and the measured pose alone.

    Args:
        scene: The true scene.
        door: The door.
    """

    def __init__(self, scene: TrueScene, door: Door) -> None:
        self._scene = scene
        self._door = door
        self._held = opening_of(door.handle_radius + 0.004)

    def act(self, proprio: np.ndarray) -> np.ndarray:
        """Return the next action for the present scene.

        Args:
            proprio: Measured proprioception, shape (7,): position [m], rotation [rad],
                gripper opening.

        Returns:
            Requested action, shape (7,).
        """
        proprio = np.asarray(proprio, dtype=float)
        goal, gripper = self._decide(proprio)
        step = goal - proprio[:3]
        step *= min(1.0, LONGEST_STEP / max(float(np.linalg.norm(step)), 1e-9))
        turn = np.clip(-proprio[5], -LONGEST_TURN, LONGEST_TURN)
        return np.clip(np.array([*step, 0.0, 0.0, turn, gripper]), ACTION_LOW, ACTION_HIGH)

    def _decide(self, proprio: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the goal of the next step, (3,) [m], and the gripper command."""
        door, eef, opening = self._door, proprio[:3], float(proprio[6])
        angle = self._scene.hinge_angle(door.name)
        grip = self._at(angle, door.grip, -door.handle_offset)
        over = door.height + ABOVE
        beside = np.linalg.norm(eef[:2] - grip[:2]) < NEAR
        low = bool(eef[2] < over - 0.02)

        if angle >= OPEN_ENOUGH:
            return eef, CLOSED
        if low and self._is_inside(eef, angle):
            along = REACH * door.width
            return self._at(angle + LEAD, along, 0.0), CLOSED
        if angle >= LEFT_OPEN and not (beside and low and self._holds(opening, angle)):
            return self._go_round(eef, opening, angle, bool(beside and low))
        if beside and low:
            if not self._holds(opening, angle):
                return grip, CLOSED
            return self._at(angle + LEAD, door.grip, -door.handle_offset), CLOSED
        return self._approach(eef, opening, grip, over)

    def _holds(self, opening: float, angle: float) -> bool:
        """Return whether the fingers are closed on the handle, and there is more to pull."""
        return 0.25 < opening < self._held and angle < PULLED

    def _go_round(
        self, eef: np.ndarray, opening: float, angle: float, at_handle: bool
    ) -> tuple[np.ndarray, float]:
        """Return goal and gripper: let go, rise, pass over the door, descend behind it."""
        behind = self._at(angle, REACH * self._door.width, INSIDE)
        over = self._door.height + ABOVE
        if at_handle and opening < WIDEST:
            return eef, OPEN
        if np.linalg.norm(eef[:2] - behind[:2]) < NEAR:
            return behind, CLOSED
        if eef[2] < over - 0.006:
            return np.array([*eef[:2], over + 0.01]), OPEN
        return np.array([*behind[:2], over]), CLOSED

    def _approach(
        self, eef: np.ndarray, opening: float, grip: np.ndarray, over: float
    ) -> tuple[np.ndarray, float]:
        """Return goal and gripper: above the handle with open fingers, then down on it."""
        distance = float(np.linalg.norm(eef[:2] - grip[:2]))
        if opening < WIDEST or (distance > 0.05 and eef[2] < over - 0.02):
            return np.array([*eef[:2], over]), OPEN
        height = grip[2] + 3.0 * max(0.0, distance - 0.006)
        return np.array([*grip[:2], min(height, over)]), OPEN

    def _is_inside(self, eef: np.ndarray, angle: float) -> bool:
        """Return whether the end effector stands behind the panel, in its reach."""
        along, outward = self._door.axes(angle)
        offset = eef[:2] - self._hinge()
        depth, reach = float(offset @ outward), float(offset @ along)
        return angle > 0.2 and depth < -0.008 and 0.04 < reach < self._door.width + 0.02

    def _hinge(self) -> np.ndarray:
        """Return x, y of the hinge, base frame [m]."""
        hinge = self._scene.container_position(self._door.name)[:2]
        hinge[1] += self._door.side * self._door.width / 2
        return hinge

    def _at(self, angle: float, along: float, depth: float) -> np.ndarray:
        """Return a point of the door's frame at an angle.

        Args:
            angle: Angle of the door [rad].
            along: Distance from the hinge along the panel [m].
            depth: Distance behind the panel, negative in front of it [m].

        Returns:
            Position at the height of the grip, (3,) [m], base frame.
        """
        direction, outward = self._door.axes(angle)
        place = self._hinge() + along * direction - depth * outward
        return np.array([*place, self._door.grip_height])
