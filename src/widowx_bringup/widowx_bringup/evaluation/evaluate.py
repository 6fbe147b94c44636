"""`ptr evaluate`: rollouts of one or several policies from the same start scenes, judged and counted.

The scenes are drawn once from a seed, written down, and used for every method. Over the ROS
graph (the default) camera, arm, policy and recorder are separate processes and every
rollout becomes a bag; `--in-process` runs the same controller, camera model and policy
without ROS, for figures over many scenes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm import tqdm

from ptr_common.action_space import CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.topics import image_topic
from ptr_common.versions import versions
from widowx_bringup.arm.counts import CommandCounts
from widowx_bringup.graph.up import parse_values
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task, sample_layout

from .results import (
    STRIP_FRAMES,
    Rollout,
    read_results,
    summarise,
    table,
    write_film_strip,
    write_results,
)

if TYPE_CHECKING:
    from widowx_bringup.graph.episode_runner import EpisodeRunner


class EvaluationError(PtrError):
    """The evaluation cannot be carried out as asked."""


@dataclass(frozen=True)
class Method:
    """A policy under evaluation."""

    name: str
    bundle: Path


@dataclass(frozen=True)
class Plan:
    """What to evaluate, apart from the methods; a resumed evaluation must have the same."""

    task: str
    rollouts: int
    seed: int
    max_steps: int
    over_ros: bool

    def layout_seeds(self) -> list[int]:
        """Return one scene seed per rollout; the first N are the same however many are drawn."""
        sequence = np.random.SeedSequence([self.seed, *self.task.encode()])
        return [int(child.generate_state(1)[0]) for child in sequence.spawn(self.rollouts)]


class Runner(Protocol):
    """Carries out one rollout after the other with one policy."""

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """Return the rollout with its outcome, and frames for the film strip."""


class InProcessRunner:
    """Simulated arm, camera and policy in this process.

    Args:
        bundle: Folder of the policy.
    """

    def __init__(self, bundle: Path) -> None:
        from ptr_policy_node.policy import load_bundle
        from widowx_bringup.arm.controller import EefController
        from widowx_bringup.arm.kinematics import Kinematics
        from widowx_bringup.sim.simulated_devices import SimulatedArm, SimulatedCamera
        from widowx_bringup.sim.world import World

        os.environ.setdefault(
            "LP_NUM_THREADS", "0"
        )  # the software renderer must not start threads of its own
        self._policy = load_bundle(bundle, rate=CONTROL_RATE)
        camera = self._policy.info.camera
        self._world = World()
        self._controller = EefController(SimulatedArm(self._world), Kinematics())
        self._camera = SimulatedCamera(
            self._world, camera.name, camera.width, camera.height, rate=30.0
        )

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """See `Runner`."""
        from widowx_bringup.sim.rollout import rollout as roll_out

        policy, counts = self._policy, CommandCounts()
        policy.reset()
        self._world.reset(sample_layout(rollout.task, rollout.layout_seed))
        episode = roll_out(
            self._world,
            self._controller,
            self._camera,
            lambda image, proprio: policy.act(image, proprio, rollout.task).action,
            max_steps=max_steps,
            on_step=counts.count_step,
        )
        done = replace(
            rollout,
            success=episode.success,
            steps=len(episode.requested),
            duration=len(episode.requested) / CONTROL_RATE,
            clipped=counts.clipped,
            rejected=counts.rejected,
            reason="solved" if episode.success else f"not solved within {max_steps} steps",
        )
        return done, list(episode.frames)


class GraphRunner:
    """Rollouts on a running graph of nodes, each recorded as a bag.

    Args:
        session: The graph.
        out: Folder of the results; bag paths are relative to it.
    """

    def __init__(self, session: EpisodeRunner, out: Path) -> None:
        self._session = session
        self._out = out

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """See `Runner`."""
        before = self._session.counters()
        result = self._session.run_episode(rollout.task, rollout.layout_seed, max_steps)
        clipped, held, rejected = (
            now - then for now, then in zip(self._session.counters(), before, strict=True)
        )
        assert result.bag is not None  # the session records and keeps failures
        done = replace(
            rollout,
            success=result.success,
            steps=result.steps,
            duration=result.duration,
            clipped=clipped,
            held=held,
            rejected=rejected,
            reason=result.reason,
            bag=str(result.bag.relative_to(self._out)),
        )
        return done, read_frames(result.bag, self._session.values["camera"])


@contextlib.contextmanager
def open_runner(
    method: Method, plan: Plan, out: Path, arguments: Mapping[str, str]
) -> Iterator[Runner]:
    """Yield what runs one method's rollouts; nodes are started before and ended afterwards."""
    if not plan.over_ros:
        yield InProcessRunner(method.bundle)
        return
    from ptr_policy_node.bundle import read_info
    from widowx_bringup.graph.session import open_session

    camera = read_info(method.bundle).camera
    values = {
        "policy": str(method.bundle),
        "camera": camera.name,
        "width": str(camera.width),
        "height": str(camera.height),
        **arguments,
        "bag_directory": str(out / "bags" / method.name),
    }
    with open_session("eval", values, out / "log" / method.name) as session:
        yield GraphRunner(session, out)


