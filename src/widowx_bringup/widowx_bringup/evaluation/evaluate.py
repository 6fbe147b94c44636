"""`ptr evaluate`: rollouts of one or several policies from the same start scenes, counted.

The scenes are drawn once from a seed, written down, and used for every method. Over the ROS
graph (the default) camera, arm, policy and recorder are separate processes, and every rollout
becomes a bag. With `--in-process` the same controller, camera model and policy run without ROS,
which is faster over many scenes, and with `--workers` on several processes; their number
changes nothing.

Where a plan (YAML) stands in place of the options, this is `ptr session run`.

A rollout that ends for a cause outside the policy (a node, a camera, the arm, the operator) is
no failure: it is listed as aborted, and repeated from the same scene. An evaluation that goes
on repeats those that it lacks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.arguments import VerbParser, positive_float, positive_int
from ptr_common.arguments import seed as seed_type
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.progress import progress
from ptr_common.versions import versions
from widowx_bringup.graph.values import parse_values
from widowx_bringup.sim.camera_shift import CameraShift
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task, sample_layout

from . import checkpoint_rates
from .film_strip import can_film, write_film_strip, write_films_page
from .results import (
    Rollout,
    counted_of,
    planned_rollout,
    read_results,
    results_text,
    write_results,
)
from .rollout_store import export_bags
from .runners import Method, Runner, Runners, open_runner, prepare_without_ros
from .session import main as session

REPEATS = 2
"""Most repeats of a rollout in one run of the evaluation."""


class EvaluationError(PtrError):
    """The evaluation cannot be carried out as asked."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Task, scenes and limits of an evaluation; a resumed evaluation must have the same."""

    task: str
    rollouts: int  # of each method
    seed: int  # of the scenes
    max_steps: int  # longest rollout [control steps]
    over_ros: bool
    camera_rise: float = 0.0  # of the simulated camera [m]
    camera_turn: float = 0.0  # of the simulated camera about the table [degrees]

    @property
    def camera_shift(self) -> CameraShift:
        """Where the simulated camera stands, relative to where it usually does."""
        return CameraShift(self.camera_rise, self.camera_turn)

    def layout_seeds(self) -> list[int]:
        """Return one scene seed per rollout; more rollouts begin with the same seeds."""
        sequence = np.random.SeedSequence([self.seed, *self.task.encode()])
        seeds = []
        for child in sequence.spawn(self.rollouts):
            seeds.append(int(child.generate_state(1)[0]))
        return seeds


def evaluate(
    methods: Sequence[Method],
    plan: EvaluationPlan,
    out: Path,
    arguments: Mapping[str, str],
    *,
    keeps: bool = False,
    workers: int = 1,
    films: bool = False,
) -> list[Rollout]:
    """Carry out the missing rollouts of an evaluation.

    Every finished rollout is on disk before the next begins. One that was aborted is repeated.

    Args:
        methods: Policies; all see the same scenes.
        plan: Task, scenes and limits.
        out: Folder for results, bags and film strips.
        arguments: Further arguments of the graph, over ROS.
        keeps: Also write each method's rollouts as an episode store, `episodes/NAME`. Without
            ROS a method that has none yet begins anew: only bags keep what was seen.
        workers: Processes that roll out side by side, without ROS; 1: this process does.
        films: Also make a film of each rollout, with Q and actions, in `films/`; needs PyAV.

    Returns:
        All rollouts, including those found on disk and those that were aborted.

    Raises:
        EvaluationError: If a rollout is aborted again and again, another plan is found, or
            there are to be several processes over ROS.
    """
    _check_workers(plan, workers)
    _write_scenes(out, plan)
    rollouts = read_results(out)
    lacking = [m.name for m in methods if keeps and not _store(out, m).is_dir()]
    if not plan.over_ros:
        rollouts = [rollout for rollout in rollouts if rollout.method not in lacking]
    about = _about(methods, plan)
    prepared = prepare_without_ros(plan.max_steps, plan.camera_shift, workers)
    with nullcontext() if plan.over_ros else prepared as without_ros:
        for method in methods:
            if missing := _missing_rollouts(method, plan, rollouts):
                what = (method, missing, out, arguments, without_ros)
                start = partial(open_runner, *what, keeps=keeps, films=films)
                _run_method(start, missing, plan, out, rollouts, about)
            if method.name in lacking and plan.over_ros:
                _export(method, rollouts, out)
    if films:
        write_films_page(out, rollouts)
    return rollouts


