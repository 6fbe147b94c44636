"""How the episode of a goal ended: outcome, termination, and the event that says so."""

from __future__ import annotations

from ptr_common.errors import PtrError
from ptr_msgs.action import RunTask
from ptr_msgs.msg import EpisodeEvent

OUTCOMES = {
    EpisodeEvent.SUCCESS: RunTask.Result.OUTCOME_SUCCESS,
    EpisodeEvent.FAILURE: RunTask.Result.OUTCOME_FAILURE,
    EpisodeEvent.STOP: RunTask.Result.OUTCOME_STOPPED,
    EpisodeEvent.DISCARD: RunTask.Result.OUTCOME_NONE,
}
"""Outcome of an episode that ends with an event."""

REGULAR = (
    RunTask.Result.TERMINATION_SOLVED,
    RunTask.Result.TERMINATION_JUDGED,
    RunTask.Result.TERMINATION_TIME_LIMIT,
)
"""Terminations of an episode that took its course, whatever its outcome."""


class TaskEnd(PtrError):  # noqa: N818  # a solved task is no error
    """The end of a goal's episode; raised where it is noticed, whatever waits for what.

    Args:
        termination: One of the constants of `RunTask.Result`.
        text: The same for people.
        event: The event that ends the episode, if it has begun.
        hold_kind: Why the arm holds, if that ended it.
        published: Whether somebody else has published an end already.
    """

    def __init__(
        self,
        termination: str,
        text: str,
        event: int = EpisodeEvent.STOP,
        *,
        hold_kind: str = "",
        published: bool = False,
    ) -> None:
        super().__init__(text)
        self.termination = termination
        self.event = event
        self.hold_kind = hold_kind
        self.published = published
