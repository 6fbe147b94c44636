"""What ends the episode of a goal: verdicts of others, holds, refusals, nodes that are lost."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticStatus

from ptr_common.topics import END_WORDS
from ptr_msgs.action import RunTask
from ptr_msgs.msg import ArmState, EpisodeEvent
from widowx_bringup.graph.connection import ANSWER_TIMEOUT
from widowx_bringup.graph.view import is_of_policy

from .link import TaskLink
from .task_end import TaskEnd

REPORT_TIMEOUT = 5.0
"""Longest time until a node says on /diagnostics what it does [s of real time]."""


class EpisodeWatch:
    """Looks for what ends a running episode, beside its time limit and its success.

    Args:
        link: The graph.
        episode_id: Identifier of the episode, which has just begun.
        records: Whether the graph has a recorder.
    """

    def __init__(self, link: TaskLink, episode_id: str, *, records: bool) -> None:
        self._link = link
        self._view = link.view
        self._id = episode_id
        self._records = records
        self._began = time.monotonic()
        # A hold from before START, which START ends in simulation; None: the arm did not hold.
        arm: ArmState = self._view.arm
        self._old_hold = arm.held if arm.status != ArmState.STATUS_OK else None
        self._hold: ArmState | None = None  # the state in which the arm began to hold
        self._held_at = 0.0

    def check(self) -> None:
        """Raise `TaskEnd` if something ends the episode."""
        self._check_events()
        self._check_policy()
        self._check_recorder()
        self._check_arm()
        if silent := self._link.silent_nodes():
            text = f"nothing is heard any more of {', '.join(silent)}"
            raise TaskEnd(RunTask.Result.TERMINATION_LOST, text)

    def _check_events(self) -> None:
        """Look whether somebody has judged the episode, or begun another one."""
        link = self._link
        if link.ended is not None and link.ended.episode_id == self._id:
            event = link.ended.event
            text = f"judged: {END_WORDS.get(event, f'event {event}')}"
            if link.ended.text:
                text += f" ({link.ended.text})"
            raise TaskEnd(RunTask.Result.TERMINATION_JUDGED, text, event, published=True)
        if link.running != self._id:
            text = f"episode {link.running!r} was begun by somebody else"
            raise TaskEnd(RunTask.Result.TERMINATION_ANOTHER, text, published=True)

    def _check_policy(self) -> None:
        """Look whether the policy refuses the episode, or does not act."""
        status, values = self._link.status("policy_node")
        is_error = status is not None and status.level == DiagnosticStatus.ERROR
        if status is not None and is_error and values.get("episode") == self._id:
            raise TaskEnd(RunTask.Result.TERMINATION_POLICY, status.message)
        if not self._view.executed and time.monotonic() - self._began > ANSWER_TIMEOUT:
            text = f"no command was executed for {ANSWER_TIMEOUT:g} s{self._view.reasons()}"
            raise TaskEnd(RunTask.Result.TERMINATION_POLICY, text)

    def _check_recorder(self) -> None:
        """Look whether the recorder refuses the episode, or says nothing of it."""
        if not self._records:
            return
        status, values = self._link.status("recorder_node")
        if status is None:
            return
        is_ours = values.get("episode_id") == self._id
        refuses = status.level == DiagnosticStatus.ERROR
        if refuses and (is_ours or repr(self._id) in status.message):
            raise TaskEnd(RunTask.Result.TERMINATION_RECORDER, status.message)
        if not is_ours and time.monotonic() - self._began > ANSWER_TIMEOUT:
            text = (
                f"the recorder does not say that it records the episode: {status.message}"
            )
            raise TaskEnd(RunTask.Result.TERMINATION_RECORDER, text)

    def _check_arm(self) -> None:
        """Look whether the arm holds; why, its entry in /diagnostics says a little later."""
        if self._view.restarted:
            text = f"the arm node was restarted: {self._view.restarted}"
            raise TaskEnd(RunTask.Result.TERMINATION_LOST, text)
        arm: ArmState = self._view.arm
        if self._hold is None:
            if arm.status == ArmState.STATUS_OK:
                self._old_hold = None
                return
            is_fresh = time.monotonic() - self._began < REPORT_TIMEOUT
            if arm.held == self._old_hold and is_fresh:  # the state is older than START
                return
            self._hold = arm
            self._held_at = time.monotonic()
        kind = self._view.hold_kind(self._hold.held)
        if not kind and time.monotonic() - self._held_at < REPORT_TIMEOUT:
            return
        of_policy = is_of_policy(kind, policy_waited=self._view.policy_waited)
        raise TaskEnd(
            RunTask.Result.TERMINATION_HELD,
            f"the arm held: {self._hold.reason}",
            EpisodeEvent.FAILURE if of_policy else EpisodeEvent.STOP,
            hold_kind=kind,
        )