def _about(methods: Sequence[Method], plan: EvaluationPlan) -> dict[str, Any]:
    """Return what is run, for `results.json`."""
    policies = {method.name: str(method.bundle) for method in methods}
    return {"plan": vars(plan), "policies": policies, "versions": versions()}


def _export(method: Method, rollouts: Sequence[Rollout], out: Path) -> None:
    """Write the bags of a method's rollouts that count as an episode store."""
    bags = [out / row.bag for row in counted_of(rollouts, method.name)]
    export_bags(bags, method.bundle, _store(out, method))


def _check_workers(plan: EvaluationPlan, workers: int) -> None:
    if workers > 1 and plan.over_ros:
        raise EvaluationError(
            f"--workers {workers} needs --in-process: over ROS one graph runs one rollout at a time"
        )


def _missing_rollouts(
    method: Method, plan: EvaluationPlan, rollouts: Sequence[Rollout]
) -> list[Rollout]:
    """Return the rollouts of a method that do not count yet, in the order of the scenes."""
    done = {row.rollout for row in counted_of(rollouts, method.name)}
    missing = []
    for index, seed in enumerate(plan.layout_seeds()):
        if index not in done:
            strip = f"strips/{method.name}_{index:03d}.jpg"
            missing.append(planned_rollout(method.name, index, seed, plan.task, strip))
    return missing


def _store(out: Path, method: Method) -> Path:
    """Return the folder of a method's rollouts as an episode store."""
    return out / "episodes" / method.name


def _run_method(
    start: Callable[[], AbstractContextManager[Runner]],
    missing: Sequence[Rollout],
    plan: EvaluationPlan,
    out: Path,
    rollouts: list[Rollout],
    about: dict[str, Any],
) -> None:
    """Carry out rollouts of one method; append each to `rollouts` and write all to disk.

    Args:
        start: Starts a runner of the method; called again where one was lost.
        missing: The rollouts without their outcomes.
        plan: Of the evaluation.
        out: Folder for results.
        rollouts: Those so far, of all methods.
        about: What was run.

    Raises:
        EvaluationError: If a rollout is aborted again and again.
    """
    name = missing[0].method
    bar = progress(missing, desc=name, unit="rollout")
    with Runners(start) as runners:
        for planned in bar:
            for _ in range(REPEATS + 1):
                rollout, images = runners.run(planned, plan.max_steps)
                if images:
                    write_film_strip(out / rollout.strip, images)
                if runners.film is not None:
                    page = out / rollout.film
                    runners.film.write(page.parent, page.stem)
                rollouts.append(rollout)
                write_results(out, rollouts, about)
                if not rollout.aborted:
                    break
                text = f"rollout {rollout.rollout} does not count: {rollout.reason}"
                bar.write(f"{name}: {text}", file=sys.stderr)
            else:
                raise EvaluationError(
                    f"{name}: rollout {planned.rollout} was repeated {REPEATS} times, and each "
                    f"time ended for a cause outside the policy, the last time: "
                    f"{rollouts[-1].reason}; mend that, and the same "
                    "command goes on there"
                )
            counted = counted_of(rollouts, name)
            bar.set_postfix(success=f"{sum(row.success for row in counted)}/{len(counted)}")


def _write_scenes(out: Path, plan: EvaluationPlan) -> None:
    """Write the start scenes; refuse a folder with an evaluation of another plan."""
    path = out / "scenes.json"
    if path.exists():
        found = {"camera_rise": 0.0, "camera_turn": 0.0}  # plans without them
        found |= json.loads(path.read_text())["plan"]
        if found != vars(plan):
            raise EvaluationError(
                f"{out} holds an evaluation of {found}, asked for is {vars(plan)}; "
                "choose another --out"
            )
    scenes = [sample_layout(plan.task, seed).to_json() for seed in plan.layout_seeds()]
    content = json.dumps({"plan": vars(plan), "scenes": scenes}, indent=1)
    with atomic_file(path) as temporary:
        temporary.write_text(content + "\n")


def parse_method(text: str) -> Method:
    """Return the method of `name=bundle`, or of a bundle's path alone.

    Raises:
        EvaluationError: If there is no such bundle.
    """
    from ptr_policy_node.bundle import description_file

    name, equals, path = text.partition("=")
    bundle = Path(path if equals else text)
    if not description_file(bundle).is_file():
        raise EvaluationError(
            f"{bundle} is no bundle (it has no bundle.json); `ptr bundle` makes one"
        )
    return Method(name if equals else bundle.name.removesuffix(".yaml"), bundle)


