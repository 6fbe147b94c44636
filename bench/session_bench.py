"""SIGKILL random processes of simulated sessions at random times, and count trials afterwards.

Sessions of two toy policies run over ROS. At random times one process of the session is killed,
`ptr session` itself or one of its nodes; where it ended, the same command is given again. When
a session is finished, every trial must count exactly once, in the planned order, each with a
bag of the right bundle.

    .venv/bin/python bench/session_bench.py --kills 100
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader

from ptr_policy_node.bundle import write_bundle
from widowx_bringup.evaluation.session.codes import read_sealed
from widowx_bringup.evaluation.session.plan import SessionPlan, load_plan
from widowx_bringup.evaluation.session.session import load_state, unblind
from widowx_bringup.sim.tasks import TARGET_TASK

ROOT = Path(__file__).resolve().parents[1]

KILL_WITHIN = 30.0
"""Latest time of a kill after the session's start or the kill before [s]."""

TRIALS = 6
"""Trials of each of two methods in a session."""


@dataclass
class Tally:
    """What happened so far."""

    kills: int = 0
    of_session: int = 0
    starts: int = 0
    sessions: int = 0
    void: int = 0


def write_bundles(folder: Path) -> Path:
    """Write two bundles of toy policies and a plan; return the plan's file."""
    sys.path.append(str(ROOT / "src/ptr_policy_node/test"))
    import toy_bundle

    camera = replace(toy_bundle.CAMERA, name="over_shoulder")
    info = replace(toy_bundle.INFO, camera=camera, tasks=(TARGET_TASK, "b"))
    for name, gain in (("ptr", 0.01), ("bc", 0.02)):
        policy = toy_bundle.Toy(gain)
        programs = toy_bundle.programs(policy, "torchscript")
        write_bundle(folder / name, info, programs, toy_bundle.golden(policy))
    plan = folder / "plan.yaml"
    plan.write_text(
        f"{{task: {TARGET_TASK}, methods: {{ptr: ptr, bc: bc}}, trials: {TRIALS}, "
        "time_limit: 2.0}"
    )
    return plan


def children(process: int) -> list[int]:
    """Return the processes that a process has started."""
    found = subprocess.run(
        ["pgrep", "-P", str(process)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


def kill_one(
    process: subprocess.Popen[bytes], rng: np.random.Generator, tally: Tally
) -> None:
    """Kill `ptr session` or one of its nodes."""
    victim = int(rng.choice([process.pid, *children(process.pid)]))
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(victim, signal.SIGKILL)
        tally.kills += 1
        tally.of_session += victim == process.pid


def run_session(
    plan: Path, out: Path, rng: np.random.Generator, tally: Tally, kills: int
) -> None:
    """Run one session to its end, killing at random until as many kills are done in all."""
    words = ["-m", "ptr_common.cli", "session", "run", plan, "--out", out]
    command = [sys.executable, *map(str, words), "--real-time-factor", "3"]
    output = out.parent / f"{out.name}.log"
    while True:
        tally.starts += 1
        before = tally.kills
        with output.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            while process.poll() is None and tally.kills < kills:
                try:
                    process.wait(rng.uniform(0.0, KILL_WITHIN))
                except subprocess.TimeoutExpired:
                    kill_one(process, rng, tally)
            status = process.wait()
        if status == 0:
            return
        if tally.kills == before:
            raise SystemExit(
                f"it ended with {status} by itself:\n{output.read_text()[-2000:]}"
            )


def check(plan: SessionPlan, out: Path) -> int:
    """Raise SystemExit unless each trial counts once; return how many trials are void."""
    state = load_state(out)
    numbers = [number for number, row in state.trials if not row.aborted]
    if numbers != list(range(state.planned)):
        raise SystemExit(f"{out}: trials {numbers} count, of {state.planned}")
    codes = unblind(out).unblinded
    for trial in plan.order(read_sealed(out, state.seal).salt):
        row = state.counted[trial.number]
        if row.method != codes[trial.method] or row.layout_seed != trial.layout_seed:
            raise SystemExit(f"{out}: trial {trial.number} is of another method or scene")
        if (found := bundles_in(out / row.bag)) != {plan.methods[trial.method][:12]}:
            raise SystemExit(f"{out}: trial {trial.number} was run by {found}")
    return len(state.trials) - state.planned


def bundles_in(bag: Path) -> set[str]:
    """Return the bundles that the policy states of a bag name."""
    found = set()
    with AnyReader([bag]) as reader:
        states = [c for c in reader.connections if c.topic.endswith("/policy/state")]
        for connection, _, raw in reader.messages(states):
            message = reader.deserialize(raw, connection.msgtype)
            found.add(message.bundle_id)  # type: ignore[attr-defined]
    return found


def main() -> None:
    """Kill, resume, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, tally = np.random.default_rng(options.seed), Tally()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        file = write_bundles(folder)
        plan = load_plan(file)
        while tally.kills < options.kills or not tally.sessions:
            out = folder / f"session_{tally.sessions}"
            run_session(file, out, rng, tally, options.kills)
            tally.void += check(plan, out)
            tally.sessions += 1
            print(
                f"{tally.sessions} sessions, {tally.starts} starts, {tally.kills} kills "
                f"({tally.of_session} of ptr session itself): every trial counts once; "
                f"{tally.void} void trials were repeated",
                flush=True,
            )


if __name__ == "__main__":
    main()
