"""`ptr study`: methods and ablations side by side, each trained, selected, bundled and evaluated by the same commands.

A plan (a YAML file, or the name of one in config/studies) lists rows; see `Row`. Every row
runs `ptr pretrain`, `finetune`, `select`, `bundle` and `evaluate`, or some of them, in its
own folder, with a log. Rows that begin from the same pre-training share it. What is
finished is not repeated, so that a stopped study goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import difflib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from widowx_bringup.graph.environment import config_folder
from widowx_bringup.graph.run_ptr import CommandError, run_commands
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task

from .results import Summary, read_results, summarise

STAGES = ("pretrain", "finetune")


class StudyError(PtrError):
    """A plan cannot be carried out."""


@dataclass(frozen=True)
class Row:
    """One method or ablation.

    In `settings`, `{name}` stands for the run of another row, which is then trained first:
    its fine-tuning, or its pre-training if it has no other stage.
    """

    name: str
    title: str
    preset: str
    source: str = ""  # where the paper has it
    stages: tuple[str, ...] = (
        STAGES  # only pretrain: zero-shot; only finetune: from scratch
    )
    pretrained: str = ""  # row whose pre-training this one begins from
    prior: bool = True  # fine-tuning mixes prior data in
    retarget: str = ""  # known task whose id the target takes
    settings: tuple[str, ...] = ()  # KEY=VALUE, in both stages
    evaluate: bool = True

    @property
    def needs(self) -> set[str]:
        """Rows that come first."""
        named = {name for text in self.settings for name in re.findall(r"\{(\w+)\}", text)}
        return named | ({self.pretrained} if self.pretrained else set())


@dataclass(frozen=True)
class Plan:
    """What a study consists of."""

    rows: dict[str, Row]
    bases: dict[str, str] = field(
        default_factory=dict
    )  # presets taken in place of others, see `ptr pretrain --base`


@dataclass(frozen=True)
class Study:
    """A plan with its data."""

    plan: Plan
    prior: Path
    target: Path
    task: str
    out: Path
    rollouts: int
    max_steps: int
    seed: int

    def run_of(self, name: str) -> Path:
        """Return the run folder of a row that others build on."""
        row = self.plan.rows[name]
        stage = row.stages[-1]
        return (
            self.out
            / (row.pretrained if row.pretrained and stage == "pretrain" else name)
            / stage
        )

    def commands(self, row: Row) -> list[list[str]]:
        """Return what a row runs, in order."""
        folder, commands = self.out / row.name, []
        changes = [
            text.format_map({name: self.run_of(name) for name in row.needs})
            for text in row.settings
        ]
        settings = [part for text in changes for part in ("--set", text)]
        fresh = ["--config", row.preset, *self._bases(row), "--seed", str(self.seed)]
        if "pretrain" in row.stages and not row.pretrained:
            data = ["--data", str(self.prior), "--target-task", self.task]
            commands.append(
                [
                    "pretrain",
                    *fresh,
                    *data,
                    "--out",
                    str(folder / "pretrain"),
                    "--resume",
                    *settings,
                ]
            )
        if "finetune" in row.stages:
            begun = ["--from", str(self.out / (row.pretrained or row.name) / "pretrain")]
            origin = begun if "pretrain" in row.stages else fresh
            data = [
                "--target",
                str(self.target),
                *(["--prior", str(self.prior)] if row.prior else []),
            ]
            retarget = ["--retarget", f"{self.task}={row.retarget}"] if row.retarget else []
            where = ["--out", str(folder / "finetune"), "--resume"]
            commands.append(["finetune", *origin, *data, *retarget, *where, *settings])
            commands.append(["select", str(folder / "finetune")])
        if row.evaluate:
            commands.append(
                [
                    "bundle",
                    str(self.run_of(row.name)),
                    "--out",
                    str(folder / "bundle"),
                    "--overwrite",
                ]
            )
            commands.append(self._evaluation(row))
        return commands

    def _bases(self, row: Row) -> list[str]:
        from ptr_training.training.config import preset_chain

        used = [name for name in preset_chain(row.preset) if name in self.plan.bases]
        return [
            part for name in used for part in ("--base", f"{name}={self.plan.bases[name]}")
        ]

    def _evaluation(self, row: Row) -> list[str]:
        folder = self.out / row.name
        layouts = [
            "--rollouts",
            str(self.rollouts),
            "--max-steps",
            str(self.max_steps),
            "--seed",
            str(self.seed + 77),
        ]
        policy = ["--policy", f"{row.name}={folder / 'bundle'}", "--task", self.task]
        return [
            "evaluate",
            "--in-process",
            *policy,
            *layouts,
            "--out",
            str(folder / "evaluation"),
        ]


@dataclass(frozen=True)
class Outcome:
    """What became of a row."""

    name: str
    title: str
    source: str
    minutes: float  # training, selection and evaluation, beside other rows
    problem: str  # why it failed; empty if it did not
    step: int | None  # of the checkpoint deployed
    summary: Summary | None  # None for a row that is not evaluated


def load_plan(where: str) -> Plan:
    """Read a plan: a YAML file, or the name of one in config/studies.

    Raises:
        StudyError: If there is none, or it is not a plan.
    """
    folder = config_folder() / "studies"
    path = Path(where) if Path(where).is_file() else folder / f"{where}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in folder.glob("*.yaml")))
        raise StudyError(
            f"no plan {where!r}; give a YAML file or the name of one in config/studies: {there}"
        )
    values = yaml.safe_load(path.read_text())
    if not isinstance(values, dict) or not isinstance(values.get("rows"), dict):
        raise StudyError(f"{path} is no plan: it needs a section `rows`")
    parent = load_plan(values["like"]) if values.get("like") else Plan({})
    rows = dict(parent.rows)
    for name, changes in values["rows"].items():
        old = (
            {key: value for key, value in asdict(rows[name]).items() if key != "name"}
            if name in rows
            else {}
        )
        rows[name] = _row(path, name, {**old, **(changes or {})})
    plan = Plan(rows, {**parent.bases, **values.get("bases", {})})
    for row in rows.values():
        if unknown := row.needs - set(rows):
            raise StudyError(
                f"{path}: row {row.name} builds on {', '.join(unknown)}, which is no row"
            )
    return plan


def _row(path: Path, name: str, values: Mapping[str, Any]) -> Row:
    known = {each.name for each in fields(Row)} - {"name"}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1) or sorted(known)
            raise StudyError(
                f"{path}: row {name} has an unknown key {key!r}; did you mean {', '.join(near)}?"
            )
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values.items()
    }
    try:
        row = Row(name, **arguments)
    except TypeError as error:
        raise StudyError(
            f"{path}: row {name} needs a title and a preset ({error})"
        ) from error
    if not row.stages or set(row.stages) - set(STAGES):
        raise StudyError(
            f"{path}: row {name} has stages {list(row.stages)}; allowed are {', '.join(STAGES)}"
        )
    return row


def with_needs(plan: Plan, names: Sequence[str]) -> list[Row]:
    """Return the rows of these names and all they build on, each after what it needs.

    Raises:
        StudyError: For a name that is no row.
    """
    ordered: dict[str, Row] = {}

    def add(name: str) -> None:
        if name not in plan.rows:
            raise StudyError(f"there is no row {name!r}; rows are {', '.join(plan.rows)}")
        if name not in ordered:
            for other in sorted(plan.rows[name].needs):
                add(other)
            ordered[name] = plan.rows[name]

    for name in names or plan.rows:
        add(name)
    return list(ordered.values())


async def run(study: Study, rows: Sequence[Row], jobs: int) -> list[Outcome]:
    """Carry rows out, some at a time; one that fails takes those with it that build on it, and no others."""
    free = asyncio.Semaphore(jobs)
    tasks: dict[str, asyncio.Task[Outcome]] = {}

    async def carry_out(row: Row) -> Outcome:
        before = [await tasks[name] for name in row.needs]
        if failed := [each.name for each in before if each.problem]:
            return Outcome(
                row.name,
                row.title,
                row.source,
                0.0,
                f"builds on {', '.join(failed)}, which failed",
                None,
                None,
            )
        async with free:
            return await _carry_out(study, row)

    try:
        for row in rows:
            tasks[row.name] = asyncio.create_task(carry_out(row))
        return list(await asyncio.gather(*tasks.values()))
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _carry_out(study: Study, row: Row) -> Outcome:
    folder, problem = study.out / row.name, ""
    done = folder / "minutes.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        log, started = folder / "log.txt", time.monotonic()
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
    summaries = (
        summarise(read_results(folder / "evaluation"))
        if not problem and row.evaluate
        else [None]
    )
    print(f"  {row.name}: {problem or f'done in {minutes:.1f} minutes'}", flush=True)
    return Outcome(row.name, row.title, row.source, minutes, problem, step, summaries[0])


def _last_line(log: Path) -> str:
    lines = [
        line
        for line in re.split(r"[\r\n]+", log.read_text(errors="replace"))
        if line.strip()
    ]
    return lines[-1] if lines else "failed without a word"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the results for a terminal."""
    width = max(len(each.title) for each in outcomes)
    lines = [f"{'method':<{width}}  success  rate   95 % (Wilson)    step  minutes  paper"]
    for each in outcomes:
        s = each.summary
        result = f"{'–':>7}  {'':>4}  {'':>13}"
        if s:
            result = f"{s.successes:>3}/{s.rollouts:<3}  {s.rate:>4.0%}   {s.low:>4.0%} … {s.high:>4.0%}"
        step = "–" if each.step is None else each.step
        lines.append(
            f"{each.title:<{width}}  {result:<28}  {step:>6}  {each.minutes:>7.1f}  {each.source}"
        )
        if each.problem:
            lines.append(f"{'':<{width}}  failed: {each.problem}")
    return "\n".join(line.rstrip() for line in lines)


