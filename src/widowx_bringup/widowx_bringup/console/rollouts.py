"""Episodes that another node began, such as those of `ptr evaluate` and `ptr session`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ptr_msgs.msg import EpisodeEvent, PolicyState


@dataclass(frozen=True)
class Episode:
    """An episode that runs.

    Attributes:
        name: Its identifier.
        task: Its task.
        began: When it was first heard of, on the monotonic clock [s].
    """

    name: str
    task: str
    began: float


class Rollouts:
    """Follows the episodes of the graph.

    Args:
        on_end: Receives the event that ends an episode.

    Attributes:
        running: The episode that runs; None if none does.
        task: Task of the newest episode or policy; empty before.
    """

    def __init__(self, on_end: Callable[[EpisodeEvent], object]) -> None:
        self.running: Episode | None = None
        self.task = ""
        self._ended = ""
        self._on_end = on_end

    def on_event(self, event: EpisodeEvent) -> None:
        """Note an event of any episode."""
        if event.event == EpisodeEvent.START:
            self.task = event.task
            self.running = Episode(event.episode_id, event.task, time.monotonic())
            return
        self._ended = event.episode_id
        if self.running is not None and self.running.name == event.episode_id:
            self.running = None
        self._on_end(event)

    def on_policy(self, state: PolicyState) -> None:
        """Note a running episode whose START was before this node's time."""
        self.task = state.task or self.task
        name = state.episode_id
        if name and self.running is None and name != self._ended:
            self.running = Episode(name, state.task, time.monotonic())