def _add_what(parser: VerbParser) -> None:
    """Add the options that name what is evaluated."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--policy",
        action="append",
        metavar="[NAME=]BUNDLE",
        help="policy to evaluate, or the YAML file of a served one; may be repeated (default: "
        "none; it or --checkpoints is needed)",
    )
    what.add_argument(
        "--checkpoints",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="evaluate every checkpoint of these runs of `ptr finetune`, without ROS, beside "
        "what `ptr select` takes (default: none)",
    )


def _add_kept(parser: VerbParser) -> None:
    """Add the options of what is kept of each rollout."""
    parser.add_argument(
        "--keep-episodes",
        action="store_true",
        help="also write each policy's rollouts as an episode store, episodes/NAME, "
        "for `ptr finetune --rollouts` (default: off)",
    )
    parser.add_argument(
        "--no-films",
        dest="films",
        action="store_false",
        help="make no film of each rollout with Q and actions under it (default: films/ has them)",
    )


def _parser() -> VerbParser:
    parser = VerbParser("evaluate", main.__doc__)
    _add_what(parser)
    parser.add_argument("--task", default=TARGET_TASK, help="name of the task")
    parser.add_argument(
        "--rollouts", type=positive_int, default=20, help="rollouts of each policy"
    )
    parser.add_argument("--seed", type=seed_type, default=0, help="seed of the scenes")
    parser.add_argument(
        "--max-steps",
        type=positive_int,
        help="longest rollout in control steps (default: that of the task, 50 for most)",
    )
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="run without ROS: faster, no bags (default: over ROS)",
    )
    parser.add_argument(
        "--workers",
        type=positive_int,
        default=1,
        metavar="N",
        help="processes that roll out side by side, without ROS; their number changes nothing",
    )
    _add_kept(parser)
    parser.add_argument(
        "--real-time-factor",
        type=positive_float,
        default=1.0,
        help="simulated seconds per second, over ROS",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for results; an interrupted evaluation goes on",
    )
    parser.add_argument(
        "values",
        nargs="*",
        metavar="name:=value",
        help="arguments of the graph (ptr up --help); or the plan of a session, PLAN.yaml, "
        "with the options of `ptr session run`",
    )
    return parser


def is_session_plan(argument: str) -> bool:
    """Return whether an argument is the plan of a session, which `ptr session run` carries out."""
    return argument.endswith((".yaml", ".yml")) and ":=" not in argument


def main(argv: list[str]) -> int:
    """Roll policies out from the same start scenes and count successes."""
    named = [argument for argument in argv if argument.startswith("--policy")]
    if not named and any(is_session_plan(argument) for argument in argv):
        return session.main(["run", *argv])
    options = _parser().parse_args(argv)
    task = parse_task(options.task)
    longest = options.max_steps or task.rollout_steps
    over_ros = not (options.in_process or options.checkpoints)
    values = parse_values(options.values)
    shift = CameraShift.of_arguments(values)
    plan = EvaluationPlan(
        *(task.name, options.rollouts, options.seed, longest, over_ros),
        *(shift.rise, shift.turn),
    )
    out = options.out.absolute()
    if options.checkpoints:
        return _judge_checkpoints(options.checkpoints, plan, out, options.workers)
    methods = [parse_method(text) for text in options.policy]
    arguments = {"real_time_factor": str(options.real_time_factor), **values}
    extras = {"keeps": options.keep_episodes, "films": options.films and can_film()}
    rollouts = evaluate(methods, plan, out, arguments, workers=options.workers, **extras)
    written = ["results.csv", "results.json", "scenes.json", "strips/"]
    if plan.over_ros:
        written.append("bags/")
    if options.keep_episodes:
        written.append("episodes/")
    if (out / "films.html").is_file():
        written.append("films.html")
    print(f"\n{results_text(rollouts)}\n\n{out}: {', '.join(written)}")
    return 0


def _judge_checkpoints(
    runs: Sequence[Path], plan: EvaluationPlan, out: Path, workers: int
) -> int:
    """Roll every checkpoint of some runs out, and compare them with what the rules take."""
    judged = []
    for number, run in enumerate(runs):
        folder = out / f"run_{number}"
        methods = checkpoint_rates.checkpoint_methods(run, folder / "bundles")
        rollouts = evaluate(methods, plan, folder, {}, workers=workers)
        judged.append(checkpoint_rates.judge(run, rollouts))
        checkpoint_rates.write(out, judged)
    print(
        f"\n{checkpoint_rates.table(judged)}\n\n{out}: checkpoints.csv, checkpoints.json, "
        "checkpoints.png; a folder for each run"
    )
    return 0
