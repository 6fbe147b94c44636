"""Objects and containers of the simulated table, made of primitive shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """One primitive of an object.

    Attributes:
        shape: `box`, `cylinder`, `sphere` or `capsule`; the axis of the last three is z.
        size: Half extents of a box; radius and half height of a cylinder; radius and half
            length of the straight part of a capsule; radius of a sphere [m].
        place: Its centre in the frame of the object [m].
        turn: Angle [rad] about each axis of the object, in the order x, y, z.
    """

    shape: str
    size: tuple[float, ...]
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Object:
    """A thing that can be grasped. It stands on the table with its centre at half its height.

    Attributes:
        name: What a task calls it.
        rgba: Colour, each value 0 to 1.
        half_size: Half extents [m]; the fingers close on the second one.
        parts: What it is made of; empty: a cylinder if its name says so, else a cuboid.
        rolls: Whether it can roll; a contact then also resists rolling.
        grasp: Height above its centre at which the end effector closes on it [m].
    """

    name: str
    rgba: tuple[float, float, float, float]
    half_size: tuple[float, float, float]
    parts: tuple[Part, ...] = ()
    rolls: bool = False
    grasp: float = 0.011

    @property
    def is_cylinder(self) -> bool:
        """Whether the shape is a cylinder; it is a cube otherwise."""
        return self.name.endswith("cylinder")

    @property
    def primitives(self) -> tuple[Part, ...]:
        """The parts it is made of, at least one."""
        if self.parts:
            return self.parts
        if self.is_cylinder:
            return (Part("cylinder", (self.half_size[0], self.half_size[2])),)
        return (Part("box", self.half_size),)


@dataclass(frozen=True)
class Container:
    """A plate, tray or bin, which stands still on its side of the table.

    Attributes:
        name: What a task calls it.
        preposition: `on` a plate, `in` the others.
        rgba: Colour, each value 0 to 1.
        half_size: Radius of a plate or half side of the floor of the others [m].
        floor: Height of the surface that carries an object [m].
        side: Mean y of its position in the base frame [m].
        wall: Half height of the wall around the floor [m]; a plate has none.
        tolerance: Largest difference of an object's height from that of standing upright in
            it, for the object to count as in it [m].
        set_down: Lowest and highest of such differences at which the expert lets go [m].
        middle: Part of the half size within which the expert lets go.
    """

    name: str
    preposition: str
    rgba: tuple[float, float, float, float]
    half_size: float
    floor: float
    side: float
    wall: float = 0.0045
    tolerance: float = 0.008
    set_down: tuple[float, float] = (-0.006, 0.006)
    middle: float = 0.6

    @property
    def is_plate(self) -> bool:
        """Whether it is a plate; it is a square with a wall otherwise."""
        return self.name.endswith("plate")


@dataclass(frozen=True)
class Door:
    """A door on a vertical hinge, in the front of a box, with an upright handle.

    Attributes:
        name: What a task calls it.
        rgb: Colour of panel and box, each value 0 to 1.
        handle_rgb: Colour of the handle, each value 0 to 1.
        width: Distance from the hinge to the free edge [m].
        height: Height of the panel [m].
        side: 1: the hinge is on the left of the arm (y > 0); -1: on the right.
        handle_radius: Radius of the handle, a cylinder that turns between the fingers [m].
        handle_length: Half length of the handle [m].
        window: Colour of a window in the panel; None: it has none.
    """

    name: str
    rgb: tuple[float, float, float]
    handle_rgb: tuple[float, float, float]
    width: float
    height: float
    side: int
    handle_radius: float
    handle_length: float
    window: tuple[float, float, float] | None = None

    @property
    def grip(self) -> float:
        """Distance of the handle from the hinge, along the panel [m]."""
        return self.width - self.handle_radius - 0.006

    @property
    def handle_offset(self) -> float:
        """Distance of the handle's axis from the panel: a finger fits between them [m]."""
        return self.handle_radius + 0.016

    @property
    def grip_height(self) -> float:
        """Height at which the end effector grips, and pushes [m]."""
        return self.height - 0.022

    def axes(self, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the unit vectors along the panel and out of it, (2,) each, at an angle [rad]."""
        sine, cosine = math.sin(angle), math.cos(angle)
        along = np.array([-sine, -self.side * cosine])
        return along, np.array([-cosine, self.side * sine])
