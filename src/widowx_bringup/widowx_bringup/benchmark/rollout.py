"""One rollout of the benchmark: observe, act, step, as often as the task is long."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_training.data.episode import Episode
from widowx_bringup.evaluation.results import Rollout, planned_rollout

from .contract import bounded, to_camera
from .policies import BenchmarkPolicy
from .world import SimplerWorld

STAGES = ("", "held", "solved once", "solved")
"""How far a rollout came: nothing, object held, solved at some step, solved at the last step."""

FILM_SIZE = (240, 320)
"""Height and width of the images that are kept of a rollout [pixels]."""

PERIOD_NS = round(1e9 / CONTROL_RATE)


class EpisodeRecord:
    """Observations and actions of one episode so far.

    Args:
        size: Height and width of the images that are kept [pixels].
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._images: list[np.ndarray] = []
        self._proprio: list[np.ndarray] = []
        self._requested: list[np.ndarray] = []
        self._executed: list[np.ndarray] = []

    def observe(self, world: SimplerWorld) -> None:
        """Add the present image and proprioception."""
        self._images.append(to_camera(world.image, *self._size))
        self._proprio.append(world.proprio.astype(np.float32))

    def act(self, requested: np.ndarray, executed: np.ndarray) -> None:
        """Add an action as it was asked for and as it was carried out, (7,) each."""
        self._requested.append(np.asarray(requested, np.float32))
        self._executed.append(np.asarray(executed, np.float32))

    def to_episode(self, name: str, task: str, success: bool, seed: int) -> Episode:
        """Return the episode.

        Args:
            name: Its id.
            task: Its task's name.
            success: Whether the task was solved.
            seed: Of its scene.
        """
        return Episode(
            id=name,
            task=task,
            frames=np.stack(self._images),
            stamps_ns=np.arange(len(self._images), dtype=np.int64) * PERIOD_NS,
            proprio=np.stack(self._proprio),
            requested=np.stack(self._requested),
            executed=np.stack(self._executed),
            outcome="success" if success else "failure",
            seed=seed,
        )


def plan(method: str, task: str, scene: int) -> Rollout:
    """Return a rollout of a fixed scene without its outcome."""
    return planned_rollout(method, scene, scene, task, f"strips/{method}_{scene:03d}.jpg")


def roll_out(
    world: SimplerWorld, policy: BenchmarkPolicy, planned: Rollout
) -> tuple[Rollout, Episode]:
    """Let a policy act in one of the fixed scenes.

    Every rollout is as long as its task: solved is what the last step shows. `steps` of the
    result is the step that first solved it, or all of them.

    Args:
        world: Of the task.
        policy: Acts.
        planned: The rollout without its outcome.

    Returns:
        The rollout with its outcome, and the episode with images in the size of films.
    """
    task = world.task
    world.reset(planned.rollout)
    policy.reset(task)
    record = EpisodeRecord(FILM_SIZE)
    record.observe(world)
    clipped, solved_at = 0, 0
    for step in range(1, task.steps + 1):
        requested = policy.act(world.image, world.proprio)
        action, was_clipped = bounded(requested)
        world.step(action)
        record.act(requested, action)
        record.observe(world)
        clipped += was_clipped
        if world.success and not solved_at:
            solved_at = step
    done = replace(
        planned,
        success=world.success,
        steps=solved_at or task.steps,
        duration=task.steps / CONTROL_RATE,
        clipped=clipped,
        reason="solved" if world.success else f"not solved at step {task.steps}",
        stage=_stage(world, solved_at),
    )
    name = f"{planned.task}-{planned.rollout:03d}"
    return done, record.to_episode(name, task.instruction, done.success, planned.rollout)


def _stage(world: SimplerWorld, solved_at: int) -> str:
    """Return how far the rollout came that has just ended, one of `STAGES`."""
    if world.success:
        return STAGES[3]
    return STAGES[2] if solved_at else STAGES[int(world.held)]
