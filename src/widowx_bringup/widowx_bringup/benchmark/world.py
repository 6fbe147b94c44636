"""One task of the benchmark in ManiSkill 3: reset to a scene, observe, step.

ManiSkill reads the folder of its assets from the environment while it is imported, so all
worlds of a process have the same one.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import contract
from .assets import STAGES, VARIABLE, check_assets, link_assets
from .driver import check_installed
from .tasks import BenchmarkError, BenchmarkTask

TABLE_TOP = 0.8665
"""Height of the table in the world [m]."""

TABLE_CENTRE = (-2.1634, -2.8313)
"""Middle of the flat table in its mesh's frame [m]; in the world it lies at (-0.1, 0)."""

TABLE_SIZE = (2.0, 2.0, 0.5)
"""Extents of the flat table [m]."""


@dataclass(frozen=True)
class Scene:
    """A start scene of one's own, in the world's frame.

    Attributes:
        positions: Of the two objects of a task, (2, 3) [m].
        quaternions: Their orientations w, x, y, z, (2, 4).
    """

    positions: np.ndarray
    quaternions: np.ndarray


class SimplerWorld:
    """A task of the benchmark with its arm, camera and success.

    Args:
        task: The task.
        assets: Folder of assets, above `data`.

    Attributes:
        task: The task.
        success: Whether the task is solved now, as the benchmark judges it.
        held: Whether the object was held for 5 steps in a row at any time of the episode.

    Raises:
        BenchmarkError: If packages or assets are missing, or the process has others already.
    """

    def __init__(self, task: BenchmarkTask, assets: Path) -> None:
        check_installed()
        if missing := check_assets(assets, task).missing:
            raise BenchmarkError(f"{assets} lacks {', '.join(missing)}")
        _use_assets(assets)
        import gymnasium
        import mani_skill.envs  # noqa: F401  (registers the environments)
        import sapien
        import torch

        self.task = task
        self.success = self.held = False
        self._torch = torch
        torch.set_num_threads(1)  # for one world, threads would only wait
        for name in ("mani_skill", "mani_skill "):  # 3.0.1 has a blank at the end
            logging.getLogger(name).setLevel(logging.ERROR)
        self._environment: Any = gymnasium.make(
            task.environment,
            num_envs=1,
            obs_mode="rgb+segmentation",
            sim_backend="cpu",
            render_backend="cpu",
        ).unwrapped
        contract.check_rate(float(self._environment.control_freq))
        self._fixed = (self._environment.xyz_configs, self._environment.quat_configs)
        self._away = sapien.Pose([-10.0, 0.0, 0.0])
        # ManiSkill's own way to put the photograph behind the scene takes an eighth of the time.
        self._environment.rgb_overlay_mode = "none"
        self._photo = self._environment._rgb_overlay_images[contract.CAMERA].cpu().numpy()
        self._kept = self._environment._segmentation_ids_to_keep.cpu().numpy()
        self._image: np.ndarray

    def fixed_scene(self, episode: int) -> Scene:
        """Return where the objects of a fixed scene are put, before they settle.

        Args:
            episode: Its episode id, 0 … 23.
        """
        positions, quaternions = (config.cpu().numpy() for config in self._fixed)
        place, turn = divmod(episode, len(quaternions))
        return Scene(positions[place], quaternions[turn])

    def reset(self, scene: int | Scene) -> None:
        """Begin an episode.

        Args:
            scene: Episode id of a fixed scene, or one of one's own.

        Raises:
            BenchmarkError: If there is no such fixed scene.
        """
        environment, torch = self._environment, self._torch
        environment.xyz_configs, environment.quat_configs = self._fixed
        episode = scene
        if isinstance(scene, Scene):
            episode = 0
            environment.xyz_configs = torch.tensor(scene.positions[None]).float()
            environment.quat_configs = torch.tensor(scene.quaternions[None]).float()
        elif not 0 <= scene < len(self._fixed[0]) * len(self._fixed[1]):
            raise BenchmarkError(f"{self.task.name} has no scene {scene}")
        # ManiSkill 3 lets the objects settle before it puts the arm back: where the last episode
        # left it, it would push them, and a scene would depend on the policy before.
        environment.agent.robot.set_pose(self._away)
        options = {"episode_id": torch.tensor([episode])}
        observation, _ = environment.reset(seed=0, options=options)
        self._look(observation)
        self.success = self.held = False

    @property
    def image(self) -> np.ndarray:
        """The camera's image, (480, 640, 3) uint8 RGB."""
        return self._image

    @property
    def proprio(self) -> np.ndarray:
        """Proprioception, (7,), see action_space.PROPRIO_NAMES."""
        robot = self._environment.agent.robot
        finger = float(robot.get_qpos()[0, -2])
        tip = robot.links_map["ee_gripper_link"].pose
        return contract.to_proprio(_matrix(robot.pose), _matrix(tip), finger)

    def objects(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the poses of both objects in the base frame, (4, 4) [m]; what is moved first."""
        base = np.linalg.inv(_matrix(self._environment.agent.robot.pose))
        first, second = self.task.objects
        objs = self._environment.objs
        return base @ _matrix(objs[first].pose), base @ _matrix(objs[second].pose)

    def step(self, action: np.ndarray) -> None:
        """Carry out an action for one control period, and look again.

        Args:
            action: Within the bounds, (7,), see action_space.ACTION_NAMES.
        """
        command = self._torch.from_numpy(contract.to_simpler(action))[None]
        observation, _, _, _, info = self._environment.step(command)
        self._look(observation)
        self.success = bool(info["success"])
        self.held = bool(info["consecutive_grasp"])

    def _look(self, observation: dict[str, Any]) -> None:
        """Take the image of an observation: robot and objects before the photograph."""
        camera = observation["sensor_data"][contract.CAMERA]
        rgb = camera["rgb"][0].cpu().numpy()
        ids = camera["segmentation"][0, ..., 0].cpu().numpy()
        is_kept = np.zeros(max(int(ids.max()), int(self._kept.max())) + 1, np.bool_)
        is_kept[self._kept] = True
        self._image = np.where(is_kept[ids][..., None], rgb, self._photo)

    def close(self) -> None:
        """Free the simulator."""
        self._environment.close()


def _matrix(pose: Any) -> np.ndarray:
    """Return a pose of ManiSkill, (4, 4)."""
    values = pose.raw_pose[0].cpu().numpy().astype(np.float64)
    return contract.pose_of(values[:3], values[3:])


_linked: tuple[Path, Path] | None = None  # folder of assets and the links to it


def _use_assets(assets: Path) -> None:
    """Have ManiSkill read its assets from a folder of links, with a flat table where it lacks one.

    Raises:
        BenchmarkError: If this process uses another folder of assets already.
    """
    global _linked
    assets = assets.resolve()
    if _linked is not None:
        if _linked[0] != assets:
            raise BenchmarkError(
                f"assets of {_linked[0]} are in use; {assets} needs a new process"
            )
        return
    links = Path(tempfile.mkdtemp(prefix="ptr-benchmark-"))
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    link_assets(assets, links)
    _add_tables(links / STAGES)
    os.environ[VARIABLE] = str(links)
    os.environ.setdefault("MS_SKIP_ASSET_DOWNLOAD_PROMPT", "1")
    os.environ.setdefault("LP_NUM_THREADS", "0")  # the software renderer starts no threads
    _linked = assets, links


def _add_tables(stages: Path) -> None:
    """Write a flat box in place of each mesh of a table that is missing."""
    import trimesh

    from .tasks import TASKS

    x, y = TABLE_CENTRE
    box = trimesh.creation.box(TABLE_SIZE)
    box.apply_translation((x, y, TABLE_TOP - TABLE_SIZE[2] / 2))
    upright = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    box.apply_transform(upright)  # meshes of this kind have y upwards
    for name in sorted({task.stage for task in TASKS}):
        if not (stages / name).exists():
            box.export(stages / name)
