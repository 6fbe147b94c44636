"""`ptr benchmark`: policies in a public benchmark, and demonstrations of its tasks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ptr_common.arguments import VerbParser, positive_int, seed, whole_number
from widowx_bringup.evaluation.evaluate import parse_method
from widowx_bringup.evaluation.film_strip import can_film
from widowx_bringup.sim.collect import image_size

from . import tables
from .assets import TaskAssets, assets_folder, note_lines, usable_tasks
from .driver import check_driver, check_installed
from .policies import SCRIPTED, Contestant, bundle_contestant
from .tasks import SCENES, TASKS, BenchmarkError, BenchmarkTask, parse_tasks

DESCRIPTION = """SimplerEnv's WidowX tasks (ManiSkill 3), on a CPU.

  ptr benchmark simpler --policy NAME=BUNDLE …   the 24 fixed scenes of each task, counted
  ptr benchmark collect --out STORE              scripted demonstrations from other scenes

Packages: requirements/optional/benchmark.txt. Assets (CC BY-NC 4.0 in part) are never shipped:
--assets names their folder; what is missing is named, and `ptr doctor` says how to get it."""


def _parser() -> VerbParser:
    parser = VerbParser("benchmark", DESCRIPTION)
    actions = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="ACTION",
        help="what to do: simpler or collect",
    )
    simpler = _add(actions, "simpler", "roll policies out in the fixed scenes, and count")
    _add_simpler_options(simpler)
    collect = _add(
        actions,
        "collect",
        "write scripted demonstrations from scenes that are never evaluated",
    )
    _add_collect_options(collect)
    for action in (simpler, collect):
        action.add_argument(
            "--assets",
            type=Path,
            metavar="DIR",
            help="folder of ManiSkill's assets, above `data` (default: MS_ASSET_DIR, ~/.maniskill)",
        )
        action.add_argument(
            "--tasks",
            nargs="+",
            default=[],
            metavar="TASK",
            help=f"some of: {', '.join(task.name for task in TASKS)} (default: all that can run)",
        )
    return parser


def _add(actions: Any, name: str, text: str) -> VerbParser:
    """Add what `ptr benchmark NAME` takes; in the help it is the line `text`."""
    added: VerbParser = actions.add_parser(
        name,
        verb=f"benchmark {name}",
        description=f"{text[0].upper()}{text[1:]}.",
        help=text,
    )
    return added


def _add_simpler_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of an evaluation."""
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="[NAME=]BUNDLE",
        help="policy to evaluate; may be repeated (default: none; it or --scripted is needed)",
    )
    parser.add_argument(
        "--scripted",
        action="store_true",
        help="also run the scripted demonstrator, which knows where the objects are (default: off)",
    )
    parser.add_argument(
        "--task-name",
        action="append",
        default=[],
        metavar="TASK=NAME",
        help="what the bundles call a task; may be repeated (default: the benchmark's instruction)",
    )
    parser.add_argument(
        "--scenes",
        type=whole_number(1, SCENES),
        default=SCENES,
        metavar="N",
        help="the first N scenes of each task; fewer than all are no result (default: 24)",
    )
    parser.add_argument(
        "--no-films",
        dest="films",
        action="store_false",
        help="make no film of each rollout (default: TASK/films/ has them)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the results; a second run goes on",
    )


def _add_collect_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a collection."""
    parser.add_argument(
        "--episodes-per-task",
        type=positive_int,
        default=50,
        metavar="N",
        help="successful episodes of each task (default: 50)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of all episodes (default: 0)")
    parser.add_argument(
        "--noise",
        type=float,
        default=0.15,
        help="noise of the arm, relative to a long step, 0 to 1 (default: 0.15)",
    )
    parser.add_argument(
        "--image-size",
        type=image_size,
        default=(64, 64),
        metavar="HxW",
        help="size of the stored images [pixels] (default: 64)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new store")


def main(argv: list[str]) -> int:
    """Run policies in SimplerEnv's WidowX tasks, or demonstrate those."""
    options = _parser().parse_args(argv)
    tasks = parse_tasks(options.tasks)
    if options.action == "collect":
        return _collect(options, tasks)
    return _simpler(options, tasks)


def _ready(options: argparse.Namespace, tasks: list[BenchmarkTask]) -> list[TaskAssets]:
    """Return what is there of the tasks, after checking packages, assets and driver."""
    check_installed()
    found = usable_tasks(assets_folder(options.assets), tasks, chosen=bool(options.tasks))
    check_driver()
    for line in note_lines({each.task.name: each.note for each in found}):
        print(line, file=sys.stderr)
    return found


def _simpler(options: argparse.Namespace, tasks: list[BenchmarkTask]) -> int:
    if not (options.policy or options.scripted):
        raise BenchmarkError("nothing to run; give --policy NAME=BUNDLE, or --scripted")
    methods = [parse_method(text) for text in options.policy]
    names = _task_names(options.task_name)
    found = _ready(options, tasks)
    from .run import Benchmark, run

    runnable = [each.task for each in found if not each.missing]
    contestants: list[Contestant] = []
    for method in methods:
        contestants.append(bundle_contestant(method.name, method.bundle, runnable, names))
    if options.scripted:
        contestants.append(SCRIPTED)
    benchmark = Benchmark(
        contestants=contestants,
        tasks=found,
        assets=assets_folder(options.assets),
        scenes=options.scenes,
        out=options.out.absolute(),
        films=options.films and can_film(),
    )
    done = run(benchmark)
    print(tables.report_text(done.results, done.notes))
    print(f"\n{benchmark.out}: index.html, table.csv, table.json; a folder for each task")
    return 0


def _task_names(texts: list[str]) -> dict[str, str]:
    """Return what bundles call the tasks, by the name of the task, of `TASK=NAME` each."""
    names = {}
    for text in texts:
        task, equals, name = text.partition("=")
        if not equals or not name:
            raise BenchmarkError(
                f"--task-name {text!r} is not TASK=NAME, such as carrot='stir'"
            )
        parse_tasks([task])
        names[task] = name
    return names


def _collect(options: argparse.Namespace, tasks: list[BenchmarkTask]) -> int:
    if not 0 <= options.noise <= 1:
        raise BenchmarkError(f"--noise must be in [0, 1]; found {options.noise:g}")
    from .collect import CollectSettings, collect
    from .scenes import TURNS

    if not options.tasks:
        tasks = [task for task in tasks if task.name in TURNS]
    found = [each for each in _ready(options, tasks) if not each.missing]
    settings = CollectSettings(
        options.episodes_per_task, options.seed, options.noise, options.image_size
    )
    failures = collect(found, assets_folder(options.assets), settings, options.out)
    kept = len(found) * settings.per_task
    print(
        f"{options.out}: {kept} episodes of {len(found)} tasks; "
        f"{failures.total()} failed attempts were left out"
    )
    return 0
