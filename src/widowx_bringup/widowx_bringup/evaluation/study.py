"""`ptr study`: methods and ablations side by side, each by the same commands.

A plan (a YAML file, or the name of one in config/studies) lists rows; see
`study_plan.Row`. Every row runs `ptr pretrain`, `finetune`, `select`, `bundle` and `evaluate`,
or some of them, in a folder with a log. Rows that begin from the same pre-training share it.
Finished rows are not repeated, so that a stopped study goes on.

With `--seeds` every row is trained once a seed, in `OUT/seed_K/ROW`, all are evaluated on the same
start scenes, and the table has means and intervals over seeds and scenes (`study_seeds.py`).
`{seed}` in `--prior` and `--target` stands for the seed, where each one has data of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptr_common.arguments import VerbParser, positive_int
from ptr_common.arguments import seed as seed_type
from ptr_common.files import atomic_file
from widowx_bringup.graph.run_ptr import CommandError, run_commands
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task

from . import study_results, study_seeds
from .ptr_command import ptr_command
from .results import read_results, summarise
from .study_plan import Row, StudyError, StudyPlan, load_plan, with_needs
from .study_results import Outcome

SCENE_SEED = 77
"""Distance of the seed of the scenes from that of the training."""


@dataclass(frozen=True)
class Study:
    """A plan with its data."""

    plan: StudyPlan
    prior: Path
    target: Path
    task: str
    out: Path
    rollouts: int
    max_steps: int  # longest rollout [control steps]
    seed: int
    scene_seed: int = SCENE_SEED  # of the start scenes

    def run_of(self, name: str) -> Path:
        """Return the run folder of a row that others build on."""
        row = self.plan.rows[name]
        if row.deploys:
            return self.run_of(row.deploys)
        stage = row.stages[-1]
        owner = row.pretrained if row.pretrained and stage == "pretrain" else name
        return self.out / owner / stage

    def commands(self, row: Row) -> list[list[str]]:
        """Return the commands of a row, in order."""
        folder = self.out / row.name
        commands = [] if row.deploys else self._train(row)
        if row.evaluate:
            bundle = ptr_command(
                "bundle",
                self.run_of(row.name),
                act=row.act or None,
                draw_gripper=row.draw_gripper,
                out=folder / "bundle",
                overwrite=True,
            )
            commands += [bundle, self._evaluate(row)]
        return commands

    def _train(self, row: Row) -> list[list[str]]:
        """Return the commands that train a row and choose its checkpoint."""
        commands = []
        if "pretrain" in row.stages and not row.pretrained:
            commands.append(self._pretrain(row))
        if "finetune" in row.stages:
            commands.append(self._finetune(row))
            commands.append(ptr_command("select", self.out / row.name / "finetune"))
        return commands

    def _pretrain(self, row: Row) -> list[str]:
        return ptr_command(
            "pretrain",
            config=row.preset,
            base=self._bases(row),
            seed=self.seed,
            data=self.prior,
            target_task=self.task,
            out=self.out / row.name / "pretrain",
            resume=True,
            set=self._settings(row),
        )

    def _finetune(self, row: Row) -> list[str]:
        is_pretrained = "pretrain" in row.stages
        origin = self.out / (row.pretrained or row.name) / "pretrain"
        return ptr_command(
            "finetune",
            config=None if is_pretrained else row.preset,
            base=[] if is_pretrained else self._bases(row),
            seed=None if is_pretrained else self.seed,
            from_=origin if is_pretrained else None,
            target=self.target,
            prior=self.prior if row.prior else None,
            retarget=f"{self.task}={row.retarget}" if row.retarget else None,
            out=self.out / row.name / "finetune",
            resume=True,
            set=self._settings(row),
        )

    def _settings(self, row: Row) -> list[str]:
        """Return the settings of a row, with the run folders of other rows filled in."""
        runs = {name: self.run_of(name) for name in row.needs}
        return [setting.format_map(runs) for setting in row.settings]

    def _bases(self, row: Row) -> list[str]:
        """Return the presets that take the place of bases of a row's preset."""
        # Deferred: it imports PyTorch.
        from ptr_training.training.config import preset_chain

        bases = []
        for name in preset_chain(row.preset):
            if name in self.plan.bases:
                bases.append(f"{name}={self.plan.bases[name]}")
        return bases

    def _evaluate(self, row: Row) -> list[str]:
        folder = self.out / row.name
        return ptr_command(
            "evaluate",
            in_process=True,
            policy=f"{row.name}={folder / 'bundle'}",
            task=self.task,
            rollouts=self.rollouts,
            max_steps=self.max_steps,
            seed=self.scene_seed,
            out=folder / "evaluation",
        )


