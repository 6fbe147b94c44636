"""Demonstrations in the benchmark's simulator, from random scenes, as an episode store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, RELEASED
from ptr_common.progress import progress
from ptr_training.data.episode import REWARDED_STEPS, DatasetInfo, Episode, EpisodeWriter

from .assets import TaskAssets, note_lines
from .contract import CAMERA, IMAGE_SIZE
from .demonstrator import SimplerDemonstrator
from .rollout import EpisodeRecord
from .scenes import random_scene
from .tasks import SCENES, BenchmarkError
from .world import Scene, SimplerWorld

ATTEMPTS = 20
"""Scenes tried for one episode before the demonstrator counts as broken."""

LONGEST_STEP = 0.03
"""Scale of the noise on a step [m]."""

LONGEST_TURN = 0.2
"""Scale of the noise on a turn [rad]."""


@dataclass(frozen=True)
class CollectSettings:
    """Settings of a collection.

    Attributes:
        per_task: Successful episodes of each task.
        seed: Seed of scenes and noise.
        noise: Noise on the executed actions, relative to a long step, 0 to 1.
        image_size: Height and width of the stored images [pixels].
    """

    per_task: int
    seed: int
    noise: float
    image_size: tuple[int, int]


def collect(
    tasks: Sequence[TaskAssets], assets: Path, settings: CollectSettings, out: Path
) -> Counter[str]:
    """Write a store of demonstrations.

    Args:
        tasks: Tasks whose assets are there.
        assets: Folder of assets.
        settings: Number, seed, noise and image size.
        out: Folder of the new store.

    Returns:
        Number of failed attempts by task.

    Raises:
        BenchmarkError: If a task cannot be demonstrated.
    """
    failures: Counter[str] = Counter()
    info = _dataset_info(settings, out.name)
    total = len(tasks) * settings.per_task
    with EpisodeWriter(out, info) as writer:
        with progress(total=total, unit="episode", desc=f"collect {out.name}") as bar:
            for found in tasks:
                world = SimplerWorld(found.task, assets)
                for index in range(settings.per_task):
                    episode, failed = demonstrate(world, settings, index)
                    writer.add(episode)
                    failures[found.task.name] += failed
                    bar.update()
                world.close()
        writer.info = replace(info, sources=(_source(tasks, settings, failures),))
    return failures


def demonstrate(
    world: SimplerWorld, settings: CollectSettings, index: int
) -> tuple[Episode, int]:
    """Return a successful episode, and how many attempts failed before it.

    Args:
        world: Of the task.
        settings: Seed, noise and image size.
        index: Number of the episode among those of the task.

    Raises:
        BenchmarkError: If every attempt fails.
    """
    name = world.task.name
    fixed = [world.fixed_scene(episode) for episode in range(SCENES)]
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([settings.seed, index, attempt, *name.encode()])
        scene = random_scene(world.task, fixed, rng)
        episode = _attempt(world, scene, settings, rng, index)
        if episode.success:
            return episode, attempt
    raise BenchmarkError(
        f"{name}: the demonstrator failed {ATTEMPTS} times in a row; lower --noise, which is "
        f"{settings.noise:g}"
    )


def _attempt(
    world: SimplerWorld,
    scene: Scene,
    settings: CollectSettings,
    rng: np.random.Generator,
    index: int,
) -> Episode:
    """Return one attempt; it ends some steps after the object was let go in its place."""
    world.reset(scene)
    demonstrator = SimplerDemonstrator(world)
    record = EpisodeRecord(settings.image_size)
    record.observe(world)
    solved = 0  # observations in a row that showed success and an open gripper
    for _ in range(world.task.steps):
        requested = demonstrator.act()
        executed = _disturbed(requested, settings.noise, rng)
        world.step(executed)
        demonstrator.executed(executed)
        record.act(requested, executed)
        record.observe(world)
        released = world.proprio[6] > RELEASED  # some tasks count as solved before
        solved = solved + 1 if world.success and released else 0
        if solved == REWARDED_STEPS:
            break
    name = f"{world.task.name}-{settings.seed}-{index:04d}"
    episode = record.to_episode(name, world.task.instruction, world.success, index)
    return replace(episode, operator="scripted", source="ptr benchmark collect")


def _disturbed(action: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return an action with noise on its motion, within the bounds, (7,)."""
    scale = noise * (0.25 + 0.75 * np.linalg.norm(action[:3]) / LONGEST_STEP)
    disturbed = action.copy()
    disturbed[:3] += scale * LONGEST_STEP * rng.standard_normal(3)
    disturbed[5] += scale * LONGEST_TURN * rng.standard_normal()
    return disturbed.clip(ACTION_LOW, ACTION_HIGH)


def _dataset_info(settings: CollectSettings, name: str) -> DatasetInfo:
    height, width = settings.image_size
    return DatasetInfo(
        name=name,
        camera=CAMERA,
        command="requested",  # the demonstrator's action, without the noise
        camera_height=IMAGE_SIZE[0],
        camera_width=IMAGE_SIZE[1],
        image_height=height,
        image_width=width,
        licence="CC-BY-NC-4.0",  # images show ManiSkill's assets
    )


def _source(
    tasks: Sequence[TaskAssets], settings: CollectSettings, failures: Counter[str]
) -> dict[str, object]:
    """Return the entry of the store that says how it was made."""
    return {
        "name": "ptr benchmark collect",
        "seed": settings.seed,
        "noise": settings.noise,
        "notes": note_lines({each.task.name: each.note for each in tasks}),
        "failed_attempts": {task: count for task, count in failures.items() if count},
    }
