"""Carries the rows of studies out, each in a process of its own; what is done is not repeated."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptr_common.files import atomic_file
from widowx_bringup.evaluation.results import read_results, summarise
from widowx_bringup.graph.run_ptr import CommandError, run_commands

from .commands import Study
from .plan import Row
from .results import Outcome


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
    stores: dict[str, asyncio.Task[str]] = {}
    tasks: dict[str, asyncio.Task[Outcome]] = {}
    try:
        for name in study.missing_stores(rows):
            stores[name] = asyncio.create_task(_collect(study, name, free))
        for row in rows:
            after = _run_after(study, row, tasks, stores, free)
            tasks[row.name] = asyncio.create_task(after)
        return list(await asyncio.gather(*tasks.values()))
    finally:
        started = [*stores.values(), *tasks.values()]
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def _collect(study: Study, name: str, free: asyncio.Semaphore) -> str:
    """Simulate a store, and return why that failed; nothing if it did not."""
    folder = study.store(name)
    log = folder.with_name(f"{name}.txt")
    async with free:
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            await run_commands([study.collecting(name)], log, append=True)
        except CommandError:
            return f"data {name}: {_last_line(log)}"
    print(f"  data {name}, seed {study.seed}: {_last_line(log)}", flush=True)
    return ""


async def _run_after(
    study: Study,
    row: Row,
    tasks: Mapping[str, asyncio.Task[Outcome]],
    stores: Mapping[str, asyncio.Task[str]],
    free: asyncio.Semaphore,
) -> Outcome:
    """Carry a row out once its data is there and the rows that it builds on have ended."""
    problem = ""
    for name in row.stores:
        if name in stores:
            problem = problem or await stores[name]
    failed = []
    for name in row.needs:
        outcome = await tasks[name]
        if outcome.problem:
            failed.append(outcome.name)
    if failed:
        problem = f"builds on {', '.join(failed)}, which failed"
    if problem:
        return Outcome(row.name, row.title, row.source, 0.0, problem, None, None)
    async with free:
        return await _run_row(study, row)


async def _run_row(study: Study, row: Row) -> Outcome:
    """Run the commands of a row unless it is finished, and return its outcome."""
    folder = study.out / row.name
    problem = ""
    done = folder / "minutes.json"
    commands = [] if done.is_file() else study.commands(row)
    commands += study.judging(row)
    if commands:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        started = time.monotonic()
        try:
            await run_commands(commands, log, append=True, processes=study.processes)
        except CommandError:
            problem = _last_line(log)
        else:
            if not done.is_file():
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