async def run_all(
    studies: Sequence[Study], rows: Sequence[Row], jobs: int
) -> list[list[Outcome]]:
    """Carry the rows of several studies out, and return their outcomes by study.

    Args:
        studies: The studies, for example of several seeds.
        rows: Rows, each after those it needs.
        jobs: Number of rows that run at the same time.
    """
    free = asyncio.Semaphore(jobs)
    return list(await asyncio.gather(*(run(study, rows, free) for study in studies)))


async def run(study: Study, rows: Sequence[Row], free: asyncio.Semaphore) -> list[Outcome]:
    """Carry rows out; a failed row fails those that build on it, and no others.

    Args:
        study: The study.
        rows: Rows, each after those it needs.
        free: Lets as many rows run at the same time as it counts.
    """
    tasks: dict[str, asyncio.Task[Outcome]] = {}
    try:
        for row in rows:
            tasks[row.name] = asyncio.create_task(_run_after(study, row, tasks, free))
        return list(await asyncio.gather(*tasks.values()))
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _run_after(
    study: Study,
    row: Row,
    tasks: Mapping[str, asyncio.Task[Outcome]],
    free: asyncio.Semaphore,
) -> Outcome:
    """Carry a row out once the rows that it builds on have ended."""
    failed = []
    for name in row.needs:
        outcome = await tasks[name]
        if outcome.problem:
            failed.append(outcome.name)
    if failed:
        problem = f"builds on {', '.join(failed)}, which failed"
        return Outcome(row.name, row.title, row.source, 0.0, problem, None, None)
    async with free:
        return await _run_row(study, row)


async def _run_row(study: Study, row: Row) -> Outcome:
    """Run the commands of a row unless it is finished, and return its outcome."""
    folder = study.out / row.name
    problem = ""
    done = folder / "minutes.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        started = time.monotonic()
        try:
            await run_commands(study.commands(row), log, append=True)
        except CommandError:
            problem = _last_line(log)
        else:
            with atomic_file(done) as path:
                path.write_text(json.dumps((time.monotonic() - started) / 60.0))
    minutes = json.loads(done.read_text()) if done.is_file() else 0.0
    choice = folder / "finetune" / "select" / "choice.json"
    step = json.loads(choice.read_text())["step"] if choice.is_file() else None
    summary = None
    solved: tuple[bool, ...] = ()
    if not problem and row.evaluate:
        rollouts = read_results(folder / "evaluation")
        summary = summarise(rollouts)[0]
        counted = [rollout for rollout in rollouts if not rollout.aborted]
        in_order = sorted(counted, key=lambda rollout: rollout.rollout)
        solved = tuple(rollout.success for rollout in in_order)
    result = problem or f"done in {minutes:.1f} minutes"
    print(f"  {row.name}, seed {study.seed}: {result}", flush=True)
    return Outcome(row.name, row.title, row.source, minutes, problem, step, summary, solved)


def _last_line(log: Path) -> str:
    """Return the last line of a log that is not blank; progress bars separate lines by \\r."""
    for line in reversed(re.split(r"[\r\n]+", log.read_text(errors="replace"))):
        if line.strip():
            return line
    return "failed without a message"


