"""Runners of evaluation rollouts: over a ROS graph, or without ROS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ptr_common.errors import PtrError
from ptr_training.viewing.bag_timeline import read_bag
from widowx_bringup.graph.connection import EpisodeError
from widowx_bringup.graph.processes import NodeDiedError
from widowx_bringup.sim.camera_shift import CameraShift

from .film_strip import film_of, read_images
from .in_process import InProcessRunner, Kept, PooledRunner, RolloutPool
from .results import Rollout
from .rollout_store import write_episodes

if TYPE_CHECKING:
    from ptr_training.viewing.film import Film
    from widowx_bringup.graph.episode_runner import EpisodeRunner


@dataclass(frozen=True)
class Method:
    """A policy under evaluation."""

    name: str
    bundle: Path


class SessionLostError(PtrError):
    """The graph failed in a rollout, and must be started anew."""


class Runner(Protocol):
    """Carries out one rollout after the other with one policy.

    Attributes:
        film: Of the latest rollout; None where none is made.
    """

    film: Film | None

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


class GraphRunner:
    """Rollouts on a running graph of nodes, each recorded as a bag.

    Args:
        session: The graph.
        out: Folder of the results; bag paths are relative to it.
        films: Make a film of each rollout.

    Attributes:
        film: Of the latest rollout, if films are made.
    """

    def __init__(self, session: EpisodeRunner, out: Path, *, films: bool = False) -> None:
        self.film: Film | None = None
        self._session = session
        self._out = out
        self._films = films

    def run(
        self, rollout: Rollout, max_steps: int, name: str = ""
    ) -> tuple[Rollout, list[np.ndarray]]:
        """Carry out one rollout; see `Runner`.

        Args:
            rollout: The rollout without its outcome.
            max_steps: Longest rollout [control steps].
            name: Of the episode and its bag; empty: a UUID.
        """
        self.film = None
        try:
            before = self._session.counters()
            result = self._session.run_episode(
                rollout.task, rollout.layout_seed, max_steps, name=name
            )
            after = self._session.counters()
        except (EpisodeError, NodeDiedError) as error:
            raise SessionLostError(str(error)) from error
        clipped, held, rejected = np.subtract(after, before).tolist()
        done = replace(
            rollout,
            success=result.success,
            steps=result.steps,
            duration=result.duration,
            clipped=clipped,
            held=held,
            rejected=rejected,
            reason=result.reason,
            bag="" if result.bag is None else _relative(result.bag, self._out),
            aborted=result.aborted,
        )
        if done.aborted or result.bag is None:  # perhaps no image was recorded
            return replace(done, strip=""), []
        if self._films:
            self.film = film_of(rollout, partial(read_bag, result.bag))
        return done, read_images(result.bag, self._session.values["camera"])


def _relative(path: Path, folder: Path) -> str:
    """Return a path relative to a folder; one that lies outside of it stays as it is."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


class Runners:
    """The runner of a method, and another one in its place where the graph failed.

    Args:
        start: Starts a runner.
    """

    def __init__(
        self, start: Callable[[], contextlib.AbstractContextManager[Runner]]
    ) -> None:
        self._start = start
        self._stack = contextlib.ExitStack()
        self._runner: Runner | None = None

    def __enter__(self) -> Runners:
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    @property
    def film(self) -> Film | None:
        """Film of the latest rollout; None without one."""
        return self._runner.film if self._runner is not None else None

    def run(self, planned: Rollout, max_steps: int) -> tuple[Rollout, list[np.ndarray]]:
        """Carry out a rollout as `Runner.run` does; where the graph fails, it is aborted."""
        if self._runner is None:
            self._runner = self._stack.enter_context(self._start())
        try:
            return self._runner.run(planned, max_steps)
        except SessionLostError as error:
            self._runner = None
            self._stack.close()
            reason = str(error).partition("\n")[0]  # the log it names has the rest
            return replace(planned, aborted=True, reason=reason, strip=""), []


@dataclass(frozen=True)
class WithoutRos:
    """How rollouts run without ROS.

    Attributes:
        max_steps: Longest rollout [control steps].
        shift: Where the camera stands, relative to where it usually does.
        pool: Carries them out side by side; None: this process does, one after the other.
    """

    max_steps: int
    shift: CameraShift
    pool: RolloutPool | None = None


@contextlib.contextmanager
def prepare_without_ros(
    max_steps: int, shift: CameraShift, workers: int
) -> Iterator[WithoutRos]:
    """Yield how rollouts run without ROS; its processes are ended afterwards.

    Args:
        max_steps: Longest rollout [control steps].
        shift: Where the camera stands, relative to where it usually does.
        workers: Processes; 1: this one.
    """
    if workers == 1:
        yield WithoutRos(max_steps, shift)
        return
    with RolloutPool(workers) as pool:
        yield WithoutRos(max_steps, shift, pool)


@contextlib.contextmanager
def open_runner(
    method: Method,
    planned: Sequence[Rollout],
    out: Path,
    arguments: Mapping[str, str],
    without_ros: WithoutRos | None,
    *,
    keeps: bool = False,
    films: bool = False,
) -> Iterator[Runner]:
    """Yield the runner of one method; its nodes are started before and ended afterwards.

    Without ROS, its rollouts are an episode store `episodes/NAME` after a good end, if they
    are to be kept; over ROS they are bags anyway.

    Args:
        method: The policy.
        planned: The rollouts without their outcomes, in the order in which they are run.
        out: Folder of the results.
        arguments: Further arguments of the graph, over ROS.
        without_ros: How to run without ROS; None: run a graph of nodes.
        keeps: Write the store, without ROS.
        films: Make a film of each rollout.
    """
    from ptr_policy_node.bundle import read_info

    info = read_info(method.bundle)
    if without_ros is not None:
        kept = Kept(episodes=keeps, films=films)
        in_process = _runner_without_ros(method.bundle, planned, without_ros, kept)
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
        "run_task": "false",
        **arguments,
        "bag_directory": str(out / "bags" / method.name),
    }
    with open_session("eval", values, new_log(out / "log" / method.name)) as session:
        yield GraphRunner(session, out, films=films)


def _runner_without_ros(
    bundle: Path, planned: Sequence[Rollout], how: WithoutRos, kept: Kept
) -> InProcessRunner | PooledRunner:
    if how.pool is None:
        return InProcessRunner(bundle, kept=kept, shift=how.shift)
    return how.pool.runner(bundle, planned, how.max_steps, kept=kept, shift=how.shift)


def new_log(folder: Path) -> Path:
    """Return a folder for logs; those of a graph that failed are kept."""
    number = 1
    new = folder
    while new.exists():
        number += 1
        new = folder.with_name(f"{folder.name}-{number}")
    return new