def evaluate(
    methods: Sequence[Method], plan: Plan, out: Path, arguments: Mapping[str, str]
) -> list[Rollout]:
    """Carry out what is missing of an evaluation; every finished rollout is on disk before the next begins.

    Args:
        methods: Policies; all see the same scenes.
        plan: What to evaluate.
        out: Folder for results, bags and film strips.
        arguments: Further arguments of the graph, over ROS.

    Returns:
        All rollouts, those found on disk included.
    """
    seeds = plan.layout_seeds()
    _write_scenes(out, plan, seeds)
    rollouts = read_results(out)
    done = {(rollout.method, rollout.rollout) for rollout in rollouts}
    about = {
        "plan": vars(plan),
        "policies": {m.name: str(m.bundle) for m in methods},
        "versions": versions(),
    }
    for method in methods:
        missing = [
            index for index in range(plan.rollouts) if (method.name, index) not in done
        ]
        if not missing:
            continue
        with open_runner(method, plan, out, arguments) as runner:
            bar = tqdm(missing, desc=method.name, unit="rollout")
            for index in bar:
                strip = f"strips/{method.name}_{index:03d}.jpg"
                empty = Rollout(
                    method.name,
                    index,
                    seeds[index],
                    plan.task,
                    False,
                    0,
                    0.0,
                    0,
                    0,
                    0,
                    "",
                    "",
                    strip,
                )
                rollout, frames = runner.run(empty, plan.max_steps)
                write_film_strip(out / strip, frames)
                rollouts.append(rollout)
                write_results(out, rollouts, about)
                mine = [each.success for each in rollouts if each.method == method.name]
                bar.set_postfix(success=f"{sum(mine)}/{len(mine)}")
    return rollouts


def _write_scenes(out: Path, plan: Plan, seeds: Sequence[int]) -> None:
    """Write down the start scenes; refuse a folder that holds an evaluation of another plan."""
    wanted: dict[str, Any] = {
        "plan": vars(plan),
        "scenes": [sample_layout(plan.task, seed).to_json() for seed in seeds],
    }
    path = out / "scenes.json"
    if path.exists() and json.loads(path.read_text())["plan"] != wanted["plan"]:
        found = json.loads(path.read_text())["plan"]
        raise EvaluationError(
            f"{out} holds an evaluation of {found}, asked for is {vars(plan)}; choose another --out"
        )
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1) + "\n")


def read_frames(bag_path: Path, camera: str, count: int = STRIP_FRAMES) -> list[np.ndarray]:
    """Return evenly spaced images of one camera in a bag, (H, W, 3) uint8 RGB each, first and last included.

    Raises:
        EvaluationError: If the bag has none.
    """
    from ptr_common.images import decode
    from ptr_training.bags.reader import Bag

    with Bag(bag_path) as bag:
        topics = [topic for topic in bag.types if topic.endswith(image_topic(camera))]
        messages = list(bag.messages(topics))
        if not messages:
            raise EvaluationError(
                f"{bag_path} holds no images of camera {camera!r}; is the camera node running?"
            )
        chosen = [
            messages[i]
            for i in np.linspace(0, len(messages) - 1, count).round().astype(int)
        ]
        return [decode(data, bag.types[topic]).copy() for topic, _, data in chosen]


def parse_method(text: str) -> Method:
    """Return the method of `name=bundle`, or of a bundle's path alone.

    Raises:
        EvaluationError: If there is no such folder.
    """
    name, equals, path = text.partition("=")
    bundle = Path(path if equals else text)
    if not (bundle / "bundle.json").is_file():
        raise EvaluationError(
            f"{bundle} is no bundle (it has no bundle.json); `ptr bundle` makes one"
        )
    return Method(name if equals else bundle.name, bundle)


def main(argv: list[str]) -> int:
    """Roll policies out from the same start scenes and count successes."""
    parser = argparse.ArgumentParser(prog="ptr evaluate", description=main.__doc__)
    parser.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="[NAME=]BUNDLE",
        help="may be repeated",
    )
    parser.add_argument("--task", default=TARGET_TASK, help="default: %(default)r")
    parser.add_argument(
        "--rollouts", type=int, default=20, help="per policy (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the scenes")
    parser.add_argument(
        "--max-steps", type=int, default=50, help="longest rollout in control steps"
    )
    parser.add_argument(
        "--in-process", action="store_true", help="without ROS: quicker, no bags"
    )
    parser.add_argument(
        "--real-time-factor",
        type=float,
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
        help="arguments of the graph (ptr up --help)",
    )
    options = parser.parse_args(argv)
    if options.rollouts < 1 or options.max_steps < 1:
        raise EvaluationError(
            f"--rollouts and --max-steps must be >= 1; found {options.rollouts}, {options.max_steps}"
        )
    task = parse_task(options.task).name
    plan = Plan(
        task, options.rollouts, options.seed, options.max_steps, not options.in_process
    )
    methods = [parse_method(text) for text in options.policy]
    out = options.out.absolute()
    arguments = {
        "real_time_factor": str(options.real_time_factor),
        **parse_values(options.values),
    }
    rollouts = evaluate(methods, plan, out, arguments)
    print(
        f"\n{table(summarise(rollouts))}\n\n{out}: results.csv, results.json, scenes.json, strips/",
        end="",
    )
    print(", bags/" if plan.over_ros else "")
    return 0
