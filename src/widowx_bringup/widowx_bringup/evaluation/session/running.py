"""Runs the trials of a session that are missing, over a ROS graph or without ROS."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ptr_common.progress import progress
from widowx_bringup.evaluation.film_strip import write_film_strip
from widowx_bringup.evaluation.in_process import InProcessRunner
from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.runners import GraphRunner, SessionLostError, new_log

from .bag_names import new_name
from .plan import SessionError, SessionPlan, Trial
from .session import Session

REPEATS = 2
"""Most repeats of a trial that ended for a cause outside the policy, in one run."""


class TrialRunner(Protocol):
    """Runs trials of any method."""

    def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list[np.ndarray]]:
        """Run a trial; see `runners.Runner.run`."""


class _WithoutRos:
    """Trials in this process."""

    def __init__(self, plan: SessionPlan) -> None:
        self._plan = plan
        self._runners: dict[str, InProcessRunner] = {}

    def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list[np.ndarray]]:
        if trial.method not in self._runners:
            bundle, shift = self._plan.bundles[trial.method], self._plan.camera_shift
            self._runners[trial.method] = InProcessRunner(bundle, shift=shift)
        return self._runners[trial.method].run(planned, self._plan.max_steps)


class _OverRos:
    """Trials on one graph, whose policy node changes its bundle between them.

    Args:
        plan: Of the session.
        out: Folder of its results.
        arguments: Further arguments of the graph.
    """

    def __init__(self, plan: SessionPlan, out: Path, arguments: Mapping[str, str]) -> None:
        self._plan, self._out, self._arguments = plan, out, dict(arguments)
        self._stack = contextlib.ExitStack()
        self._graph: tuple[GraphRunner, object] | None = None

    def close(self) -> None:
        """End the nodes."""
        self._graph = None
        self._stack.close()

    def run(self, trial: Trial, planned: Rollout) -> tuple[Rollout, list[np.ndarray]]:
        from widowx_bringup.graph.connection import EpisodeError
        from widowx_bringup.graph.processes import NodeDiedError

        bundle = self._plan.bundles[trial.method].absolute()
        try:
            runner = self._on_graph(bundle)
            name = new_name(self._out, trial.number)
            return runner.run(planned, self._plan.max_steps, name)
        except (SessionLostError, EpisodeError, NodeDiedError) as error:
            self.close()
            reason = str(error).partition("\n")[0]  # the log it names has the rest
            return replace(planned, aborted=True, reason=reason, strip=""), []

    def _on_graph(self, bundle: Path) -> GraphRunner:
        """Return the runner of the graph, which is started if there is none, with a bundle."""
        from ptr_policy_node.bundle import read_info
        from widowx_bringup.graph.policy_switch import PolicySwitch
        from widowx_bringup.graph.session import open_session

        if self._graph is None:
            camera = read_info(bundle).camera
            values = {
                "policy": str(bundle),
                "camera": camera.name,
                "width": str(camera.width),
                "height": str(camera.height),
                **self._plan.camera_shift.arguments(),
                "run_task": "false",
                **self._arguments,
                "bag_directory": str(self._out / "bags"),
            }
            opened = open_session("eval", values, new_log(self._out / "log"))
            session = self._stack.enter_context(opened)
            self._graph = GraphRunner(session, self._out), PolicySwitch(session.graph)
        runner, switch = self._graph
        assert isinstance(switch, PolicySwitch)
        switch.use(bundle)
        return runner


@contextlib.contextmanager
def open_trial_runner(
    plan: SessionPlan, out: Path, arguments: Mapping[str, str], *, over_ros: bool
) -> Iterator[TrialRunner]:
    """Yield what runs the trials of a plan; its nodes are ended afterwards."""
    if not over_ros:
        yield _WithoutRos(plan)
        return
    _check_cameras(plan)
    runner = _OverRos(plan, out, arguments)
    try:
        yield runner
    finally:
        runner.close()


def _check_cameras(plan: SessionPlan) -> None:
    """Refuse methods that need different cameras, which one graph does not have."""
    from ptr_policy_node.bundle import read_info

    cameras = {name: read_info(bundle).camera for name, bundle in plan.bundles.items()}
    if len(set(cameras.values())) > 1:
        shown = "; ".join(f"{name}: {camera}" for name, camera in cameras.items())
        raise SessionError(
            f"the methods want different cameras ({shown}); a session over ROS has one, so "
            "train them with the same, or use --in-process"
        )


def run_trials(session: Session, runner: TrialRunner) -> None:
    """Run the trials that are missing, each on disk before the next begins.

    Raises:
        SessionError: If a trial ends again and again for a cause outside the policy.
    """
    bar = progress(session.missing(), desc=session.plan.name, unit="trial")
    for trial in bar:
        for _ in range(REPEATS + 1):
            planned = session.planned(trial)
            session.start(trial)
            rollout, images = runner.run(trial, planned)
            if images:
                write_film_strip(session.folder / rollout.strip, images)
            session.end(trial, rollout)
            if not rollout.aborted:
                break
            text = f"trial {trial.number} does not count: {rollout.reason}"
            bar.write(text, file=sys.stderr)
        else:
            raise SessionError(
                f"trial {trial.number} was repeated {REPEATS} times, and each time ended for a "
                f"cause outside the policy, the last time: {rollout.reason}; mend that, and "
                "the same command goes on there"
            )
