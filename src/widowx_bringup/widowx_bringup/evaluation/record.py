"""`ptr record`: demonstrations of one task as ROS 2 bags, by the scripted teleoperator of the simulation."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from ptr_common.action_space import CONTROL_RATE
from ptr_common.errors import PtrError
from widowx_bringup.graph.session import open_session
from widowx_bringup.graph.up import parse_values
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task

MAX_FAILURES = 10
"""Failed demonstrations in a row after which something must be wrong."""


def main(argv: list[str]) -> int:
    """Record demonstrations of a task as bags, over the ROS graph."""
    parser = argparse.ArgumentParser(
        prog="ptr record",
        description="Record demonstrations by the scripted teleoperator; each bag is one successful episode.",
    )
    parser.add_argument(
        "--task", default=TARGET_TASK, help="name of the task (default: %(default)r)"
    )
    parser.add_argument(
        "--episodes", type=int, default=10, help="bags to record (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the first scene; each try takes the next one",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder that receives the bags"
    )
    parser.add_argument(
        "--max-steps", type=int, default=80, help="longest episode in control steps"
    )
    parser.add_argument(
        "--real-time-factor", type=float, default=1.0, help="simulated seconds per second"
    )
    parser.add_argument(
        "values",
        nargs="*",
        metavar="name:=value",
        help="arguments of the graph (ptr up --help)",
    )
    arguments = parser.parse_args(argv)
    parse_task(arguments.task)
    given = {
        "bag_directory": str(arguments.out),
        "real_time_factor": str(arguments.real_time_factor),
        **parse_values(arguments.values),
    }
    with open_session("record", given, arguments.out / "log") as session:
        seed, failures, in_a_row, seconds = arguments.seed, 0, 0, 0.0
        with tqdm(total=arguments.episodes, unit="bag", desc=arguments.task) as progress:
            while progress.n < arguments.episodes:
                result = session.run_episode(
                    arguments.task, seed, arguments.max_steps, linger=1, keep_failure=False
                )
                seed += 1
                seconds += result.duration
                in_a_row = 0 if result.success else in_a_row + 1
                failures += not result.success
                progress.update(result.success)
                progress.set_postfix(failed=failures, steps=result.steps)
                if in_a_row >= MAX_FAILURES:
                    raise PtrError(
                        f"{in_a_row} demonstrations failed in a row, the last one: {result.reason}"
                    )
    steps = round(seconds * CONTROL_RATE)
    print(
        f"{arguments.episodes} bags in {arguments.out}; {failures} failed tries; {steps} steps"
    )
    return 0
