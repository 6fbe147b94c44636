"""Runs the trials of a session that are missing, over a ROS graph or without ROS."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ptr_common.names import did_you_mean, find_task
from ptr_common.progress import progress
from widowx_bringup.evaluation.film_strip import can_film, write_film_strip
from widowx_bringup.evaluation.in_process import InProcessRunner
from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.runners import (
    GraphRunner,
    SessionLostError,
    new_log,
)
from widowx_bringup.sim.tasks import parse_task

from .attendance import UNATTENDED, SessionError
from .bag_names import new_name
from .plan import SessionPlan, Trial
from .session import Session
from .terminal import Terminal, open_terminal

if TYPE_CHECKING:
    from widowx_bringup.graph.episode_runner import EpisodeRunner
    from widowx_bringup.graph.policy_switch import PolicySwitch

    from .attended import AttendedRunner

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
        terminal: Of the person who attends.
        joins: Join a graph that runs already, rather than start one.
    """

    def __init__(
        self,
        plan: SessionPlan,
        out: Path,
        arguments: Mapping[str, str],
        terminal: Terminal,
        *,
        joins: bool,
    ) -> None:
        self._plan, self._out, self._arguments = plan, out, dict(arguments)
        self._terminal, self._joins = terminal, joins
        self._stack = contextlib.ExitStack()
        self._graph: tuple[GraphRunner | AttendedRunner, PolicySwitch] | None = None

    def check(self) -> None:
        """Start the graph, and see that its policy node takes the bundle of each method.

        Raises:
            SessionError: If it does not, or a node does not start.
        """
        from widowx_bringup.graph.connection import EpisodeError
        from widowx_bringup.graph.processes import NodeDiedError

        try:
            for bundle in self._plan.bundles.values():
                self._on_graph(bundle.absolute())
        except (EpisodeError, NodeDiedError) as error:
            raise SessionError(f"no trial was begun: {error}") from error

    def close(self) -> None:
        """End the nodes, or leave them."""
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

    def _on_graph(self, bundle: Path) -> GraphRunner | AttendedRunner:
        """Return the runner of the graph, which is started if there is none, with a bundle."""
        if self._graph is None:
            self._graph = self._open(bundle)
        runner, switch = self._graph
        switch.use(bundle)
        return runner

    def _open(self, bundle: Path) -> tuple[GraphRunner | AttendedRunner, PolicySwitch]:
        """Start or join the graph."""
        from ptr_policy_node.bundle import read_info
        from widowx_bringup.graph.policy_switch import PolicySwitch
        from widowx_bringup.graph.session import join_session, open_session

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
        if self._plan.attendance.by_person:  # teleoperation and consoles look there
            os.environ.setdefault("ROS_DOMAIN_ID", "0")
        if self._joins:
            opened = join_session("eval", values)
        else:
            opened = open_session("eval", values, new_log(self._out / "log"))
        session = self._stack.enter_context(opened)
        switch = PolicySwitch(session.graph, None if self._joins else bundle)
        return self._runner(session), switch

    def _runner(self, session: EpisodeRunner) -> GraphRunner | AttendedRunner:
        """Return what runs the trials on a graph."""
        attendance = self._plan.attendance
        if attendance == UNATTENDED:
            return GraphRunner(session, self._out)
        from .attended import AttendedEpisodes, AttendedRunner

        episodes = AttendedEpisodes(session.graph, self._terminal, attendance, self._out)
        films = attendance.by_person and can_film()
        return AttendedRunner(episodes, attendance, self._out, films=films)


@contextlib.contextmanager
def open_trial_runner(
    plan: SessionPlan,
    out: Path,
    arguments: Mapping[str, str],
    *,
    over_ros: bool,
    joins: bool = False,
) -> Iterator[TrialRunner]:
    """Yield what runs the trials of a plan; its nodes are ended afterwards.

    Args:
        plan: Of the session.
        out: Folder of its results.
        arguments: Further arguments of the graph.
        over_ros: Run a graph of nodes, rather than all in this process.
        joins: Join a graph that runs already, rather than start one.

    Raises:
        SessionError: If the graph does not start, or its policy node refuses a bundle.
    """
    if not over_ros:
        yield _WithoutRos(plan)
        return
    with open_terminal() as terminal:
        runner = _OverRos(plan, out, arguments, terminal, joins=joins)
        try:
            runner.check()
            yield runner
        finally:
            runner.close()


def check_plan(plan: SessionPlan, arguments: Mapping[str, str], *, over_ros: bool) -> None:
    """Refuse, before anything is locked or started, what cannot be carried out.

    Args:
        plan: Of the session.
        arguments: Further arguments of the graph.
        over_ros: Whether a graph of nodes is run.

    Raises:
        PtrError: Names what is wrong with a bundle, or with the plan.
    """
    _check_judge(plan, arguments, over_ros=over_ros)
    _check_bundles(plan)
    if over_ros:
        _check_cameras(plan)


def _check_bundles(plan: SessionPlan) -> None:
    """Read each method's bundle in full, and see that it knows the task.

    Raises:
        PtrError: If a file of it is missing or was altered, or it does not know the task.
    """
    from ptr_policy_node.bundle import read_bundle

    for name, bundle in plan.bundles.items():
        info = read_bundle(bundle, plan.methods[name]).info
        known = [*info.tasks, *info.aliases]
        if find_task(plan.task, known) is None:
            hint = did_you_mean(plan.task, known, quote=True)
            raise SessionError(
                f"methods.{name}: {bundle} has no task {plan.task!r}; {hint}"
            )


def _check_judge(
    plan: SessionPlan, arguments: Mapping[str, str], *, over_ros: bool
) -> None:
    """Refuse trials that nobody could judge or begin as the plan says.

    Raises:
        SessionError: If that is so.
    """
    if not over_ros:
        if plan.attendance != UNATTENDED:
            raise SessionError(
                "--in-process has no arm that goes to a start pose and nobody who judges; "
                "leave it out, or take judge, starts and placements out of the plan"
            )
        return
    if arguments.get("use_sim", "true") == "true":
        parse_task(plan.task)
    elif not plan.attendance.by_person:
        raise SessionError(
            "judge is checker, which only the simulation has; on a real arm a person judges: "
            "`judge: person` in the plan"
        )


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
