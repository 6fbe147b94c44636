"""Runners of evaluation rollouts: over a ROS graph, or in this process without ROS."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.errors import PtrError
from widowx_bringup.arm.counts import CommandCounts
from widowx_bringup.graph.connection import EpisodeError
from widowx_bringup.graph.processes import NodeDiedError
from widowx_bringup.sim.camera_shift import NO_SHIFT, CameraShift
from widowx_bringup.sim.tasks import sample_layout

from .film_strip import read_images
from .results import Rollout
from .rollout_store import as_seen, write_episodes

if TYPE_CHECKING:
    from ptr_training.data.episode import Episode
    from widowx_bringup.graph.episode_runner import EpisodeRunner


@dataclass(frozen=True)
class Method:
    """A policy under evaluation."""

    name: str
    bundle: Path


class SessionLostError(PtrError):
    """The graph failed in a rollout, and must be started anew."""


class Runner(Protocol):
    """Carries out one rollout after the other with one policy."""

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """Carry out one rollout.

        Args:
            rollout: The rollout without its outcome.
            max_steps: Longest rollout [control steps].

        Returns:
            The rollout with its outcome, and images for the film strip, (H, W, 3) uint8 RGB.

        Raises:
            SessionLostError: If another runner is needed for the next one.
        """


class InProcessRunner:
    """Simulated arm, camera and policy in this process.

    Args:
        bundle: Folder of the policy.
        keeps: Keep the rollouts in `episodes`.
        shift: Where the camera stands, relative to where it usually does.
    """

    def __init__(
        self, bundle: Path, *, keeps: bool = False, shift: CameraShift = NO_SHIFT
    ) -> None:
        from ptr_policy_node.policy import load_bundle
        from widowx_bringup.arm.controller import EefController
        from widowx_bringup.arm.kinematics import Kinematics
        from widowx_bringup.sim.simulated_devices import SimulatedArm, SimulatedCamera
        from widowx_bringup.sim.world import World

        # The software renderer must not start threads of its own.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        self._policy = load_bundle(bundle, rate=CONTROL_RATE)
        self._keeps = keeps
        self.episodes: list[Episode] = []  # of the rollouts, as the policy saw them
        camera = self._policy.info.camera
        self._world = World(shift=shift)
        self._controller = EefController(SimulatedArm(self._world), Kinematics())
        self._camera = SimulatedCamera(
            self._world, camera.name, camera.width, camera.height, rate=30.0
        )

    def run(self, rollout: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """Carry out one rollout; see `Runner`."""
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
        if self._keeps:
            self.episodes.append(as_seen(episode, policy.info, rollout.rollout))
        steps = len(episode.requested)
        reason = "solved" if episode.success else f"not solved within {max_steps} steps"
        done = replace(
            rollout,
            success=episode.success,
            steps=steps,
            duration=steps / CONTROL_RATE,
            clipped=counts.clipped,
            rejected=counts.rejected,
            reason=reason,
            score=1.0 if episode.success else self._world.score(),
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
        """Carry out one rollout; see `Runner`."""
        try:
            before = self._session.counters()
            result = self._session.run_episode(rollout.task, rollout.layout_seed, max_steps)
            after = self._session.counters()
        except (EpisodeError, NodeDiedError) as error:
            raise SessionLostError(str(error)) from error
        clipped, held, rejected = np.subtract(after, before).tolist()
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
            aborted=result.aborted,
        )
        if done.aborted:  # perhaps no image was recorded
            return replace(done, strip=""), []
        return done, read_images(result.bag, self._session.values["camera"])


@contextlib.contextmanager
def open_runner(
    method: Method,
    out: Path,
    arguments: Mapping[str, str],
    *,
    over_ros: bool,
    keeps: bool = False,
) -> Iterator[Runner]:
    """Yield the runner of one method; its nodes are started before and ended afterwards.

    In this process, its rollouts are an episode store `episodes/NAME` after a good end, if they
    are to be kept; over ROS they are bags anyway.

    Args:
        method: The policy.
        out: Folder of the results.
        arguments: Further arguments of the graph, over ROS; in this process `camera_rise` and
            `camera_turn` count.
        over_ros: Run a graph of nodes; otherwise run in this process.
        keeps: Write the store, without ROS.
    """
    from ptr_policy_node.bundle import read_info

    info = read_info(method.bundle)
    if not over_ros:
        shift = CameraShift.of_arguments(arguments)
        in_process = InProcessRunner(method.bundle, keeps=keeps, shift=shift)
        yield in_process
        if keeps:
            write_episodes(in_process.episodes, info, out / "episodes" / method.name)
        return
    from widowx_bringup.graph.session import open_session

    camera = info.camera
    values = {
        "policy": str(method.bundle),
        "camera": camera.name,
        "width": str(camera.width),
        "height": str(camera.height),
        **arguments,
        "bag_directory": str(out / "bags" / method.name),
    }
    with open_session("eval", values, _new_log(out / "log" / method.name)) as session:
        yield GraphRunner(session, out)


def _new_log(folder: Path) -> Path:
    """Return a folder for logs; those of a graph that failed are kept."""
    number = 1
    new = folder
    while new.exists():
        number += 1
        new = folder.with_name(f"{folder.name}-{number}")
    return new