def _parser() -> VerbParser:
    parser = VerbParser("study", main.__doc__)
    parser.add_argument("plan", help="YAML file, or the name of one in config/studies")
    parser.add_argument(
        "--prior",
        required=True,
        help="episode store of prior data; {seed} in it stands for the seed",
    )
    parser.add_argument(
        "--target",
        required=True,
        help="episode store of demonstrations; {seed} in it stands for the seed",
    )
    parser.add_argument("--task", default=TARGET_TASK, help="task of the demonstrations")
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
    parser.add_argument(
        "--rollouts", type=positive_int, default=50, help="rollouts of each row"
    )
    parser.add_argument(
        "--max-steps",
        type=positive_int,
        default=50,
        help="longest rollout in control steps",
    )
    parser.add_argument("--seed", type=seed_type, default=0, help="seed of the training")
    parser.add_argument(
        "--seeds",
        type=seed_type,
        nargs="+",
        default=[],
        metavar="N",
        help="train every row with several seeds: one number says how many, from --seed on; "
        "several numbers are the seeds (default: the one of --seed)",
    )
    parser.add_argument(
        "--jobs", type=positive_int, default=1, help="rows that run at the same time"
    )
    return parser


def main(argv: list[str]) -> int:
    """Train and evaluate methods and ablations side by side; one table of all."""
    options = _parser().parse_args(argv)
    rows = with_needs(load_plan(options.plan), options.only)
    studies = _studies(options)
    outcomes = asyncio.run(run_all(studies, rows, options.jobs))
    about: dict[str, Any] = {"plan": options.plan, "task": studies[0].task}
    for name in ("prior", "target", "out", "rollouts", "max_steps", "seed"):
        about[name] = str(getattr(options, name))
    if options.seeds:
        about["seeds"] = [study.seed for study in studies]
        by_seed = {study.seed: row for study, row in zip(studies, outcomes, strict=True)}
        seeded = study_seeds.by_row(by_seed)
        study_seeds.write(options.out, seeded, about)
        text = study_seeds.table(seeded)
    else:
        study_results.write(options.out, outcomes[0], about)
        text = study_results.table(outcomes[0])
    print(
        f"\n{text}\n\n"
        f"{options.out}: study.csv, study.json, study.png; a folder with log for each row"
    )
    return int(any(outcome.problem for each in outcomes for outcome in each))


def _studies(options: argparse.Namespace) -> list[Study]:
    """Return a study for each seed, all with the same start scenes.

    Raises:
        StudyError: If a seed is named twice, or a seed has no data.
    """
    seeds = _seeds(options.seeds, options.seed)
    first = Study(
        plan=load_plan(options.plan),
        prior=Path(options.prior),
        target=Path(options.target),
        task=parse_task(options.task).name,
        out=options.out,
        rollouts=options.rollouts,
        max_steps=options.max_steps,
        seed=seeds[0],
        scene_seed=seeds[0] + SCENE_SEED,
    )
    studies = []
    for seed in seeds:
        out = options.out / f"seed_{seed}" if options.seeds else options.out
        study = replace(
            first,
            prior=_store("prior", options.prior, seed),
            target=_store("target", options.target, seed),
            seed=seed,
            out=out,
        )
        studies.append(study)
    return studies


def _store(option: str, text: str, seed: int) -> Path:
    """Return the folder of an episode store.

    Args:
        option: Name of the option that gives it.
        text: Its path; {seed} in it stands for the seed.
        seed: The seed.

    Raises:
        StudyError: If there is no such folder.
    """
    path = Path(text.replace("{seed}", str(seed)))
    if not path.is_dir():
        raise StudyError(
            f"--{option} {path} is no episode store (seed {seed}); {{seed}} in a path stands for "
            "the seed, everything else is taken as it is"
        )
    return path


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
