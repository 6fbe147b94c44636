"""The benchmark as a whole: every policy in every scene of every task, resumable and paired."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.documents import read_json
from ptr_common.files import atomic_file
from ptr_common.images import write_jpeg
from ptr_common.progress import progress
from ptr_common.text_table import cell
from ptr_common.versions import versions
from widowx_bringup.evaluation.film_strip import (
    film_of,
    strip_images,
    write_film_strip,
    write_films_page,
)
from widowx_bringup.evaluation.results import Rollout, read_results, write_results

from . import tables
from .assets import TaskAssets, note_lines
from .contract import CAMERA, to_camera
from .page import write_page
from .policies import BenchmarkPolicy, Contestant
from .rollout import plan, roll_out
from .tasks import SCENES, TASKS, BenchmarkError, BenchmarkTask
from .world import SimplerWorld

PLAN = "benchmark.json"
"""File that says what the results in a folder are of."""

SCENE_HEIGHT = 120
"""Height of a scene in `scenes.jpg` [pixels]."""


@dataclass(frozen=True)
class Benchmark:
    """What is run.

    Attributes:
        contestants: The policies.
        tasks: The tasks with their assets; those that cannot run are left out, and named.
        assets: Folder of assets.
        scenes: Scenes of each task, the first ones.
        out: Folder of the results.
        films: Make a film of each rollout.
        open_world: Opens the simulator of a task with a folder of assets.
    """

    contestants: Sequence[Contestant]
    tasks: Sequence[TaskAssets]
    assets: Path
    scenes: int
    out: Path
    films: bool
    open_world: Callable[[BenchmarkTask, Path], SimplerWorld] = SimplerWorld

    @property
    def runnable(self) -> list[BenchmarkTask]:
        """The tasks whose files are there."""
        return [each.task for each in self.tasks if not each.missing]


@dataclass(frozen=True)
class Done:
    """What a folder of results holds.

    Attributes:
        results: Rollouts by the name of their task.
        notes: What was replaced or left out, a line each.
    """

    results: dict[str, list[Rollout]]
    notes: list[str]


def run(benchmark: Benchmark) -> Done:
    """Carry out the missing rollouts; each is on disk before the next begins.

    The policies take turns in a scene, so that a run that is stopped has pairs.

    Returns:
        All rollouts, those found on disk included.

    Raises:
        BenchmarkError: If the folder holds results of other policies by the same names.
    """
    notes = _check_plan(benchmark)
    results = read_all(benchmark.out)
    missing = _missing(benchmark, results)
    total = sum(len(pairs) for pairs in missing.values())
    with progress(total=total, unit="rollout", desc="benchmark") as bar:
        for task in benchmark.runnable:
            if pairs := missing[task.name]:
                rows = results.setdefault(task.name, [])
                _run_task(benchmark, task, pairs, rows, bar)
    done = Done(read_all(benchmark.out), note_lines(notes))
    write_summary(benchmark.out, done)
    return done


def read_all(out: Path) -> dict[str, list[Rollout]]:
    """Return the rollouts on disk by the name of their task, in the order of `TASKS`."""
    found = {task.name: read_results(out / task.name) for task in TASKS}
    return {name: rows for name, rows in found.items() if rows}


def _missing(
    benchmark: Benchmark, results: dict[str, list[Rollout]]
) -> dict[str, list[tuple[Contestant, int]]]:
    """Return the rollouts that are still to be carried out, by task: policy and scene."""
    missing: dict[str, list[tuple[Contestant, int]]] = {}
    for task in benchmark.runnable:
        done = {(row.method, row.rollout) for row in results.get(task.name, [])}
        missing[task.name] = []
        for scene in range(benchmark.scenes):
            for contestant in benchmark.contestants:
                if (contestant.name, scene) not in done:
                    missing[task.name].append((contestant, scene))
    return missing


def _run_task(
    benchmark: Benchmark,
    task: BenchmarkTask,
    pairs: Sequence[tuple[Contestant, int]],
    rows: list[Rollout],
    bar: Any,
) -> None:
    """Carry out rollouts of one task and add them to its rows."""
    out = benchmark.out / task.name
    world = benchmark.open_world(task, benchmark.assets)
    if not (out / "scenes.jpg").exists():
        _write_scenes(world, out / "scenes.jpg")
    opened: dict[str, BenchmarkPolicy] = {}
    about = {"task": asdict(task), "versions": versions()}
    for contestant, scene in pairs:
        name = contestant.name
        if name not in opened:
            opened[name] = contestant.open(world)
        row, episode = roll_out(world, opened[name], plan(name, task.name, scene))
        write_film_strip(out / row.strip, strip_images(list(episode.frames)))
        if benchmark.films:
            _write_film(out, row, episode)
        rows.append(row)
        write_results(out, rows, about)
        solved = [each.success for each in rows if each.method == name]
        bar.set_postfix(**{f"{task.name} {name}": f"{sum(solved)}/{len(solved)}"})
        bar.update()
    if benchmark.films:
        write_films_page(out, rows)
    world.close()


def _write_film(out: Path, row: Rollout, episode: Any) -> None:
    from ptr_training.viewing.timeline import of_episode

    film = film_of(row, lambda: of_episode(episode, CAMERA))
    if film is not None:
        page = out / row.film
        film.write(page.parent, page.stem)


def _write_scenes(world: SimplerWorld, path: Path) -> None:
    """Write what the camera sees of each start scene, six in a row."""
    images = []
    for scene in range(SCENES):
        world.reset(scene)
        images.append(to_camera(world.image, SCENE_HEIGHT, SCENE_HEIGHT * 4 // 3))
    rows = [np.hstack(images[start : start + 6]) for start in range(0, SCENES, 6)]
    write_jpeg(path, np.vstack(rows))


def _check_plan(benchmark: Benchmark) -> dict[str, str]:
    """Write what is run; refuse a folder with results of other policies by the same names.

    Returns:
        What was replaced or left out, by task, also of earlier runs in the folder.
    """
    file = benchmark.out / PLAN
    policies = {each.name: each.identity for each in benchmark.contestants}
    if len(policies) < len(benchmark.contestants):
        names = ", ".join(each.name for each in benchmark.contestants)
        raise BenchmarkError(
            f"policies of one name: {names}; name them: --policy NAME=BUNDLE"
        )
    notes = {each.task.name: each.note for each in benchmark.tasks}
    if file.exists():
        known = read_json(file, BenchmarkError)
        _refuse_other(benchmark.out, "policy", known["policies"], policies)
        _refuse_other(benchmark.out, "state of the assets", known["notes"], notes)
        policies, notes = known["policies"] | policies, known["notes"] | notes
    content = {"policies": policies, "notes": notes, "versions": versions()}
    with atomic_file(file) as path:
        path.write_text(json.dumps(content, indent=2) + "\n")
    return notes


def _refuse_other(
    out: Path, what: str, known: Mapping[str, str], asked: Mapping[str, str]
) -> None:
    """Refuse a name that stands for something else in the results on disk."""
    for name, value in asked.items():
        if known.get(name, value) != value:
            raise BenchmarkError(
                f"{out} holds rollouts with another {what} {name!r} ({known[name]}); choose "
                "another --out (or name the policy: --policy NAME=BUNDLE)"
            )


def write_summary(out: Path, done: Done) -> None:
    """Write the tables over all tasks: `table.csv`, `table.json` and `index.html`."""
    columns = [each.name for each in fields(tables.Cell)]
    with atomic_file(out / "table.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for each in tables.cells(done.results):
            writer.writerow({name: cell(value) for name, value in asdict(each).items()})
    with atomic_file(out / "table.json") as path:
        content = tables.to_json(done.results, done.notes)
        path.write_text(json.dumps(content, indent=2) + "\n")
    write_page(out, done.results, done.notes)
