"""Time and error of every backend on the same images, against the network in eager PyTorch.

    .venv/bin/python bench/inference_bench.py --encoder resnet34

The networks are untrained. The backends take turns, in another order each round: ratios of
one run say more than milliseconds. `act` takes all the time between a camera's image and its
command, `q` the time afterwards.
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

from ptr_common.text_table import text_table
from ptr_policy_node.aot_compile import compile_bundle
from ptr_policy_node.backends import BACKENDS, Backend
from ptr_policy_node.bundle import FORMS, Bundle, BundleError, read_bundle
from ptr_policy_node.policy import Policy, PolicyOutput, load_bundle

WARM_UP = 3
"""Rounds that are not counted."""

HEADER = (
    "backend",
    "load [s]",
    "act p50 [ms]",
    "p99 [ms]",
    "CPU [ms]",
    "faster, wall",
    "faster, CPU",
    "q CPU [ms]",
    "action error",
    "Q error",
)


@dataclass
class Contestant:
    """A policy and its measurements."""

    policy: Policy
    load: float  # [s]
    act_wall: list[float] = field(default_factory=list)  # [s]
    act_cpu: list[float] = field(default_factory=list)  # [s]
    q_cpu: list[float] = field(default_factory=list)  # [s]
    action_error: float = 0.0  # relative to the range of a dimension
    q_error: float = 0.0

    def act(self, image: np.ndarray, proprio: np.ndarray) -> PolicyOutput:
        """Act once and keep the times."""
        wall = time.perf_counter()
        cpu = time.process_time()
        output = self.policy.act(image, proprio, TASK)
        self.act_wall.append(time.perf_counter() - wall)
        self.act_cpu.append(time.process_time() - cpu)
        return output

    def q_values(self, output: PolicyOutput) -> np.ndarray:
        """Return the Q values, shape (2,), and keep the time."""
        cpu = time.process_time()
        values = self.policy.q_values(output)
        self.q_cpu.append(time.process_time() - cpu)
        return values


def contestants(
    folder: Path, encoder: str, agent: str, size: int, threads: int
) -> Iterator[Contestant]:
    """Yield the eager network and every backend that runs here; print why others do not."""
    deployed = untrained(encoder, agent, size)
    for form in FORMS:
        make_bundle(folder / form, deployed, agent, size, form)
    bundle = read_bundle(folder / "export")
    eager = cast(Backend, deployed)  # it has `act` and `q`
    yield Contestant(Policy(bundle.info, bundle.sha256, eager, "eager float32"), 0.0)
    for name, backend in BACKENDS.items():
        for precision in backend.precisions:
            try:
                yield _load(folder / backend.form, bundle, name, precision, threads)
            except BundleError as error:
                print(f"{name} {precision}: left out: {error}")


def _load(
    path: Path, bundle: Bundle, name: str, precision: str, threads: int
) -> Contestant:
    """Return a backend that has loaded a bundle, compiled before if it needs that."""
    if name == "aot":
        begin = time.perf_counter()
        compile_bundle(bundle, precision)
        print(f"compiling in {precision}: {time.perf_counter() - begin:.0f} s")
    begin = time.perf_counter()
    policy = load_bundle(path, backend=name, precision=precision, threads=threads)
    return Contestant(policy, time.perf_counter() - begin)


def measure(field: list[Contestant], rounds: int) -> None:
    """Let all take turns; the first of them is the reference of the errors."""
    rng = np.random.default_rng(1)
    reference = field[0]
    info = reference.policy.info
    span = np.subtract(info.action_high, info.action_low)
    for _ in range(rounds + WARM_UP):
        image = rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), np.uint8)
        proprio = rng.normal(size=7)
        outputs = {}
        for contestant in random.sample(field, len(field)):
            outputs[id(contestant)] = contestant.act(image, proprio)
        expected = outputs[id(reference)]
        q = reference.q_values(expected)
        for contestant in field[1:]:
            action = outputs[id(contestant)].action
            error = float(np.abs((action - expected.action) / span).max())
            contestant.action_error = max(contestant.action_error, error)
            difference = np.abs(contestant.q_values(expected) - q)
            error = float(np.nanmax(difference, initial=0.0))
            contestant.q_error = max(contestant.q_error, error)


def table(field: list[Contestant]) -> str:
    """Return the measurements, a line for each contestant; "faster" is relative to the first."""
    eager_wall = np.median(field[0].act_wall[WARM_UP:])
    eager_cpu = np.median(field[0].act_cpu[WARM_UP:])
    rows = []
    for contestant in field:
        wall, p99 = np.percentile(contestant.act_wall[WARM_UP:], (50, 99))
        cpu = np.median(contestant.act_cpu[WARM_UP:])
        rows.append(
            (
                contestant.policy.backend,
                f"{contestant.load:.1f}",
                f"{1e3 * wall:.1f}",
                f"{1e3 * p99:.1f}",
                f"{1e3 * cpu:.1f}",
                f"{eager_wall / wall:.2f}",
                f"{eager_cpu / cpu:.2f}",
                f"{1e3 * np.median(contestant.q_cpu[WARM_UP:]):.1f}",
                f"{contestant.action_error:.1e}",
                f"{contestant.q_error:.1e}",
            )
        )
    return text_table(HEADER, rows)


def main() -> None:
    """Measure one encoder after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--encoder",
        nargs="+",
        choices=sorted(SIZES),
        default=sorted(SIZES, reverse=True),
        help="encoders (default: all)",
    )
    parser.add_argument(
        "--agent", choices=("cql", "bc"), default="cql", help="agent (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=40, help="images (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (default: %(default)s)"
    )
    arguments = parser.parse_args()
    for encoder in arguments.encoder:
        size = SIZES[encoder]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder  # compiled bundles are removed as well
            torch.manual_seed(0)
            runners = list(
                contestants(Path(folder), encoder, arguments.agent, size, arguments.threads)
            )
            measure(runners, arguments.rounds)
        print(
            f"{arguments.agent}, {encoder} encoder, {size}x{size}, "
            f"threads: {arguments.threads}\n{table(runners)}"
        )


if __name__ == "__main__":
    main()
