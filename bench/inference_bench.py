"""Time and error of every backend on one picture, against the network in eager PyTorch, in one run.

    .venv/bin/python bench/inference_bench.py --encoder resnet34

The networks are untrained. The backends take turns, in another order each round: ratios of
one run say more than milliseconds. `act` is all that happens between a picture of the
camera and its command, `q` what follows.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from latency_bench import CAMERA, SIZES, TASK, make_bundle, untrained

from ptr_policy_node.aot_compile import compile_bundle
from ptr_policy_node.backends import BACKENDS, Backend
from ptr_policy_node.bundle import FORMS, BundleError, read_bundle
from ptr_policy_node.policy import Choice, Policy, load_bundle

WARM_UP = 3  # rounds


@dataclass
class Contestant:
    """A policy, and what was measured of it."""

    policy: Policy
    load: float  # [s]
    act_wall: list[float] = field(default_factory=list)  # [s]
    act_cpu: list[float] = field(default_factory=list)  # [s]
    q_cpu: list[float] = field(default_factory=list)  # [s]
    action_error: float = 0.0  # of the range
    q_error: float = 0.0

    def run(self, image: np.ndarray, proprio: np.ndarray) -> Choice:
        """Act once, judge once, and keep the times."""
        wall, cpu = time.perf_counter(), time.process_time()
        choice = self.policy.choose(image, proprio, TASK)
        self.act_wall.append(time.perf_counter() - wall)
        self.act_cpu.append(time.process_time() - cpu)
        return choice

    def judge(self, choice: Choice) -> np.ndarray:
        """Return the Q values, and keep the time."""
        cpu = time.process_time()
        q = self.policy.value(choice)
        self.q_cpu.append(time.process_time() - cpu)
        return q


def contestants(
    folder: Path, encoder: str, agent: str, size: int, threads: int
) -> Iterator[Contestant]:
    """Yield the eager network and every backend that runs here; say what does not, and why."""
    deployed = untrained(encoder, agent, size)
    for form in FORMS:
        make_bundle(folder / form, deployed, agent, size, form)
    bundle = read_bundle(folder / "export")
    eager = cast(Backend, deployed)  # it has `act` and `q`
    yield Contestant(Policy(bundle.info, bundle.bundle_id, eager, "eager float32"), 0.0)
    for name, backend in BACKENDS.items():
        for precision in backend.precisions:
            path = folder / backend.form
            try:
                begin = time.perf_counter()
                if name == "aot":
                    compile_bundle(bundle, precision)
                    print(f"compiling in {precision}: {time.perf_counter() - begin:.0f} s")
                begin = time.perf_counter()
                policy = load_bundle(
                    path, backend=name, precision=precision, threads=threads
                )
                yield Contestant(policy, time.perf_counter() - begin)
            except BundleError as error:
                print(f"{name} {precision}: left out: {error}")


def measure(field: list[Contestant], rounds: int) -> None:
    """Let all take turns; the first of them is what the others are compared with."""
    rng = np.random.default_rng(1)
    span = np.subtract(field[0].policy.info.action_high, field[0].policy.info.action_low)
    for _ in range(rounds + WARM_UP):
        image = rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), np.uint8)
        proprio = rng.normal(size=7)
        choices = {
            id(each): each.run(image, proprio) for each in random.sample(field, len(field))
        }
        expected = choices[id(field[0])]
        q = field[0].judge(expected)
        for each in field[1:]:
            error = np.abs((choices[id(each)].action - expected.action) / span).max()
            each.action_error = max(each.action_error, float(error))
            each.q_error = max(
                each.q_error,
                float(np.nanmax(np.abs(each.judge(expected) - q), initial=0.0)),
            )


def table(field: list[Contestant]) -> str:
    """Return what was measured, one line each."""
    lines = [
        "| backend | load | act p50 | p99 | CPU | faster than eager, wall | CPU | q CPU | action error | Q error |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    wall0, cpu0 = (
        np.median(times[WARM_UP:]) for times in (field[0].act_wall, field[0].act_cpu)
    )
    for each in field:
        wall, p99 = np.percentile(each.act_wall[WARM_UP:], (50, 99))
        cpu, q = np.median(each.act_cpu[WARM_UP:]), np.median(each.q_cpu[WARM_UP:])
        lines.append(
            f"| {each.policy.execution} | {each.load:.1f} s | {wall * 1e3:.1f} ms | {p99 * 1e3:.1f} ms "
            f"| {cpu * 1e3:.1f} ms | {wall0 / wall:.2f} | {cpu0 / cpu:.2f} | {q * 1e3:.1f} ms "
            f"| {each.action_error:.1e} | {each.q_error:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure one encoder after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--encoder", nargs="+", choices=sorted(SIZES), default=sorted(SIZES, reverse=True)
    )
    parser.add_argument("--agent", choices=("cql", "bc"), default="cql")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for encoder in arguments.encoder:
        size = SIZES[encoder]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder  # what is compiled goes with the bundle
            torch.manual_seed(0)
            runners = list(
                contestants(Path(folder), encoder, arguments.agent, size, arguments.threads)
            )
            measure(runners, arguments.rounds)
        print(
            f"{arguments.agent}, {encoder} encoder, {size}x{size}, threads: {arguments.threads}\n{table(runners)}"
        )


if __name__ == "__main__":
    main()
