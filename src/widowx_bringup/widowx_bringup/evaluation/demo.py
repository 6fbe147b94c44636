"""`ptr demo`: the whole loop on a simulated arm, one command after the other, each one shown and timed."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.versions import versions
from widowx_bringup.graph.run_ptr import run_commands

RECORD = "demo.json"
CAMERA = {
    "width": 320,
    "height": 240,
    "camera_rate": 15.0,
}  # smaller than a real one, so that two cores suffice


class DemoError(PtrError):
    """The demonstration cannot be run as asked."""


@dataclass(frozen=True)
class Plan:
    """How much of everything a demonstration does."""

    episodes_per_task: int
    demonstrations: int  # for training; held-out ones come on top
    held_out: int
    clone_steps: int  # behaviour cloning, the warm start of PTR
    pretrain_steps: int  # on prior data, clone_steps included
    finetune_steps: int
    checkpoints: int  # of the fine-tuning, to choose from
    rollouts: int  # per method
    max_steps: int  # of a rollout
    real_time_factor: float


PLANS = {
    "full": Plan(50, 10, 4, 2200, 2600, 400, 8, 20, 50, 2.5),
    "smoke": Plan(2, 2, 2, 10, 20, 10, 2, 1, 15, 2.5),
}

METHODS = ("ptr", "bc", "target-only")


@dataclass
class Stage:
    """Commands of one step of the loop: chains run at the same time, the commands of a chain in order.

    What is in `discard` is removed before the stage starts, for the case that an earlier
    run was interrupted in it.
    """

    name: str
    chains: list[list[list[str]]]
    discard: list[str] = field(default_factory=list)
    seconds: float = 0.0
    done: bool = False


@dataclass
class Demo:
    """A demonstration run: its plan, its stages and where it writes."""

    out: Path
    preset: str
    task: str
    seed: int
    plan: Plan
    versions: dict[str, str] = field(default_factory=versions)
    stages: list[Stage] = field(default_factory=list)

    def save(self) -> None:
        """Write the record of the run, from which the report is made and an interrupted run resumes."""
        record = asdict(self) | {"out": str(self.out)}
        with atomic_file(self.out / RECORD) as path:
            path.write_text(json.dumps(record, indent=2) + "\n")


def build_stages(out: Path, task: str, seed: int, plan: Plan) -> list[Stage]:
    """Return the loop as commands of `ptr`."""
    prior, bags, target = str(out / "prior"), str(out / "bags"), str(out / "target")
    factor = ["--real-time-factor", str(plan.real_time_factor)]
    collect = [
        "collect",
        "--episodes-per-task",
        str(plan.episodes_per_task),
        "--seed",
        str(seed),
        "--out",
        prior,
    ]
    episodes = ["--episodes", str(plan.demonstrations + plan.held_out)]
    record = [
        "record",
        "--task",
        task,
        *episodes,
        "--seed",
        str(seed),
        *factor,
        "--out",
        bags,
    ]
    camera = [f"{name}:={value}" for name, value in CAMERA.items()]
    evaluate = [
        "evaluate",
        "--task",
        task,
        "--rollouts",
        str(plan.rollouts),
        "--max-steps",
        str(plan.max_steps),
    ]
    for method in METHODS:
        evaluate += ["--policy", f"{method}={out / method / 'bundle'}"]
    evaluate += [
        "--seed",
        str(seed),
        *factor,
        "--out",
        str(out / "evaluation"),
        f"camera_rate:={CAMERA['camera_rate']}",
    ]
    bundles = [str(out / method / "bundle") for method in METHODS]
    return [
        Stage("collect prior data", [[collect]]),
        Stage("record demonstrations", [[[*record, *camera]]], discard=[bags]),
        Stage("export", [[["export", bags, "--command", "requested", "--out", target]]]),
        Stage("train, select, bundle", _training(out, task, seed, plan), discard=bundles),
        Stage("evaluate", [[evaluate]]),
    ]


def _training(out: Path, task: str, seed: int, plan: Plan) -> list[list[list[str]]]:
    """Return one chain per method; on two cores the three share them."""
    prior, target = str(out / "prior"), str(out / "target")
    warm_start = ["--set", f"agent.clone_steps={plan.clone_steps}"]

    def pretrain(method: str, config: str, *options: str) -> list[str]:
        where = [
            "--data",
            prior,
            "--target-task",
            task,
            "--out",
            str(out / method / "pretrain"),
            "--resume",
        ]
        return [
            "pretrain",
            "--config",
            config,
            *where,
            "--steps",
            str(plan.pretrain_steps),
            *_seed(seed),
            *options,
        ]

    def finetune(method: str, steps: int, *source: str) -> list[str]:
        where = ["--target", target, "--out", str(out / method / "finetune"), "--resume"]
        every = ["--set", f"finetune.checkpoint_every={max(1, steps // plan.checkpoints)}"]
        return [
            "finetune",
            *source,
            *where,
            "--holdout",
            str(plan.held_out),
            "--steps",
            str(steps),
            *every,
        ]

    def from_pretrained(method: str) -> list[str]:
        return finetune(
            method,
            plan.finetune_steps,
            "--from",
            str(out / method / "pretrain"),
            "--prior",
            prior,
        )

    def deploy(method: str) -> list[list[str]]:
        run = str(out / method / "finetune")
        return [["select", run], ["bundle", run, "--out", str(out / method / "bundle")]]

    steps = plan.pretrain_steps + plan.finetune_steps
    alone = (
        finetune("target-only", steps, "--config", "demo_ptr") + warm_start + _seed(seed)
    )
    return [
        [pretrain("ptr", "demo_ptr", *warm_start), from_pretrained("ptr"), *deploy("ptr")],
        [pretrain("bc", "demo_bc"), from_pretrained("bc"), *deploy("bc")],
        [alone, *deploy("target-only")],
    ]


def _seed(seed: int) -> list[str]:
    return ["--seed", str(seed)]


async def run_stage(stage: Stage, log_folder: Path) -> None:
    """Run a stage's chains side by side; the first one shows its output, the others write a log.

    Raises:
        CommandError: If a command fails; the other chains are stopped first.
    """
    logs = [
        None,
        *(
            log_folder / f"{stage.name.split(',')[0]}-{i}.log"
            for i in range(1, len(stage.chains))
        ),
    ]
    chains = [
        asyncio.create_task(run_commands(*pair))
        for pair in zip(stage.chains, logs, strict=True)
    ]
    try:
        await asyncio.gather(*chains)
    finally:
        for chain in chains:
            chain.cancel()
        await asyncio.gather(*chains, return_exceptions=True)


def load_or_start(out: Path, preset: str, task: str, seed: int) -> Demo:
    """Return the demonstration to run in `out`: an interrupted one of the same kind goes on, else a new one.

    Raises:
        DemoError: If `out` holds something that is not a demonstration run.
    """
    plan = PLANS[preset]
    stages = build_stages(out, task, seed, plan)
    if out.exists() and any(out.iterdir()):
        if not (out / RECORD).exists():
            raise DemoError(f"{out} holds other files; give another --out, or empty it")
        old = json.loads((out / RECORD).read_text())
        done = {stage["name"]: stage for stage in old["stages"] if stage["done"]}
        same = (old["preset"], old["task"], old["seed"], old["versions"]) == (
            preset,
            task,
            seed,
            versions(),
        )
        if same and len(done) < len(stages):
            for stage in stages:
                if stage.name in done:
                    stage.seconds, stage.done = done[stage.name]["seconds"], True
            print(
                f"{out}: goes on after {len(done)} finished stages (remove the folder to start over)"
            )
            return Demo(out, preset, task, seed, plan, stages=stages)
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    return Demo(out, preset, task, seed, plan, stages=stages)


def run(demo: Demo) -> None:
    """Run what is left of a demonstration."""
    demo.save()
    for number, stage in enumerate(demo.stages, 1):
        if stage.done:
            continue
        print(f"\n[{number}/{len(demo.stages)}] {stage.name}", flush=True)
        for leftover in stage.discard:
            shutil.rmtree(leftover, ignore_errors=True)
        started = time.monotonic()
        asyncio.run(run_stage(stage, demo.out))
        stage.seconds, stage.done = time.monotonic() - started, True
        demo.save()
        print(f"  {stage.name}: {stage.seconds:.0f} s", flush=True)


def main(argv: list[str]) -> int:
    """Run the whole loop in simulation: prior data, demonstrations, training, rollouts, report."""
    from widowx_bringup.sim.tasks import TARGET_TASK

    from .report import write_report

    parser = argparse.ArgumentParser(prog="ptr demo", description=main.__doc__)
    parser.add_argument(
        "--preset", choices=sorted(PLANS), default="full", help="how much of everything"
    )
    parser.add_argument(
        "--task", default=TARGET_TASK, help="the new task (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args(argv)
    demo = load_or_start(options.out, options.preset, options.task, options.seed)
    run(demo)
    print(f"\nreport: {write_report(demo.out)}")
    return 0
