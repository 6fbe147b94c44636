"""Demonstrations of the scripted expert, simulated on several processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace

import numpy as np

from ptr_common.errors import PtrError
from ptr_training.data.episode import REWARDED_STEPS, Episode
from ptr_training.data.workers import WorkerPool

from .camera_shift import NO_SHIFT, CameraShift
from .mistakes import ImperfectDemonstrator, Mistakes
from .tasks import family_of, parse_task, sample_layout

CAMERA = "over_shoulder"
CAMERA_RATE = 30.0  # [Hz]
ATTEMPTS = 20
"""Scenes tried for one episode before the expert counts as broken."""


class CollectError(PtrError):
    """The demonstrations cannot be collected."""


@dataclass(frozen=True)
class Settings:
    """Settings that all workers share.

    Attributes:
        seed: Seed of all demonstrations.
        noise: Noise on the executed actions, relative to the longest step, 0 to 1.
        camera_size: Height and width of the rendered images [pixels].
        image_size: Height and width of the stored images [pixels].
        mistakes: How the demonstrator departs from the expert.
        keep_failures: Keep the episodes of failed attempts.
        camera_shift: Where the camera stands, relative to where it usually does.
    """

    seed: int
    noise: float
    camera_size: tuple[int, int]
    image_size: tuple[int, int]
    mistakes: Mistakes = field(default_factory=Mistakes)
    keep_failures: bool = False
    camera_shift: CameraShift = NO_SHIFT


@dataclass(frozen=True)
class Demonstration:
    """One successful episode and the failed attempts before it.

    Attributes:
        episode: The success.
        failures: Number of failed attempts.
        failed: Their episodes, if they are kept.
    """

    episode: Episode
    failures: int
    failed: tuple[Episode, ...] = ()


class Demonstrator:
    """One simulated table with the scripted expert.

    Args:
        settings: Seed, noise and image sizes.
    """

    def __init__(self, settings: Settings) -> None:
        # Deferred: MuJoCo is loaded in the worker processes only.
        from widowx_bringup.arm.controller import EefController
        from widowx_bringup.arm.kinematics import Kinematics

        from .simulated_devices import SimulatedArm, SimulatedCamera
        from .world import World

        height, width = settings.camera_size
        self._settings = settings
        self._world = World(shift=settings.camera_shift)
        self._controller = EefController(SimulatedArm(self._world), Kinematics())
        self._camera = SimulatedCamera(self._world, CAMERA, width, height, CAMERA_RATE)

    def demonstrate(self, task: str, index: int) -> Demonstration:
        """Return a demonstration, which depends on nothing but the arguments and settings.

        Args:
            task: Name of the task.
            index: Number of the demonstration among those of the task.

        Raises:
            CollectError: If every attempt fails.
        """
        failed: list[Episode] = []
        for attempt in range(ATTEMPTS):
            seeds = np.random.SeedSequence(
                [self._settings.seed, index, attempt, *task.encode()]
            )
            episode = self._attempt(task, seeds)
            if label := parse_task(task).label:
                episode = replace(episode, task=label)
            if episode.success:
                return Demonstration(_from_zero(episode), attempt, tuple(failed))
            if self._settings.keep_failures:
                failed.append(_from_zero(episode))
        raise CollectError(
            f"{task!r}: the expert failed {ATTEMPTS} times in a row; lower --noise, "
            f"which is {self._settings.noise:g}"
        )

    def _attempt(self, task: str, seeds: np.random.SeedSequence) -> Episode:
        from .expert import Disturbance
        from .rollout import rollout

        layout_seed = int(seeds.generate_state(1)[0])
        noise_seeds, mistake_seeds = seeds.spawn(2)
        settings = self._settings
        layout = sample_layout(task, layout_seed)
        self._world.reset(layout)
        goal = parse_task(task)
        family = family_of(goal)
        demonstrator = ImperfectDemonstrator(
            family.expert(self._world, goal),
            settings.mistakes,
            np.random.default_rng(mistake_seeds),
            family.reach_other(self._world, goal, list(layout.objects)),
        )
        longest = goal.demonstration_steps * (2 if settings.mistakes else 1)
        return rollout(
            self._world,
            self._controller,
            self._camera,
            lambda image, proprio: demonstrator.act(proprio),
            disturb=Disturbance(np.random.default_rng(noise_seeds), settings.noise),
            max_steps=longest,
            image_size=settings.image_size,
            linger=REWARDED_STEPS - 1,
        )


def _from_zero(episode: Episode) -> Episode:
    """Return an episode that starts at time zero; simulated time continues between attempts."""
    stamps = episode.stamps_ns - episode.stamps_ns[0]
    return replace(episode, stamps_ns=stamps, operator="scripted")


_demonstrator: Demonstrator | None = None  # one per worker process


def _start_worker(settings: Settings) -> None:
    global _demonstrator
    # The software renderer must not start threads.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    _demonstrator = Demonstrator(settings)


def _demonstrate(job: tuple[str, int]) -> Demonstration:
    assert _demonstrator is not None
    return _demonstrator.demonstrate(*job)


def demonstrations(
    tasks: Sequence[str], per_task: int, settings: Settings, workers: int
) -> Iterator[Demonstration]:
    """Yield demonstrations of every task, in an order that the number of workers does not change.

    Args:
        tasks: Names of the tasks.
        per_task: Demonstrations of each.
        settings: Seed, noise and image sizes.
        workers: Number of processes.

    Raises:
        CollectError: If a worker process dies or a task cannot be demonstrated.
    """
    jobs = [(task, index) for task in tasks for index in range(per_task)]
    pool = WorkerPool(workers, _start_worker, settings)
    try:
        yield from pool.map(_demonstrate, jobs)
    except BrokenProcessPool as error:
        raise CollectError(
            "a worker process ended; is memory short, or off-screen rendering broken?"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
