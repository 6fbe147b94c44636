"""`ptr demo`: the whole loop on a simulated arm, as commands that are shown and timed."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ptr_common.arguments import VerbParser
from ptr_common.arguments import seed as seed_type
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.versions import versions
from widowx_bringup.graph.run_ptr import run_commands
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task

from .demo_stages import PLANS, DemoPlan, Stage, build_stages
from .report_page import RECORD, write_report


class DemoError(PtrError):
    """The demonstration cannot be run as asked."""


@dataclass
class Demo:
    """A demonstration run: its plan, its stages and its folder."""

    out: Path
    preset: str
    task: str
    seed: int
    plan: DemoPlan
    versions: dict[str, str] = field(default_factory=versions)
    stages: list[Stage] = field(default_factory=list)

    def save(self) -> None:
        """Write the record of the run; the report and a resumed run read it."""
        record = asdict(self) | {"out": str(self.out)}
        with atomic_file(self.out / RECORD) as path:
            path.write_text(json.dumps(record, indent=2) + "\n")


async def run_stage(stage: Stage, log_folder: Path) -> None:
    """Run a stage's chains at the same time; the first shows its output, the others write a log.

    Raises:
        CommandError: If a command fails; the other chains are stopped first.
    """
    chains = []
    for index, commands in enumerate(stage.chains):
        log = log_folder / f"{stage.name.split(',')[0]}-{index}.log" if index else None
        chains.append(asyncio.create_task(run_commands(commands, log)))
    try:
        await asyncio.gather(*chains)
    finally:
        for chain in chains:
            chain.cancel()
        await asyncio.gather(*chains, return_exceptions=True)


def load_or_start(out: Path, preset: str, task: str, seed: int) -> Demo:
    """Return the demonstration to run in a folder.

    An interrupted one with the same preset, task, seed and versions goes on; otherwise a new
    one begins.

    Raises:
        DemoError: If the folder holds something other than a demonstration run.
    """
    demo = Demo(out, preset, task, seed, PLANS[preset])
    demo.stages = build_stages(out, task, seed, demo.plan)
    if out.exists() and any(out.iterdir()):
        if not (out / RECORD).exists():
            raise DemoError(f"{out} holds other files; give another --out, or empty it")
        if _resume(demo, json.loads((out / RECORD).read_text())):
            return demo
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    return demo


def _resume(demo: Demo, record: dict[str, Any]) -> bool:
    """Take over the finished stages of an interrupted run; return whether it can go on."""
    done = {stage["name"]: stage for stage in record["stages"] if stage["done"]}
    found = (record["preset"], record["task"], record["seed"], record["versions"])
    if found != (demo.preset, demo.task, demo.seed, demo.versions):
        return False
    if len(done) >= len(demo.stages):
        return False
    for stage in demo.stages:
        if stage.name in done:
            stage.seconds = done[stage.name]["seconds"]
            stage.done = True
    print(
        f"{demo.out}: goes on after {len(done)} finished stages "
        "(remove the folder to start over)"
    )
    return True


def run(demo: Demo) -> None:
    """Run the unfinished stages of a demonstration."""
    demo.save()
    for number, stage in enumerate(demo.stages, 1):
        if stage.done:
            continue
        print(f"\n[{number}/{len(demo.stages)}] {stage.name}", flush=True)
        for leftover in stage.discard:
            shutil.rmtree(leftover, ignore_errors=True)
        started = time.monotonic()
        asyncio.run(run_stage(stage, demo.out))
        stage.seconds = time.monotonic() - started
        stage.done = True
        demo.save()
        print(f"  {stage.name}: {stage.seconds:.0f} s", flush=True)


def main(argv: list[str]) -> int:
    """Run the whole loop in simulation: prior data, demonstrations, training, rollouts, report."""
    parser = VerbParser("demo", main.__doc__)
    parser.add_argument(
        "--preset", choices=sorted(PLANS), default="full", help="amount of everything"
    )
    parser.add_argument("--task", default=TARGET_TASK, help="name of the new task")
    parser.add_argument(
        "--seed", type=seed_type, default=0, help="seed of data, training and scenes"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        help="folder of the run; an interrupted run goes on",
    )
    options = parser.parse_args(argv)
    task = parse_task(options.task).name
    demo = load_or_start(options.out, options.preset, task, options.seed)
    run(demo)
    print(f"\nreport: {write_report(demo.out)}")
    return 0
