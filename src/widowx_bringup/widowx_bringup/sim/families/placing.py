"""Families whose tasks are placements: objects into containers, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from widowx_bringup.sim.expert import ABOVE, USUAL, Expert, InTurn, Manner

from .family import Act, Layout, Reach, Task, TrueScene
from .look import Look
from .things import Container, Object

if TYPE_CHECKING:
    import mujoco

SETTLED_SPEED = 0.02
"""Speed below which an object is at rest [m/s]."""

OPENED = 0.5
"""Gripper opening from which an object counts as released."""


@dataclass(frozen=True)
class PlacingFamily:
    """A family of placements; see `Family` for its methods.

    Attributes:
        name: Name of the family.
        objects: All objects by name.
        containers: All containers by name.
        tasks: Its tasks by name.
        sample: Task, seed and generator to a layout.
        manner: How the expert works.
        look: What the surroundings look like; None: as usual.
    """

    name: str
    objects: Mapping[str, Object]
    containers: Mapping[str, Container]
    tasks: Mapping[str, Task]
    sample: Callable[[Task, int, np.random.Generator], Layout]
    manner: Manner = USUAL
    look: Look | None = None

    def build_model(self) -> mujoco.MjModel:
        """Return the model with every object and container of the family."""
        from widowx_bringup.sim.scene_model import build_model  # loads MuJoCo

        return build_model(self.objects.values(), self.containers.values(), self.look)

    def sample_layout(self, task: Task, seed: int) -> Layout:
        """Return the scene of a task and seed."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, *task.name.encode()]))
        return self.sample(task, seed, rng)

    def expert(self, scene: TrueScene, task: Task) -> Act:
        """Return the scripted demonstrator, which makes one placement after the other."""
        return InTurn([self._expert(scene, *move) for move in task.moves]).act

    def reach_other(
        self, scene: TrueScene, task: Task, present: Sequence[str]
    ) -> Reach | None:
        """Return how to reach for an object that is not the first to be moved."""
        others = [name for name in present if name != task.object]
        if not others:
            return None
        other = self._expert(scene, others[0], task.container)
        return lambda proprio: (
            other.act(proprio) if other.distance(proprio) > ABOVE else None
        )

    def score(self, scene: TrueScene, task: Task) -> float:
        """Return the share of the task's objects that rest in their containers, released."""
        return sum(self._is_placed(scene, *move) for move in task.moves) / len(task.moves)

    def is_solved(self, scene: TrueScene, task: Task) -> bool:
        """Return whether every object rests in its container and the gripper is open."""
        return scene.gripper > OPENED and self.score(scene, task) == 1.0

    def _expert(self, scene: TrueScene, item: str, container: str) -> Expert:
        receiver = self.containers[container]
        return Expert(scene, self.objects[item], receiver, self.manner)

    def _is_placed(self, scene: TrueScene, item: str, container: str) -> bool:
        """Return whether an object rests in a container, untouched by the fingers."""
        receiver = self.containers[container]
        position, _ = scene.object_pose(item)
        offset = position - scene.container_position(container)
        x, y = offset[:2]
        distance = np.hypot(x, y) if receiver.is_plate else max(abs(x), abs(y))
        height = offset[2] - receiver.floor - self.objects[item].half_size[2]
        return bool(
            distance < receiver.half_size
            and abs(height) < receiver.tolerance
            and scene.object_speed(item) < SETTLED_SPEED
            and not scene.is_touched(item)
        )
