"""Trials that a person attends: matched starts before them, verdicts of people at their end."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptr_training.viewing.bag_timeline import read_bag
from ptr_training.viewing.timeline import Timeline, no_series
from widowx_bringup.evaluation.film_strip import film_of
from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.runners import GraphRunner
from widowx_bringup.graph.connection import ANSWER_TIMEOUT, EpisodeError
from widowx_bringup.graph.episode_runner import EpisodeRunner, Verdict, limit_ns

from .attendance import PERSON, Attendance
from .judging import KEYS_TEXT, UNSAID, Judge, Judgement
from .matched_start import MatchedStart, Residual, StartMissedError
from .terminal import Terminal

if TYPE_CHECKING:
    from widowx_bringup.graph.connection import GraphConnection

LOOK_PERIOD = 0.1
"""Longest time between two looks at the terminal's keys [s]."""


class AttendedEpisodes(EpisodeRunner):
    """Episodes that begin at a matched start, and that a person judges if the plan says so.

    Args:
        graph: Connection to the graph.
        terminal: Of this process.
        attendance: What the plan says of it.
        folder: Of the session.

    Attributes:
        scene: Index of the scene of the next episode.
        residual: How far the arm stood from its start pose at the latest start; None: no pose.
        given: The verdict on the latest episode; None if nobody gave one while it ran.
        why: Why the latest episode ended without a verdict.
    """

    def __init__(
        self,
        graph: GraphConnection,
        terminal: Terminal,
        attendance: Attendance,
        folder: Path,
    ) -> None:
        from std_srvs.srv import Trigger

        super().__init__(graph)
        self.scene = 0
        self.residual: Residual | None = None
        self.given: Judgement | None = None
        self.why = ""
        self.judge = Judge(graph, terminal, attendance)
        self._by_person = attendance.by_person
        self._terminal = terminal
        self._start = MatchedStart(graph, terminal, attendance, folder)
        self._hold = graph.client(Trigger, "arm/hold")

    def reset(self, task: str, seed: int) -> None:
        """Bring arm and scene to where the episode begins; a simulated scene is drawn first.

        Raises:
            StartMissedError: If the arm does not come to its start pose.
            EpisodeError: If the graph does not answer.
        """
        self.residual, self.given, self.why = None, None, ""
        if self.values["use_sim"] == "true":
            super().reset(task, seed)
        self.residual = self._start.prepare(self.scene)
        if self._by_person:
            self._terminal.show(f"it runs: {KEYS_TEXT}  SPACE stops the arm")

    def watch(self, start_ns: int, max_steps: int) -> Verdict:
        """Wait until a person judges the episode, or it ends without that."""
        if not self._by_person:
            return super().watch(start_ns, max_steps)
        graph = self.graph
        graph.wait(
            lambda: graph.executed or graph.ends, ANSWER_TIMEOUT, "no command was executed"
        )
        while True:
            steps = graph.executed
            if verdict := self._said() or self._ended(start_ns, max_steps):
                return verdict
            with contextlib.suppress(EpisodeError):
                graph.wait(partial(self._moved_on, steps), LOOK_PERIOD, "")

    def _moved_on(self, steps: int) -> bool:
        """Return whether there is something new since so many steps."""
        return bool(self.graph.ends) or self.graph.executed > steps

    def _said(self) -> Verdict | None:
        """Return the verdict of a person, by event or key; None if there is none."""
        from ptr_msgs.msg import EpisodeEvent

        if self.graph.ends:
            self.given = self.judge.by_event()
            if self.given is None:
                self.why = f"somebody ended it: {self.graph.ends[0].text or 'no reason'}"
                return Verdict(False, self.why, event=EpisodeEvent.STOP, published=True)
            return self._verdict(self.given, published=True)
        key = self._terminal.key()
        if key == " ":
            self._stop_arm()
        self.given = self.judge.by_key(key)
        return self._verdict(self.given, published=False) if self.given else None

    def _verdict(self, given: Judgement, *, published: bool) -> Verdict:
        from ptr_msgs.msg import EpisodeEvent

        return Verdict(
            given.event == EpisodeEvent.SUCCESS,
            given.reason,
            aborted=given.event == EpisodeEvent.DISCARD,
            event=given.event,
            published=published,
        )

    def _stop_arm(self) -> None:
        from std_srvs.srv import Trigger

        answer = self.graph.call(self._hold, Trigger.Request())
        self._terminal.show(str(answer.message))

    def _ended(self, start_ns: int, max_steps: int) -> Verdict | None:
        """Return how the episode has ended without a verdict; None if it goes on.

        A hold that is not the policy's doing says nothing about it; otherwise a person is asked.
        """
        from ptr_msgs.msg import EpisodeEvent

        graph = self.graph
        arm = graph.arm_state()
        if arm.status != arm.STATUS_OK:
            if not self.is_of_policy(arm):
                return Verdict(False, arm.reason, aborted=True)
            self.why = f"the arm holds because of the policy: {arm.reason}"
        elif graph.executed >= max_steps:
            self.why = f"time is over, after {max_steps} steps"
        elif graph.now_ns() - start_ns > limit_ns(max_steps):
            self.why = f"time is over, after {graph.executed} of {max_steps} steps"
        else:
            return None
        return Verdict(False, self.why, event=EpisodeEvent.STOP)


