"""What stands in for ManiSkill, which is 1 GB: empty files with the names of its assets, and a
world of the benchmark that is solved by holding the gripper shut, then open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from widowx_bringup.benchmark.assets import BRIDGE, ROBOT
from widowx_bringup.benchmark.tasks import BenchmarkTask

URDF = '<mesh filename="meshes/base.stl"/><mesh filename="meshes/finger.stl"/>'


def write_assets(folder: Path, *tasks: BenchmarkTask, stage: bool = True) -> Path:
    """Write empty files in place of the robot's and the tasks' assets, and return the folder."""
    custom = folder / BRIDGE / "custom"
    files = [folder / ROBOT / "meshes/base.stl", folder / ROBOT / "meshes/finger.stl"]
    for task in tasks:
        files += [custom / task.info, folder / BRIDGE / "real_inpainting" / task.photo]
        for name in (*task.objects, *task.fixtures):
            files += [custom / "models" / name / "collision.obj"]
            files += [custom / "models" / name / "textured.dae"]
        if stage:
            files.append(folder / BRIDGE / "stages" / task.stage)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (folder / ROBOT / "wx250s.urdf").write_text(URDF)
    return folder


class StandInWorld:
    """A world in which scene k is solved while the gripper's command is above k / 24.

    Args:
        task: The task.
        assets: Not looked at.
    """

    def __init__(self, task: BenchmarkTask, assets: Path) -> None:
        self.task = task
        self.success = self.held = False
        self.image = np.zeros((480, 640, 3), np.uint8)
        self.proprio = np.zeros(7)
        self.resets: list[int] = []
        self.steps = 0

    def reset(self, scene: int) -> None:
        """Begin an episode."""
        self.resets.append(scene)
        self.image = np.full((480, 640, 3), 10 * scene, np.uint8)
        self.success = self.held = False

    def step(self, action: np.ndarray) -> None:
        """Judge the gripper's command."""
        self.steps += 1
        self.success = bool(action[6] > self.resets[-1] / 24)
        self.held = self.held or bool(action[6] < 0.1)

    def close(self) -> None:
        """Nothing is open."""
