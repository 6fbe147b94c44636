"""Scripted demonstrations of many tasks, simulated on several processes, straight into an episode store."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ptr_common.errors import PtrError
from ptr_training.data.episode import REWARDED_STEPS, DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.workers import WorkerPool

from .rendering import choose_backend
from .tasks import draw_layout, parse_task, prior_tasks

CAMERA = "over_shoulder"
MAX_STEPS = 60
ATTEMPTS = 20  # scenes drawn for one episode before the demonstrator is held to be broken


class CollectError(PtrError):
    """The demonstrations cannot be collected."""


@dataclass(frozen=True)
class Settings:
    """What every worker has to know."""

    seed: int
    noise: float
    camera_size: tuple[int, int]  # height, width
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Demonstration:
    """One kept episode and how many attempts failed before it."""

    episode: Episode
    failures: int


class Demonstrator:
    """One simulated table with the scripted expert at it."""

    def __init__(self, settings: Settings) -> None:
        from widowx_bringup.arm.controller import EefController
        from widowx_bringup.arm.kinematics import Kinematics

        from .world import SimulatedArm, SimulatedCamera, World

        height, width = settings.camera_size
        self._settings = settings
        self._world = World()
        self._controller = EefController(SimulatedArm(self._world), Kinematics())
        self._camera = SimulatedCamera(self._world, CAMERA, width, height, rate=30.0)

    def demonstrate(self, task: str, index: int) -> Demonstration:
        """Return the demonstration number `index` of a task; it depends on nothing but these and the settings.

        Raises:
            CollectError: If every attempt fails.
        """
        for attempt in range(ATTEMPTS):
            sequence = np.random.SeedSequence(
                [self._settings.seed, index, attempt, *task.encode()]
            )
            layout_seed = int(sequence.generate_state(1)[0])
            episode = self._attempt(
                task, layout_seed, np.random.default_rng(sequence.spawn(1)[0])
            )
            if episode.success:
                # Simulated time goes on from one attempt to the next; a demonstration
                # starts at zero.
                stamps = episode.stamps_ns - episode.stamps_ns[0]
                return Demonstration(
                    replace(episode, stamps_ns=stamps, operator="scripted"), attempt
                )
        raise CollectError(
            f"{task!r}: the demonstrator failed {ATTEMPTS} times in a row; is the noise too large?"
        )

    def _attempt(self, task: str, layout_seed: int, rng: np.random.Generator) -> Episode:
        from .expert import Disturbance, Expert
        from .rollout import rollout

        self._world.reset(draw_layout(task, layout_seed))
        expert = Expert(self._world, parse_task(task))
        return rollout(
            self._world,
            self._controller,
            self._camera,
            lambda image, proprio: expert.act(proprio),
            disturb=Disturbance(rng, self._settings.noise),
            max_steps=MAX_STEPS,
            image_size=self._settings.image_size,
            linger=REWARDED_STEPS - 1,
        )


_demonstrator: Demonstrator | None = None  # one per worker process


def _start_worker(settings: Settings) -> None:
    global _demonstrator
    os.environ.setdefault(
        "LP_NUM_THREADS", "0"
    )  # the software renderer must not start threads of its own
    _demonstrator = Demonstrator(settings)


def _work(job: tuple[str, int]) -> Demonstration:
    assert _demonstrator is not None
    return _demonstrator.demonstrate(*job)


def demonstrations(
    tasks: Sequence[str], per_task: int, settings: Settings, workers: int
) -> Iterator[Demonstration]:
    """Yield `per_task` demonstrations of every task, in this order whatever the number of workers.

    Raises:
        CollectError: If a worker process dies or a task cannot be demonstrated.
    """
    jobs = [(task, index) for task in tasks for index in range(per_task)]
    pool = WorkerPool(workers, _start_worker, settings)
    try:
        yield from pool.map(_work, jobs)
    except BrokenProcessPool as error:
        raise CollectError(
            "a worker process ended; is memory short, or off-screen rendering broken?"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def collect(
    tasks: Sequence[str], per_task: int, settings: Settings, workers: int, out: Path
) -> Counter[str]:
    """Write a store of demonstrations; return how many attempts failed, per task."""
    choose_backend()  # fails here rather than in every worker
    (camera_height, camera_width), (height, width) = (
        settings.camera_size,
        settings.image_size,
    )
    card = DatasetInfo(
        name=out.name,
        camera=CAMERA,
        command="requested",  # what the demonstrator wanted, without the noise
        camera_width=camera_width,
        camera_height=camera_height,
        image_height=height,
        image_width=width,
        licence="CC0-1.0",
    )
    failures: Counter[str] = Counter()
    with EpisodeWriter(out, card) as writer:
        everything = demonstrations(tasks, per_task, settings, workers)
        for done in tqdm(
            everything,
            total=len(tasks) * per_task,
            unit="episode",
            desc=f"collect {out.name}",
        ):
            writer.add(done.episode)
            failures[done.episode.task] += done.failures
        writer.card = replace(card, sources=(_source(settings, failures),))
    return failures


def _source(settings: Settings, failures: Counter[str]) -> dict[str, object]:
    return {
        "name": "ptr collect",
        "seed": settings.seed,
        "noise": settings.noise,
        "failed_attempts": {task: count for task, count in failures.items() if count},
    }


def _size(text: str) -> tuple[int, int]:
    """Parse `240x320` (height x width) or `64` (both)."""
    height, _, width = text.lower().partition("x")
    size = (_count(height), _count(width or height))
    if not (8 <= size[0] <= 960 and 8 <= size[1] <= 1280):
        raise argparse.ArgumentTypeError(
            f"{text}: height x width must be between 8x8 and 960x1280"
        )
    return size


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Simulate scripted demonstrations of many tasks into an episode store."""
    parser = argparse.ArgumentParser(prog="ptr collect", description=main.__doc__)
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=["prior"],
        metavar="TASK",
        help="task names, or `prior`: all but unseen objects",
    )
    parser.add_argument("--episodes-per-task", type=_count, default=50)
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="decides everything; the number of workers nothing",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new store")
    parser.add_argument(
        "--workers",
        type=_count,
        default=os.cpu_count() or 1,
        help="processes (default: all cores)",
    )
    parser.add_argument(
        "--image-size",
        type=_size,
        default=(64, 64),
        metavar="HxW",
        help="stored size (default: 64)",
    )
    parser.add_argument(
        "--camera-size",
        type=_size,
        default=(240, 320),
        metavar="HxW",
        help="drawn (default: 240x320)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.15,
        help="of the longest step; 0: clean, no recovery",
    )
    options = parser.parse_args(argv)
    if options.seed < 0 or not 0 <= options.noise <= 1:
        raise CollectError(
            f"--seed must be >= 0 and --noise in [0, 1]; found {options.seed} and {options.noise}"
        )
    tasks = (
        prior_tasks()
        if options.tasks == ["prior"]
        else [parse_task(name).name for name in options.tasks]
    )
    tasks = list(dict.fromkeys(tasks))
    settings = Settings(
        options.seed, options.noise, options.camera_size, options.image_size
    )
    workers = min(options.workers, len(tasks) * options.episodes_per_task)
    failures = collect(tasks, options.episodes_per_task, settings, workers, options.out)
    kept = len(tasks) * options.episodes_per_task
    print(
        f"{options.out}: {kept} episodes of {len(tasks)} tasks; {failures.total()} failed attempts were left out"
    )
    return 0
