"""`ptr record`: demonstrations of one task as ROS 2 bags, by a scripted teleoperator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_common.action_space import CONTROL_RATE
from ptr_common.arguments import VerbParser, positive_float, positive_int, seed
from ptr_common.errors import PtrError
from ptr_common.progress import progress
from widowx_bringup.graph.episode_names import EpisodeNames
from widowx_bringup.graph.session import open_session
from widowx_bringup.graph.values import parse_values
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task

if TYPE_CHECKING:
    from widowx_bringup.graph.episode_runner import EpisodeRunner

MAX_FAILURES = 10
"""Failed demonstrations in a row after which recording stops."""


@dataclass
class Recorded:
    """Counts of a recording."""

    failures: int = 0
    duration: float = 0.0  # of all episodes, on the graph's clock [s]


def record(
    session: EpisodeRunner,
    task: str,
    episodes: int,
    first_seed: int,
    max_steps: int,
    folder: Path,
) -> Recorded:
    """Record successful demonstrations; each try takes the next seed.

    Args:
        session: A graph with a recorder.
        task: Name of the task.
        episodes: Number of bags to record.
        first_seed: Seed of the first scene.
        max_steps: Longest episode [control steps].
        folder: Where the recorder puts the bags; they are numbered after those in it.

    Raises:
        PtrError: If `MAX_FAILURES` demonstrations fail in a row.
    """
    recorded, names = Recorded(), EpisodeNames()
    scene_seed, in_a_row = first_seed, 0
    with progress(total=episodes, unit="bag", desc=task) as bar:
        while bar.n < episodes:
            result = session.run_episode(
                *(task, scene_seed, max_steps),
                linger=1,
                keep_failure=False,
                name=names.next(task, folder),
            )
            scene_seed += 1
            in_a_row = 0 if result.success else in_a_row + 1
            recorded.duration += result.duration
            recorded.failures += not result.success
            bar.update(result.success)
            bar.set_postfix(failed=recorded.failures, steps=result.steps)
            if in_a_row >= MAX_FAILURES:
                raise PtrError(
                    f"{in_a_row} demonstrations failed in a row, the last one: {result.reason}"
                )
    return recorded


def _parser() -> VerbParser:
    parser = VerbParser(
        "record",
        "Record demonstrations by the scripted teleoperator; each bag is one successful episode.",
    )
    parser.add_argument("--task", default=TARGET_TASK, help="name of the task")
    parser.add_argument("--episodes", type=positive_int, default=10, help="bags to record")
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        help="seed of the first scene; each try takes the next one",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder that receives the bags"
    )
    parser.add_argument(
        "--max-steps",
        type=positive_int,
        default=80,
        help="longest episode in control steps",
    )
    parser.add_argument(
        "--real-time-factor",
        type=positive_float,
        default=1.0,
        help="simulated seconds per second",
    )
    parser.add_argument(
        "values",
        nargs="*",
        metavar="name:=value",
        help="arguments of the graph (ptr up --help)",
    )
    return parser


def main(argv: list[str]) -> int:
    """Record demonstrations of a task as bags, over the ROS graph."""
    options = _parser().parse_args(argv)
    task = parse_task(options.task).name
    given = {
        "bag_directory": str(options.out),
        "real_time_factor": str(options.real_time_factor),
        **parse_values(options.values),
    }
    with open_session("record", given, options.out / "log") as session:
        recorded = record(
            *(session, task, options.episodes, options.seed, options.max_steps),
            Path(given["bag_directory"]),
        )
    steps = round(recorded.duration * CONTROL_RATE)
    print(
        f"{options.episodes} bags in {options.out}; {recorded.failures} failed tries; "
        f"{steps} steps"
    )
    return 0
