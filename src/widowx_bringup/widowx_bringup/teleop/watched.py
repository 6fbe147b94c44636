"""The rollouts that a person judges: those begun here, and those that somebody else began."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from ptr_common.files import append_durably
from ptr_common.topics import END_WORDS
from ptr_msgs.msg import EpisodeEvent

from .mapping import Button

FILE = "verdicts.jsonl"
"""One line for each verdict, on disk before the next."""

VERDICTS = {
    Button.SAVE: EpisodeEvent.SUCCESS,
    Button.FAIL: EpisodeEvent.FAILURE,
    Button.DISCARD: EpisodeEvent.DISCARD,
}


class WatchedRollouts:
    """Counts verdicts, keeps them, and lets a person judge the rollouts of others.

    A rollout of somebody else, such as a trial of `ptr session`, waits for a verdict from its
    START until somebody gives one, also after it has ended by STOP.

    Args:
        own: Returns the identifier of the episode that was begun here; empty without one.
        publish: Publishes an event of an episode: identifier, event, task, text.
        show: Receives messages for the person.
        folder: Receives `FILE`; empty: verdicts are in the bags alone.

    Attributes:
        verdicts: Success of each rollout that was judged here.
        other: Identifier of somebody else's rollout without a verdict; empty if there is none.
    """

    def __init__(
        self,
        own: Callable[[], str],
        publish: Callable[[str, int, str, str], object],
        show: Callable[[str], object],
        folder: str,
    ) -> None:
        self.verdicts: list[bool] = []
        self.other = ""
        self._task = ""  # of the other one
        self._own = own
        self._publish = publish
        self._show = show
        self._file = Path(folder) / FILE if folder else None

    def on_event(self, event: EpisodeEvent) -> None:
        """Note what happens to the rollouts of others."""
        if event.event == EpisodeEvent.START and event.episode_id != self._own():
            self.begun(event.episode_id, event.task)
        elif self.other and event.episode_id == self.other:
            if event.event == EpisodeEvent.STOP:
                self._show("it has ended without a verdict; 2, 3 or 4 judges it")
            else:
                self.other = ""

    def begun(self, episode: str, task: str) -> None:
        """Note that somebody else has begun a rollout."""
        self.other, self._task = episode, task
        self._show(f"a rollout of somebody else: {task}")

    def judge_other(self, button: Button, reason: str = "") -> bool:
        """Judge somebody else's rollout; return whether there was one and the button does.

        Args:
            button: What the person pressed.
            reason: Why; empty: not said.
        """
        if button not in VERDICTS or not self.other:
            return False
        episode, self.other = self.other, ""
        self._publish(episode, VERDICTS[button], self._task, reason)
        self.keep(episode, VERDICTS[button], self._task)
        self._show(self.text(VERDICTS[button]))
        return True

    def keep(self, episode: str, event: int, task: str) -> None:
        """Count a verdict, and write it down.

        Args:
            episode: Identifier of the rollout, and name of its bag.
            event: SUCCESS, FAILURE or DISCARD.
            task: Name of its task.

        Raises:
            OSError: If it cannot be written.
        """
        if event != EpisodeEvent.DISCARD:
            self.verdicts.append(event == EpisodeEvent.SUCCESS)
        if self._file is None:
            return
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {"at": at, "episode": episode, "task": task, "verdict": END_WORDS[event]}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b", buffering=0) as file:
            append_durably(file, json.dumps(line).encode() + b"\n")

    def text(self, event: int) -> str:
        """Return what the person is told of a verdict that was kept."""
        won = sum(self.verdicts)
        return f"{END_WORDS[event]}: {won} of {len(self.verdicts)} rollouts succeeded"
