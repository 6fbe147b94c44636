"""`ptr study`: methods and ablations side by side, each by the same commands.

A plan (a YAML file, or the name of one in config/studies) lists rows; see
`plan.Row`. Every row runs `ptr pretrain`, `finetune`, `select`, `bundle` and `evaluate`,
or some of them, in a folder with a log. Rows that begin from the same pre-training share it.
Finished rows are not repeated, so that a stopped study goes on.

A plan that has a section `data` simulates its own data, anew for each seed, and needs nothing else.

With `--seeds` every row is trained once a seed, in `OUT/seed_K/ROW`, all are evaluated on the same
start scenes, and the table has means and intervals over seeds and scenes (`seeds.py`).
With `--minutes` a study can be carried out in pieces: what runs saves a checkpoint and is stopped.
Only `ptr collect` begins anew.

`{seed}` in `--prior` and `--target` stands for the seed, where each one has data of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ptr_common.arguments import VerbParser, positive_float, positive_int
from ptr_common.arguments import seed as seed_type
from widowx_bringup.evaluation import checkpoint_rates
from widowx_bringup.sim.tasks import parse_task

from . import results, seeds
from .commands import SCENE_SEED, Study
from .pictures import write_strips
from .plan import Row, StudyPlan, load_plan, with_needs
from .results import Outcome
from .running import run_all
from .stores import GIVEN, StudyError

UNFINISHED = 3
"""Status of a study that was stopped by `--minutes`."""


def _parser() -> VerbParser:
    parser = VerbParser("study", main.__doc__)
    parser.add_argument("plan", help="YAML file, or the name of one in config/studies")
    for name, what in zip(GIVEN, ("prior data", "demonstrations"), strict=True):
        parser.add_argument(
            f"--{name}",
            metavar="STORE",
            help=f"episode store of {what}; {{seed}} in it stands for the seed "
            "(default: the plan's own data)",
        )
    parser.add_argument(
        "--task", help="task of the demonstrations (default: that of the plan)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; a stopped study goes on"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ROW",
        help="these rows, and those they build on (default: all)",
    )
    _add_evaluation(parser)
    parser.add_argument("--seed", type=seed_type, default=0, help="seed of the training")
    parser.add_argument(
        "--seeds",
        type=seed_type,
        nargs="+",
        default=[],
        metavar="N",
        help="train every row with several seeds: one number says how many, from --seed on; "
        "several numbers are the seeds (default: those of the plan, or the one of --seed)",
    )
    parser.add_argument(
        "--jobs", type=positive_int, default=1, help="rows that run at the same time"
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=1,
        help="processes that train a row, sharing each batch (torchrun)",
    )
    parser.add_argument(
        "--minutes",
        type=positive_float,
        help="stop after as long, with status 3; the same command goes on "
        "(default: run to the end)",
    )
    return parser


def _add_evaluation(parser: VerbParser) -> None:
    """Add the options of how rows are evaluated."""
    parser.add_argument(
        "--rollouts",
        type=positive_int,
        help="rollouts of each row (default: those of the plan, 50 for most)",
    )
    parser.add_argument(
        "--max-steps",
        type=positive_int,
        help="longest rollout in control steps (default: that of the task, 50 for most)",
    )
    parser.add_argument(
        "--every-checkpoint",
        action="store_true",
        help="also roll out every checkpoint of each row, to judge how it is chosen "
        "(default: the chosen ones only)",
    )


def main(argv: list[str]) -> int:
    """Train and evaluate methods and ablations side by side; one table of all."""
    options = _parser().parse_args(argv)
    plan = load_plan(options.plan)
    rows = with_needs(plan, options.only)
    if not options.seeds and plan.seeds:
        options.seeds = [plan.seeds]
    studies = _studies(options, plan, rows)
    seconds = 60.0 * options.minutes if options.minutes else None
    try:
        with _alone(options.out):
            outcomes = asyncio.run(
                asyncio.wait_for(run_all(studies, rows, options.jobs), seconds)
            )
    except asyncio.TimeoutError:
        print(f"\nstopped after {options.minutes:g} minutes; the same command goes on")
        return UNFINISHED
    text = _write(options, studies, outcomes)
    if plan.caution:
        text += f"\n{plan.caution}"
    if judged := _judged(studies, rows):
        checkpoint_rates.write(options.out, judged)
        text += f"\n\n{checkpoint_rates.table(judged)}"
    written = "study.csv, study.json, study.png"
    if write_strips(options.out / "strips.jpg", studies[0], rows):
        written += ", strips.jpg"
    print(f"\n{text}\n\n{options.out}: {written}; a folder with log for each row")
    return int(any(outcome.problem for each in outcomes for outcome in each))


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep another process from running the same study meanwhile: both would write each row.

    Raises:
        StudyError: If one runs it already.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StudyError(
                f"another process runs the study in {out}; wait for its end, or stop it"
            ) from error
        yield


def _write(
    options: argparse.Namespace,
    studies: Sequence[Study],
    outcomes: Sequence[Sequence[Outcome]],
) -> str:
    """Write the results of a study, and return them as a table."""
    about: dict[str, Any] = {"plan": options.plan, "task": studies[0].task}
    for name in (*GIVEN, "out", "seed"):
        about[name] = str(getattr(options, name))
    about["data"] = studies[0].plan.data
    about["caution"] = studies[0].plan.caution
    about["rollouts"] = str(studies[0].rollouts)
    about["max_steps"] = str(studies[0].max_steps)
    if not options.seeds:
        results.write(options.out, outcomes[0], about)
        return results.table(outcomes[0])
    about["seeds"] = [study.seed for study in studies]
    by_seed = {study.seed: row for study, row in zip(studies, outcomes, strict=True)}
    seeded = seeds.by_row(by_seed)
    seeds.write(options.out, seeded, about)
    return seeds.table(seeded)


def _judged(
    studies: Sequence[Study], rows: Sequence[Row]
) -> list[checkpoint_rates.CheckpointRates]:
    """Return the success of every checkpoint that was rolled out."""
    judged = []
    for study in studies:
        for row in filter(study.judges, rows):
            judged += checkpoint_rates.read(study.checkpoints_of(row))
    return judged


def _studies(
    options: argparse.Namespace, plan: StudyPlan, rows: Sequence[Row]
) -> list[Study]:
    """Return a study for each seed, all with the same start scenes.

    Raises:
        StudyError: If a seed is named twice, or a seed has no data.
    """
    numbers = _seeds(options.seeds, options.seed)
    task = parse_task(options.task or plan.task)
    studies = []
    for seed in numbers:
        study = Study(
            plan=plan,
            given=_given(options, seed),
            task=task.name,
            out=options.out / f"seed_{seed}" if options.seeds else options.out,
            rollouts=options.rollouts or plan.rollouts,
            max_steps=options.max_steps or task.rollout_steps,
            seed=seed,
            scene_seed=numbers[0] + SCENE_SEED,
            every_checkpoint=options.every_checkpoint,
            processes=options.processes,
        )
        for name in study.missing_stores(rows):
            if name not in plan.data:
                raise StudyError(
                    f"{options.plan} has no data of its own; give the store of {name} data: "
                    f"--{name} STORE"
                )
        studies.append(study)
    return studies


def _given(options: argparse.Namespace, seed: int) -> dict[str, Path]:
    """Return the stores that the command line gives, for one seed.

    Raises:
        StudyError: If there is no such folder.
    """
    stores = {}
    for name in GIVEN:
        if not (text := getattr(options, name)):
            continue
        stores[name] = path = Path(text.replace("{seed}", str(seed)))
        if not path.is_dir():
            raise StudyError(
                f"--{name} {path} is no episode store (seed {seed}); {{seed}} in a path stands "
                "for the seed, everything else is taken as it is"
            )
    return stores


def _seeds(named: Sequence[int], start: int) -> list[int]:
    """Return the seeds of a study.

    Args:
        named: Of `--seeds`: none, how many, or the seeds themselves.
        start: Of `--seed`.

    Raises:
        StudyError: If there is none, or one is named twice.
    """
    if not named:
        return [start]
    if len(named) == 1:
        if named[0] < 1:
            raise StudyError(
                f"--seeds {named[0]} is no seed at all; one number says how many, at least 1, "
                "several are the seeds: --seeds 0 1 2"
            )
        return list(range(start, start + named[0]))
    if len(set(named)) < len(named):
        raise StudyError(f"--seeds {' '.join(map(str, named))} names a seed twice")
    return list(named)