class AttendedRunner:
    """Trials on one graph, with a person beside it.

    Args:
        episodes: Runs them.
        attendance: What the plan says of it.
        out: Folder of the session.
        films: Make a film of each trial, for raters.
    """

    def __init__(
        self, episodes: AttendedEpisodes, attendance: Attendance, out: Path, *, films: bool
    ) -> None:
        self._episodes = episodes
        self._attendance = attendance
        self._out = out
        self._films = films
        self._runner = GraphRunner(episodes, out)

    def run(
        self, planned: Rollout, max_steps: int, name: str
    ) -> tuple[Rollout, list[np.ndarray]]:
        """Run a trial; see `GraphRunner.run`."""
        episodes = self._episodes
        episodes.scene = planned.rollout
        try:
            done, images = self._runner.run(planned, max_steps, name)
        except StartMissedError as error:
            void = replace(planned, aborted=True, reason=str(error), strip="")
            return _with_residual(void, error.residual), []
        done = _with_residual(done, episodes.residual)
        if self._attendance.by_person:
            done = self._judged(done)
        if done.aborted:
            return done, []
        if self._films and done.bag:
            self._write_film(done)
        return done, images

    def _write_film(self, done: Rollout) -> None:
        """Write the film of a trial, as a rater may see it."""
        film = film_of(done, partial(blind_timeline, self._out / done.bag))
        if film is not None:
            page = self._out / done.film
            film.write(page.parent, page.stem)

    def _judged(self, done: Rollout) -> Rollout:
        """Return a trial with the verdict of a person."""
        from ptr_msgs.msg import EpisodeEvent

        episodes = self._episodes
        if done.aborted and episodes.given is None:  # for a cause outside the policy
            return done
        said = episodes.judge.settle(episodes.given, episodes.why)
        success = said.event == EpisodeEvent.SUCCESS
        discarded = said.event == EpisodeEvent.DISCARD
        return replace(
            done,
            success=success,
            aborted=discarded,
            reason=said.reason or ("success" if success else UNSAID),
            stage=said.stage,
            judge=PERSON,
            strip="" if discarded else done.strip,
        )


def blind_timeline(bag: Path) -> Timeline:
    """Return what a rater may see of a bag: neither what was said of it nor the policy's Q."""
    return replace(read_bag(bag), outcome="", marks=[], q=no_series(2))


def _with_residual(rollout: Rollout, residual: Residual | None) -> Rollout:
    """Return a trial with how far the arm stood from its start pose."""
    if residual is None:
        return rollout
    return replace(
        rollout, residual_position=residual.position, residual_rotation=residual.rotation
    )
