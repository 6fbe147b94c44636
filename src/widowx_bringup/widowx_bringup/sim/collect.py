"""The verb `ptr collect`: writes scripted demonstrations of many tasks into an episode store."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from ptr_common.arguments import VerbParser, positive_int, seed
from ptr_common.progress import progress
from ptr_training.data.episode import DatasetInfo, EpisodeWriter

from .camera_shift import CameraShift
from .demonstrations import CAMERA, CollectError, Settings, demonstrations
from .mistakes import Mistakes
from .rendering import choose_backend
from .tasks import GROUPS, parse_tasks

MIN_SIZE = 8  # of an image [pixels]
MAX_HEIGHT = 960  # [pixels]
MAX_WIDTH = 1280  # [pixels]


def collect(
    tasks: Sequence[str], per_task: int, settings: Settings, workers: int, out: Path
) -> Counter[str]:
    """Write a store of demonstrations.

    Args:
        tasks: Names of the tasks.
        per_task: Episodes of each.
        settings: Seed, noise and image sizes.
        workers: Number of processes.
        out: Folder of the new store.

    Returns:
        Number of failed attempts by task.

    Raises:
        CollectError: If a worker process dies or a task cannot be demonstrated.
        RenderingError: If off-screen rendering does not work.
    """
    choose_backend()  # fails here rather than in every worker
    info = _dataset_info(settings, out.name)
    failures: Counter[str] = Counter()
    with EpisodeWriter(out, info) as writer:
        bar = progress(
            demonstrations(tasks, per_task, settings, workers),
            total=len(tasks) * per_task,
            unit="episode",
            desc=f"collect {out.name}",
        )
        for demonstration in bar:
            for episode in (demonstration.episode, *demonstration.failed):
                writer.add(episode)
            failures[demonstration.episode.task] += demonstration.failures
        writer.info = replace(info, sources=(_source(settings, failures),))
    return failures


def _dataset_info(settings: Settings, name: str) -> DatasetInfo:
    camera_height, camera_width = settings.camera_size
    height, width = settings.image_size
    return DatasetInfo(
        name=name,
        camera=CAMERA,
        command="requested",  # the expert's action, without the noise
        camera_width=camera_width,
        camera_height=camera_height,
        image_height=height,
        image_width=width,
        licence="CC0-1.0",
    )


def _source(settings: Settings, failures: Counter[str]) -> dict[str, object]:
    """Return the entry of the store that says how it was made."""
    return {
        "name": "ptr collect",
        "seed": settings.seed,
        "noise": settings.noise,
        "mistakes": asdict(settings.mistakes),
        **({"camera_shift": asdict(shift)} if (shift := settings.camera_shift) else {}),
        "failed_attempts": {task: count for task, count in failures.items() if count},
    }


def image_size(text: str) -> tuple[int, int]:
    """Parse an image size: `240x320` (height x width) or `64` (both)."""
    height, _, width = text.lower().partition("x")
    width = width or height
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HEIGHTxWIDTH, for instance 240x320, or 64 for both"
        )
    size = (int(height), int(width))
    if not (MIN_SIZE <= size[0] <= MAX_HEIGHT and MIN_SIZE <= size[1] <= MAX_WIDTH):
        raise argparse.ArgumentTypeError(
            f"{text} is not allowed; height x width must be "
            f"between {MIN_SIZE}x{MIN_SIZE} and {MAX_HEIGHT}x{MAX_WIDTH}"
        )
    return size


def parser() -> VerbParser:
    """Return the parser of the verb."""
    verb = VerbParser("collect", main.__doc__)
    verb.add_argument(
        "--tasks",
        nargs="+",
        default=["prior"],
        metavar="TASK",
        help=f"task names, or words for several: {', '.join(GROUPS)} (default: prior)",
    )
    verb.add_argument(
        "--episodes-per-task",
        type=positive_int,
        default=50,
        metavar="N",
        help="successful episodes of each task",
    )
    verb.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="seed of all episodes; the number of workers changes nothing (default: 0)",
    )
    verb.add_argument("--out", type=Path, required=True, help="folder of the new store")
    verb.add_argument(
        "--workers",
        type=positive_int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of processes (default: all cores)",
    )
    _add_image_options(verb)
    _add_demonstrator_options(verb)
    return verb


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of image sizes, camera place and noise."""
    parser.add_argument(
        "--image-size",
        type=image_size,
        default=(64, 64),
        metavar="HxW",
        help="size of the stored images [pixels] (default: 64)",
    )
    parser.add_argument(
        "--camera-size",
        type=image_size,
        default=(240, 320),
        metavar="HxW",
        help="size of the rendered images [pixels] (default: 240x320)",
    )
    parser.add_argument(
        "--camera-rise",
        type=float,
        default=0.0,
        metavar="M",
        help="rise of the camera's mount [m] (default: 0)",
    )
    parser.add_argument(
        "--camera-turn",
        type=float,
        default=0.0,
        metavar="DEGREES",
        help="turn of the camera about the middle of the table [degrees] (default: 0)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.15,
        help="noise of the arm, relative to the longest step, 0 to 1; 0: no recovery either",
    )


def _add_demonstrator_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of how well it is demonstrated."""
    for option, share in (
        ("--wrong-moves", "steps that lead away from where they should"),
        ("--hesitation", "steps in which the arm waits on its way"),
        ("--waits", "closings and openings of the gripper before which the arm waits"),
        ("--detours", "episodes with a detour"),
        ("--wrong-objects", "episodes in which another object is reached for first"),
        ("--misses", "descents on which the gripper closes too early"),
        ("--drops", "carries on which the gripper opens too early"),
    ):
        parser.add_argument(
            option,
            type=_share,
            default=0.0,
            metavar="SHARE",
            help=f"share of the {share}, 0 to 0.9; they are the labels of their steps",
        )
    parser.add_argument(
        "--keep-failures",
        action="store_true",
        help="keep failed attempts as episodes without reward (default: left out)",
    )


def _share(text: str) -> float:
    """Parse a share of steps or episodes, from 0 to 0.9."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 0.9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 0.9")
    return value


def main(argv: list[str] | None = None) -> int:
    """Simulate scripted demonstrations of many tasks into an episode store."""
    options = parser().parse_args(argv)
    if not 0 <= options.noise <= 1:
        raise CollectError(f"--noise must be in [0, 1]; found {options.noise:g}")
    tasks = parse_tasks(options.tasks)
    kept = len(tasks) * options.episodes_per_task
    settings = Settings(
        options.seed,
        options.noise,
        options.camera_size,
        options.image_size,
        Mistakes(**{each.name: getattr(options, each.name) for each in fields(Mistakes)}),
        options.keep_failures,
        CameraShift(options.camera_rise, options.camera_turn),
    )
    workers = min(options.workers, kept)
    failures = collect(tasks, options.episodes_per_task, settings, workers, options.out)
    fate = "kept as failures" if options.keep_failures else "left out"
    print(
        f"{options.out}: {kept} episodes of {len(tasks)} tasks; "
        f"{failures.total()} failed attempts were {fate}"
    )
    return 0
