"""The benchmark as a whole: every policy in every scene of every task, resumable and paired."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
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
from .assets import TaskAssets
from .contract import CAMERA, to_camera
from .page import write_page
from .policies import BenchmarkPolicy, Contestant
from .rollout import plan, roll_out
from .tasks import BenchmarkError, BenchmarkTask
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
    """

    contestants: Sequence[Contestant]
    tasks: Sequence[TaskAssets]
    assets: Path
    scenes: int
    out: Path
    films: bool

    @property
    def runnable(self) -> list[BenchmarkTask]:
        """The tasks whose files are there."""
        return [each.task for each in self.tasks if not each.missing]

    @property
    def notes(self) -> list[str]:
        """What was replaced or left out, a line each."""
        return [each.note for each in self.tasks if each.note]


def run(benchmark: Benchmark) -> dict[str, list[Rollout]]:
    """Carry out the missing rollouts; each is on disk before the next begins.

    The policies take turns in a scene, so that a run that is stopped has pairs.

    Returns:
        All rollouts by the name of their task, those found on disk included.

    Raises:
        BenchmarkError: If the folder holds results of other policies by the same names.
    """
    _check_plan(benchmark)
    results: dict[str, list[Rollout]] = {}
    for task in benchmark.runnable:
        results[task.name] = read_results(benchmark.out / task.name)
    missing = _missing(benchmark, results)
    total = sum(len(pairs) for pairs in missing.values())
    with progress(total=total, unit="rollout", desc="benchmark") as bar:
        for task in benchmark.runnable:
            if pairs := missing[task.name]:
                _run_task(benchmark, task, pairs, results[task.name], bar)
    write_summary(benchmark, results)
    return results


def _missing(
    benchmark: Benchmark, results: dict[str, list[Rollout]]
) -> dict[str, list[tuple[Contestant, int]]]:
    """Return the rollouts that are still to be carried out, by task: policy and scene."""
    missing: dict[str, list[tuple[Contestant, int]]] = {}
    for task, rows in results.items():
        done = {(row.method, row.rollout) for row in rows}
        missing[task] = []
        for scene in range(benchmark.scenes):
            for contestant in benchmark.contestants:
                if (contestant.name, scene) not in done:
                    missing[task].append((contestant, scene))
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
    world = SimplerWorld(task, benchmark.assets)
    if not (out / "scenes.jpg").exists():
        _write_scenes(world, benchmark.scenes, out / "scenes.jpg")
    opened: dict[str, BenchmarkPolicy] = {}
    about = {"task": asdict(task), "notes": benchmark.notes, "versions": versions()}
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


def _write_scenes(world: SimplerWorld, scenes: int, path: Path) -> None:
    """Write what the camera sees of each start scene, six in a row."""
    images = []
    for scene in range(scenes):
        world.reset(scene)
        images.append(to_camera(world.image, SCENE_HEIGHT, SCENE_HEIGHT * 4 // 3))
    while len(images) % min(6, scenes):
        images.append(np.full_like(images[0], 255))
    lines = [np.hstack(images[start : start + 6]) for start in range(0, len(images), 6)]
    write_jpeg(path, np.vstack(lines))


def _check_plan(benchmark: Benchmark) -> None:
    """Write what is run; refuse a folder with results of other policies by the same names."""
    file = benchmark.out / PLAN
    policies = {each.name: each.identity for each in benchmark.contestants}
    if len(policies) < len(benchmark.contestants):
        raise BenchmarkError(
            f"two policies have one name, found: {', '.join(each.name for each in benchmark.contestants)}; "
            "name them: --policy NAME=BUNDLE"
        )
    notes = benchmark.notes
    if file.exists():
        known = read_json(file, BenchmarkError)
        for name, identity in policies.items():
            if known["policies"].get(name, identity) != identity:
                raise BenchmarkError(
                    f"{benchmark.out} holds rollouts of another policy called {name!r}; "
                    "choose another --out, or name it: --policy NAME=BUNDLE"
                )
        if known["notes"] != notes:
            raise BenchmarkError(
                f"{benchmark.out} was run with other assets ({'; '.join(known['notes']) or 'all'}); "
                "choose another --out"
            )
        policies = known["policies"] | policies
    content = {"policies": policies, "notes": notes, "versions": versions()}
    with atomic_file(file) as path:
        path.write_text(json.dumps(content, indent=2) + "\n")


def write_summary(benchmark: Benchmark, results: tables.Results) -> None:
    """Write the tables over all tasks: `table.csv`, `table.json` and `index.html`."""
    columns = [each.name for each in fields(tables.Cell)]
    with atomic_file(benchmark.out / "table.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for each in tables.cells(results):
            writer.writerow({name: cell(value) for name, value in asdict(each).items()})
    with atomic_file(benchmark.out / "table.json") as path:
        path.write_text(json.dumps(tables.to_json(results, benchmark.notes), indent=2) + "\n")
    write_page(benchmark.out, results, benchmark.notes)
