"""What a person says of a trial: on the topic of episode events, or at the session's terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .attendance import Attendance
from .terminal import Terminal, numbered

if TYPE_CHECKING:
    from widowx_bringup.graph.connection import GraphConnection

KEYS = {"s": "SUCCESS", "f": "FAILURE", "d": "DISCARD"}
"""Key of each verdict, by the name of its constant in `EpisodeEvent`."""

KEYS_TEXT = "s success  f failure  d discard"

UNSAID = "no reason given"
"""Reason of a failure or a discard for which nobody gave one."""

_STAGE = re.compile(r"(?:(?P<reason>.*);\s*)?stage (?P<stage>[^;]+)")


@dataclass(frozen=True)
class Judgement:
    """What a person said of a trial.

    Attributes:
        event: SUCCESS, FAILURE or DISCARD of `EpisodeEvent`.
        reason: Why, for a failure or a discard; empty if it was not said.
        stage: How far the trial came; empty if it was not said.
    """

    event: int
    reason: str = ""
    stage: str = ""


def judgement_of(event: Any) -> Judgement:
    """Return what the end event of an episode says of it.

    Its text is the reason; `; stage NAME` behind it says how far the trial came.
    """
    text = event.text.strip()
    if found := _STAGE.fullmatch(text):
        return Judgement(
            event.event, (found["reason"] or "").strip(), found["stage"].strip()
        )
    return Judgement(event.event, text)


def verdicts_among(events: Sequence[Any]) -> list[Any]:
    """Return the events of an episode that judge it, oldest first."""
    return [
        event
        for event in events
        if event.event in (event.SUCCESS, event.FAILURE, event.DISCARD)
    ]


class Judge:
    """Takes the verdict of a person, from whoever gives it first.

    Args:
        graph: Connection to the graph.
        terminal: Of this process.
        attendance: Reasons and stages of the plan.
    """

    def __init__(
        self, graph: GraphConnection, terminal: Terminal, attendance: Attendance
    ) -> None:
        self._graph = graph
        self._terminal = terminal
        self._attendance = attendance

    def by_key(self, key: str) -> Judgement | None:
        """Return the verdict of a key; None if it is none."""
        from ptr_msgs.msg import EpisodeEvent

        name = KEYS.get(key.lower()) if key else None
        return Judgement(getattr(EpisodeEvent, name)) if name else None

    def by_event(self) -> Judgement | None:
        """Return the first verdict on the episode that was begun last; None without one."""
        found = verdicts_among(self._graph.ends)
        return judgement_of(found[0]) if found else None

    def settle(self, given: Judgement | None, why: str) -> Judgement:
        """Return a complete verdict; a person is asked for what it lacks.

        Nobody else decides: without a verdict this waits for one.

        Args:
            given: What was said while the trial ran; None if nothing was.
            why: Why the trial ended without it.
        """
        if given is None:
            self._terminal.show(f"{why}; how did it end?  {KEYS_TEXT}")
            given = self._ask(lambda key: self.by_event() or self.by_key(key))
        return self._complete(given)

    def _complete(self, given: Judgement) -> Judgement:
        """Return a verdict with reason and stage; the terminal is asked for those of a failure."""
        from ptr_msgs.msg import EpisodeEvent

        terminal, attendance = self._terminal, self._attendance
        if given.event == EpisodeEvent.SUCCESS:
            last = attendance.stages[-1] if attendance.stages else ""
            return replace(given, stage=given.stage or last)
        if given.event == EpisodeEvent.DISCARD:
            return replace(given, reason=given.reason or UNSAID)
        if terminal.present and not given.reason and attendance.reasons:
            terminal.show(f"why?  {numbered(attendance.reasons)}")
            reason = self._ask(lambda key: terminal.choice(key, attendance.reasons))
            given = replace(given, reason=reason)
        if terminal.present and not given.stage and attendance.stages:
            terminal.show(
                f"how far did it come?  {numbered(attendance.stages)}  0 not at all"
            )
            stage = self._ask(lambda key: terminal.choice(key, attendance.stages))
            given = replace(given, stage=stage)
        return replace(given, reason=given.reason or UNSAID)

    def _ask(self, answer: Callable[[str], Any]) -> Any:
        """Wait, as long as it takes, until a key or an event is an answer.

        Args:
            answer: Returns it for a key, which may be empty; None if it is none.
        """
        found: list[Any] = []

        def answered() -> bool:
            value = answer(self._terminal.key())
            if value is not None:
                found.append(value)
            return bool(found)

        self._graph.wait(answered, math.inf, "")
        return found[0]
