"""Scenario 2 of the paper: doors on a hinge, twelve in the prior data and a microwave held out.

A door counts as open at 45 degrees. The demonstrator grips the handle, pulls, lets go, goes round
the door's edge and pushes from inside. Each door is a family of its own: its scene is another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from widowx_bringup.sim.camera_shift import CameraShift
from widowx_bringup.sim.door_expert import DoorExpert

from .family import Act, Layout, Reach, Task, TrueScene
from .look import Furniture, Look
from .sampling import uniform
from .things import Door

if TYPE_CHECKING:
    import mujoco

LABEL = "open the door"
"""What the episodes of all prior doors are called: they share one id, as in the paper."""

OPEN_ANGLE = math.radians(45.0)
"""Angle from which a door counts as open [rad]."""

_PLACE = (0.37, 0.0)  # mean place of the middle of a door's front, base frame [m]
_JITTER = (0.01, 0.02)  # half extent of that place [m]
_START = (0.20, 0.0)  # middle of the start positions [m]
_START_AREA = (0.04, 0.10)  # their half extent [m]
_START_HEIGHT = (0.14, 0.20)  # [m]
_START_TURN = 0.3  # [rad]
_STEPS = (100, 70)  # of the longest demonstration and rollout

_SHELF = Furniture((0.52, 0.0, 0.16), (0.02, 0.5, 0.16), (0.80, 0.74, 0.62))
_BLOCK = Furniture((0.42, 0.27, 0.05), (0.05, 0.05, 0.05), (0.20, 0.45, 0.30))

LOOKS = (
    Look((0.62, 0.51, 0.40)),
    Look((0.75, 0.74, 0.70), furniture=(_SHELF,)),
    Look((0.40, 0.30, 0.24), (0.46, 0.36, 0.29), (-0.4, 0.2, -1.0), 0.7),
    Look((0.45, 0.52, 0.58), None, (0.5, -0.2, -1.0), 0.55, (_SHELF, _BLOCK)),
)
"""The four scenes of the prior doors."""

_MICROWAVE_LOOK = Look(
    *((0.50, 0.42, 0.46), (0.57, 0.49, 0.53), (-0.3, -0.3, -1.0), 0.7, (_BLOCK,)),
    CameraShift(rise=0.03, turn=5.0),
)


@dataclass(frozen=True)
class DoorFamily:
    """The family of one door; see `Family` for its methods.

    Attributes:
        door: The door.
        look: Its surroundings.
        label: What its episodes are called.
    """

    door: Door
    look: Look
    label: str

    @property
    def name(self) -> str:
        """Name of the family."""
        return self.door.name

    @property
    def objects(self) -> dict[str, Door]:
        """No objects: nothing is moved but the door."""
        return {}

    @property
    def containers(self) -> dict[str, Door]:
        """The door, which a layout places."""
        return {self.door.name: self.door}

    @property
    def tasks(self) -> dict[str, Task]:
        """Its only task."""
        name = f"open the {self.door.name}"
        return {name: Task(name, self.name, (), *_STEPS, self.label)}

    def build_model(self) -> mujoco.MjModel:
        """Return the model with the door."""
        from widowx_bringup.sim.scene_model import build_model  # loads MuJoCo

        return build_model((), (), self.look, self.door)

    def sample_layout(self, task: Task, seed: int) -> Layout:
        """Return the place of the door and the start of the arm."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, *task.name.encode()]))
        place = uniform(rng, _JITTER, _PLACE)
        x, y = uniform(rng, _START_AREA, _START)
        height = float(rng.uniform(*_START_HEIGHT))
        yaw = float(rng.uniform(-_START_TURN, _START_TURN))
        return Layout(task.name, seed, {}, {self.door.name: place}, (x, y, height, yaw))

    def expert(self, scene: TrueScene, task: Task) -> Act:
        """Return the demonstrator that opens the door."""
        return DoorExpert(scene, self.door).act

    def reach_other(
        self, scene: TrueScene, task: Task, present: Sequence[str]
    ) -> Reach | None:
        """Return None: there is nothing else to reach for."""
        return None

    def score(self, scene: TrueScene, task: Task) -> float:
        """Return the angle of the door as a share of 45 degrees, at most 1."""
        return min(1.0, max(0.0, scene.hinge_angle(self.name) / OPEN_ANGLE))

    def is_solved(self, scene: TrueScene, task: Task) -> bool:
        """Return whether the door is open."""
        return scene.hinge_angle(self.name) >= OPEN_ANGLE


# Colours of panel and handle; width and height; side of the hinge; radius and half length of the
# handle; colour of a window.
_DOORS = (
    Door(
        "white door", (0.92, 0.92, 0.90), (0.60, 0.62, 0.66), 0.160, 0.100, 1, 0.017, 0.035
    ),
    Door(
        "red door", (0.70, 0.12, 0.10), (0.90, 0.85, 0.75), 0.140, 0.095, -1, 0.018, 0.025
    ),
    Door(
        "green door",
        (0.15, 0.45, 0.22),
        (0.25, 0.20, 0.15),
        0.150,
        0.090,
        1,
        0.019,
        0.030,
        (0.80, 0.85, 0.75),
    ),
    Door(
        "blue door", (0.14, 0.25, 0.62), (0.85, 0.86, 0.88), 0.170, 0.105, -1, 0.017, 0.030
    ),
    Door(
        "yellow door", (0.90, 0.75, 0.12), (0.30, 0.30, 0.32), 0.145, 0.100, 1, 0.020, 0.020
    ),
    Door(
        "brown door", (0.42, 0.25, 0.12), (0.85, 0.65, 0.20), 0.155, 0.095, -1, 0.018, 0.035
    ),
    Door(
        "black door",
        (0.10, 0.10, 0.11),
        (0.75, 0.20, 0.15),
        0.165,
        0.100,
        1,
        0.019,
        0.028,
        (0.55, 0.40, 0.20),
    ),
    Door(
        "orange door",
        (0.90, 0.45, 0.10),
        (0.20, 0.30, 0.50),
        0.135,
        0.090,
        -1,
        0.017,
        0.022,
    ),
    Door(
        "purple door", (0.42, 0.16, 0.48), (0.90, 0.90, 0.85), 0.150, 0.105, 1, 0.020, 0.033
    ),
    Door(
        "teal door",
        (0.08, 0.45, 0.46),
        (0.95, 0.80, 0.35),
        0.160,
        0.090,
        -1,
        0.018,
        0.026,
        (0.85, 0.90, 0.92),
    ),
    Door(
        "pink door", (0.88, 0.52, 0.62), (0.35, 0.18, 0.20), 0.140, 0.100, 1, 0.019, 0.030
    ),
    Door(
        "cream door",
        (0.88, 0.82, 0.66),
        (0.15, 0.40, 0.25),
        0.170,
        0.095,
        -1,
        0.017,
        0.034,
        (0.35, 0.50, 0.60),
    ),
)

_MICROWAVE = Door(
    *("microwave", (0.22, 0.23, 0.25), (0.82, 0.83, 0.85), 0.155, 0.098, 1, 0.018, 0.032),
    window=(0.45, 0.62, 0.70),
)

FAMILIES = (
    *(DoorFamily(door, LOOKS[i % len(LOOKS)], LABEL) for i, door in enumerate(_DOORS)),
    DoorFamily(_MICROWAVE, _MICROWAVE_LOOK, "open the microwave"),
)
"""One family for each door; the last is held out."""

PRIOR_TASKS = tuple(f"open the {door.name}" for door in _DOORS)
"""Names of the tasks of the prior doors."""

TARGET_TASK = "open the microwave"
