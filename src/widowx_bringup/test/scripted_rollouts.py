"""Rollouts of the scripted expert without rendering."""

from __future__ import annotations

import numpy as np

from ptr_training.data.episode import Episode
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.camera.protocol import CameraFeatures, Frame
from widowx_bringup.sim.expert import Disturbance
from widowx_bringup.sim.rollout import rollout
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.tasks import expert, sample_layout
from widowx_bringup.sim.world import World


class NumberedCamera:
    """Images that carry their number instead of a rendered scene."""

    def __init__(self, world: World) -> None:
        self.features = CameraFeatures("numbered", 4, 4, 30.0)
        self._world = world
        self._count = 0

    def connect(self) -> None:
        """Nothing to do."""

    def disconnect(self) -> None:
        """Nothing to do."""

    def read_latest(self, max_age: float = 0.2) -> Frame:
        """Return the next number, from 1 on, in every pixel."""
        self._count += 1
        return Frame(self._world.time_ns, np.full((4, 4, 3), self._count % 256, np.uint8))


def demonstrate(
    world: World, task: str, seed: int, noise: float, max_steps: int = 60, linger: int = 2
) -> Episode:
    """Return a rollout of the expert, with the seed for the scene and for the noise."""
    world.reset(sample_layout(task, seed))
    act = expert(world, task)
    control = EefController(SimulatedArm(world), Kinematics())
    return rollout(
        world,
        control,
        NumberedCamera(world),
        lambda _, proprio: act(proprio),
        disturb=Disturbance(np.random.default_rng(seed), noise),
        max_steps=max_steps,
        linger=linger,
    )
