"""Success of every checkpoint of a fine-tuning run, beside what the rules of `ptr select` take.

The rules see held-out demonstrations only. Here each checkpoint is rolled out as well, all from
the same scenes, to judge the rules: nothing is chosen by it. The largest of several noisy rates
is too large, so the best checkpoint is also cross-validated: found on half of the scenes, counted
on the others.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptr_common.documents import read_json
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.text_table import text_table

from .results import Rollout, by_method
from .runners import Method

if TYPE_CHECKING:
    from ptr_training.deploy.selection_rules import Selection

BEST, CROSSED, LAST, MEAN = "best", "best, cross-validated", "last", "mean of all"


class CheckpointError(PtrError):
    """A run has no checkpoints to roll out."""


@dataclass(frozen=True)
class CheckpointRates:
    """Every checkpoint of one run, but the untrained one.

    Attributes:
        run: Run folder.
        steps: Of the checkpoints.
        spearman: Their mean rank correlations of time and Q on held-out demonstrations; NaN
            without a critic.
        rates: Their shares of solved scenes.
        choices: Share of the checkpoint that each rule takes; also of the best one and others.
    """

    run: Path
    steps: tuple[int, ...]
    spearman: tuple[float, ...]
    rates: tuple[float, ...]
    choices: Mapping[str, float]


def checkpoint_methods(run: Path, out: Path) -> list[Method]:
    """Return a policy for every checkpoint of a run but the untrained one.

    Args:
        run: Run folder of `ptr finetune`.
        out: Folder of the bundles; those that are there already are used.

    Raises:
        CheckpointError: If there is no trained checkpoint.
    """
    from ptr_training.deploy.bundle_export import export
    from ptr_training.training.checkpoint import list_checkpoints, load_checkpoint

    methods = []
    for step, path in list_checkpoints(run).items():
        if step == 0:
            continue
        bundle = out / f"step_{step}"
        if not bundle.exists():
            export(load_checkpoint(path), path, bundle, "torchscript")
        methods.append(Method(bundle.name, bundle))
    if not methods:
        raise CheckpointError(f"{run} has no trained checkpoint; `ptr finetune` makes them")
    return methods


def judge(run: Path, rollouts: Sequence[Rollout]) -> CheckpointRates:
    """Return the success of a run's checkpoints and of what each rule takes.

    Args:
        run: Run folder of `ptr finetune`.
        rollouts: Of all its checkpoints, on the same scenes; see `checkpoint_methods`.
    """
    from ptr_training.deploy.checkpoint_selection import select

    solved = {}
    for name, rows in by_method(rollouts).items():
        counted = sorted(
            (row for row in rows if not row.aborted), key=lambda row: row.rollout
        )
        solved[int(name.removeprefix("step_"))] = [row.success for row in counted]
    return rates_of(run, solved, select(run))


def rates_of(
    run: Path, solved: Mapping[int, Sequence[bool]], selection: Selection
) -> CheckpointRates:
    """Return the success of a run's checkpoints and of what each rule takes.

    Args:
        run: Run folder of `ptr finetune`.
        solved: Which scenes each checkpoint has solved, by its step, in the scenes' order.
        selection: What the rules take.
    """
    steps = sorted(solved)
    scenes = np.array([solved[step] for step in steps], float)  # (checkpoints, scenes)
    rates = scenes.mean(axis=1)
    choices = {BEST: float(rates.max())}
    if scenes.shape[1] > 1:
        halves = scenes[:, ::2].mean(axis=1), scenes[:, 1::2].mean(axis=1)
        crossed = halves[1][halves[0].argmax()] + halves[0][halves[1].argmax()]
        choices[CROSSED] = float(crossed / 2)
    for rule, score in selection.choices.items():
        choices[rule] = float(rates[steps.index(score.step)])
    choices[LAST] = float(rates[-1])
    choices[MEAN] = float(rates.mean())
    by_step = {score.step: score.spearman for score in selection.scores}
    spearman = tuple(by_step[step] for step in steps)
    return CheckpointRates(run, tuple(steps), spearman, tuple(rates.tolist()), choices)


def table(runs: Sequence[CheckpointRates]) -> str:
    """Return the success of each choice by run, and how far it falls short of the best."""
    columns = [name for name in runs[0].choices if _in_all(name, runs)]
    lines: list[tuple[object, ...]] = []
    for run in runs:
        lines.append((run.run, *(f"{run.choices[name]:.0%}" for name in columns)))
    for title, reduce in (("mean shortfall", np.mean), ("median shortfall", np.median)):
        cells = [f"{reduce(_shortfalls(name, runs)):.1f}" for name in columns]
        lines.append((title, *cells))
    return text_table(("run", *columns), lines, align="l" + "r" * len(columns))


def _in_all(name: str, runs: Sequence[CheckpointRates]) -> bool:
    return all(name in run.choices for run in runs)


def _shortfalls(name: str, runs: Sequence[CheckpointRates]) -> list[float]:
    """Return by how many points a choice falls short of the best checkpoint, by run."""
    return [100 * (run.choices[BEST] - run.choices[name]) for run in runs]


def read(out: Path) -> list[CheckpointRates]:
    """Return what `write` has written to a folder; nothing if there is none."""
    if not (out / "checkpoints.json").is_file():
        return []
    content = read_json(out / "checkpoints.json", CheckpointError)
    by_run: dict[str, list[dict[str, str]]] = {name: [] for name in content}
    with (out / "checkpoints.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            by_run[row["run"]].append(row)
    runs = []
    for name, rows in by_run.items():
        steps = tuple(int(row["step"]) for row in rows)
        spearman = tuple(float(row["spearman"]) for row in rows)
        rates = tuple(float(row["rate"]) for row in rows)
        runs.append(CheckpointRates(Path(name), steps, spearman, rates, content[name]))
    return runs


def write(out: Path, runs: Sequence[CheckpointRates]) -> None:
    """Write `checkpoints.csv` (a line for each), `checkpoints.json` and `checkpoints.png`."""
    with atomic_file(out / "checkpoints.csv") as path, path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["run", "step", "spearman", "rate"])
        for run in runs:
            for row in zip(run.steps, run.spearman, run.rates, strict=True):
                writer.writerow([str(run.run), *row])
    content = {str(run.run): dict(run.choices) for run in runs}
    with atomic_file(out / "checkpoints.json") as path:
        path.write_text(json.dumps(content, indent=1) + "\n")
    _draw(out / "checkpoints.png", runs)


def _draw(path: Path, runs: Sequence[CheckpointRates]) -> None:
    """Draw the success of each checkpoint over its trend of Q, a line for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        axes.plot(run.spearman, run.rates, "o-", lw=0.5, ms=4, alpha=0.8)
    axes.set(
        xlabel="trend of Q on held-out demonstrations (Spearman)",
        ylabel="success",
        ylim=(-0.02, 1.02),
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
