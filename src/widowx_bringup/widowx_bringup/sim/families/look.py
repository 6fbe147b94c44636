"""How the surroundings of the table look in the scenes of a family."""

from __future__ import annotations

from dataclasses import dataclass

from widowx_bringup.sim.camera_shift import NO_SHIFT, CameraShift

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Furniture:
    """A box beside the arm's workspace, which nothing touches.

    Attributes:
        place: Its centre, base frame [m].
        half_size: Half extents [m].
        rgb: Colour, each value 0 to 1.
    """

    place: tuple[float, float, float]
    half_size: tuple[float, float, float]
    rgb: Rgb


@dataclass(frozen=True)
class Look:
    """Another table, another light, other things around, another place of the camera.

    Attributes:
        table: Colour of the table, each value 0 to 1.
        squares: Colour of every second square of the table; None: it is plain.
        light: Direction in which the light shines, base frame.
        brightness: Of the light; 0.6 is that of the usual scene.
        furniture: Things on the table that no task is about.
        camera: Where the cameras stand, relative to where they usually do.
    """

    table: Rgb
    squares: Rgb | None = None
    light: tuple[float, float, float] = (0.1, 0.2, -1.0)
    brightness: float = 0.6
    furniture: tuple[Furniture, ...] = ()
    camera: CameraShift = NO_SHIFT