def write(out: Path, outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> None:
    """Write `study.json`, `study.csv` and `study.png`."""
    with atomic_file(out / "study.json") as path:
        path.write_text(
            json.dumps(
                {"about": about, "rows": [asdict(each) for each in outcomes]}, indent=1
            )
            + "\n"
        )
    with atomic_file(out / "study.csv") as path, path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ("name", "title", "source", "minutes", "step", "problem")
        writer.writerow([*names, "successes", "rollouts", "rate", "low", "high"])
        for each in outcomes:
            s = each.summary
            counts = [s.successes, s.rollouts, s.rate, s.low, s.high] if s else [""] * 5
            writer.writerow([*(getattr(each, name) for name in names), *counts])
    _plot(out / "study.png", [each for each in outcomes if each.summary])


def _plot(path: Path, outcomes: Sequence[Outcome]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 0.6 + 0.28 * max(1, len(outcomes))), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(outcomes):
        s = each.summary
        assert s is not None
        axes.barh(
            place, s.rate, color="tab:blue" if each.name == "ptr" else "0.7", height=0.7
        )
        axes.plot([s.low, s.high], [place, place], color="black", lw=1.2)
        axes.text(1.02, place, f"{s.successes}/{s.rollouts}", va="center", fontsize=8)
    axes.set_yticks(range(len(outcomes)), [each.title for each in outcomes], fontsize=8)
    axes.set(xlim=(0, 1), xlabel="success rate, 95 % Wilson interval")
    axes.invert_yaxis()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(argv: list[str]) -> int:
    """Train and evaluate methods and ablations side by side; one table of all."""
    parser = argparse.ArgumentParser(prog="ptr study", description=main.__doc__)
    parser.add_argument("plan", help="YAML file, or the name of one in config/studies")
    parser.add_argument("--prior", type=Path, required=True, help="episode store")
    parser.add_argument(
        "--target", type=Path, required=True, help="episode store of demonstrations"
    )
    parser.add_argument(
        "--task", default=TARGET_TASK, help="what they show (default: %(default)r)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder; a stopped study goes on"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ROW",
        help="these rows, and what they build on",
    )
    parser.add_argument(
        "--rollouts", type=int, default=50, help="of each (default: %(default)s)"
    )
    parser.add_argument(
        "--max-steps", type=int, default=50, help="longest rollout in control steps"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--jobs", type=int, default=1, help="rows at a time (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    plan = load_plan(options.plan)
    task = parse_task(options.task).name
    names = ("prior", "target", "out", "rollouts", "max_steps", "seed")
    study = Study(plan=plan, task=task, **{name: getattr(options, name) for name in names})
    outcomes = asyncio.run(run(study, with_needs(plan, options.only), max(1, options.jobs)))
    about = {
        "plan": options.plan,
        "task": task,
        **{name: str(getattr(options, name)) for name in names},
    }
    write(study.out, outcomes, about)
    print(
        f"\n{table(outcomes)}\n\n{study.out}: study.csv, study.json, study.png; a folder with log for each row"
    )
    return int(any(each.problem for each in outcomes))
