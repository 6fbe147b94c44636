"""Solve the task with every checkpoint of fine-tuning runs, and compare what each rule takes.

The rules of `ptr select` see held-out demonstrations only. Here every checkpoint of every run is
also rolled out, from the same scenes, and the table says by how much each choice falls short of
the best checkpoint. The largest of several noisy rates is too large, so the best is also
cross-validated: found on half of the scenes and counted on the others. What is on disk is kept.

    python bench/compare_selection.py runs/a/finetune runs/b/finetune --out runs/selection
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ptr_common.arguments import positive_int
from ptr_training.deploy.bundle_export import acting_by, export
from ptr_training.deploy.checkpoint_selection import select
from ptr_training.training.checkpoint import list_checkpoints, load_checkpoint
from widowx_bringup.evaluation.evaluate import EvaluationPlan, evaluate
from widowx_bringup.evaluation.runners import Method
from widowx_bringup.sim.tasks import TARGET_TASK


def solved(
    run: Path, plan: EvaluationPlan, out: Path, acting: dict[str, str]
) -> np.ndarray:
    """Return which scenes each checkpoint but the untrained one solves, (checkpoints, scenes)."""
    methods = []
    for step, path in list_checkpoints(run).items():
        bundle = out / "bundles" / f"step_{step}"
        if step == 0:
            continue
        if not bundle.exists():
            checkpoint = acting_by(load_checkpoint(path), **acting)
            export(checkpoint, path, bundle, "torchscript")
        methods.append(Method(f"step_{step}", bundle))
    rows: dict[str, list[bool]] = {method.name: [] for method in methods}
    for rollout in evaluate(methods, plan, out, {}):
        rows[rollout.method].append(rollout.success)
    return np.array(list(rows.values()))


def compare(
    run: Path, plan: EvaluationPlan, out: Path, acting: dict[str, str]
) -> dict[str, float]:
    """Return the success [%] of the best checkpoint and of each rule's choice."""
    successes = solved(run, plan, out, acting)
    rates = 100 * successes.mean(axis=1)
    steps = [step for step in list_checkpoints(run) if step]
    halves = 100 * np.stack(
        [successes[:, ::2].mean(axis=1), successes[:, 1::2].mean(axis=1)]
    )
    crossed = (halves[1, halves[0].argmax()] + halves[0, halves[1].argmax()]) / 2
    result = {"best": float(rates.max()), "best, cross-validated": float(crossed)}
    for rule, score in select(run).choices.items():
        result[rule] = float(rates[steps.index(score.step)])
    result["last"] = float(rates[-1])
    result["mean of all"] = float(rates.mean())
    print(run, dict(zip(steps, rates.tolist(), strict=True)), result, flush=True)
    return result


def main() -> None:
    """Compare the choices over all runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rollouts", type=positive_int, default=50)
    parser.add_argument("--seed", type=int, default=555)
    parser.add_argument("--acting", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    acting = dict(pair.split("=", 1) for pair in options.acting)
    plan = EvaluationPlan(TARGET_TASK, options.rollouts, options.seed, 50, False)
    table = {}
    for run in options.runs:
        folder = options.out / str(run).strip("/").replace("/", "-")
        table[str(run)] = compare(run, plan, folder, acting)
    columns = list(next(iter(table.values())))
    print("\n" + " | ".join(["run", *columns]))
    for name, row in table.items():
        print(" | ".join([name, *(f"{row[column]:.0f}" for column in columns)]))
    for column in columns[1:]:
        short = np.array([row["best"] - row[column] for row in table.values()])
        print(
            f"{column}: {short.mean():.1f} points below the best on average, "
            f"{np.median(short):.1f} in the median"
        )
    (options.out / "selection.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
