"""The actions that were requested of the arm in a recorded episode, whoever asked for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptr_common.topics import START, TOPIC_ARM_STATE, TOPIC_COMMAND, TOPIC_EPISODE_EVENT
from ptr_training.bags.reader import Bag

from .recording import ReplayError, arm_namespace, messages_of

SEED = re.compile(r"\bseed (\d+)\b")
"""How the START of a simulated episode names the seed of its scene."""


@dataclass(frozen=True)
class RequestedEpisode:
    """The commands of one episode.

    Attributes:
        id: Its identifier.
        task: Its task.
        seed: Seed of its scene; None if START names none.
        times_ns: Times of the commands after the first one, (n,) [ns].
        actions: Requested actions, (n, 7).
        start: Proprioception when it began, (7,).
    """

    id: str
    task: str
    seed: int | None
    times_ns: list[int]
    actions: np.ndarray
    start: np.ndarray

    @property
    def duration(self) -> float:
        """Time from the first command to the last [s]."""
        return self.times_ns[-1] * 1e-9


def read_requested(bag: Bag, episode: str) -> RequestedEpisode:
    """Return the commands of an episode in the order of their stamps.

    Args:
        bag: The recording.
        episode: Its identifier; empty: the bag's only one.

    Raises:
        ReplayError: If there is no such episode, the bag has several and none is named, or an
            action is not finite.
    """
    prefix = arm_namespace(bag)
    events = list(messages_of(bag, prefix + TOPIC_EPISODE_EVENT))
    starts = {
        event.episode_id: (stamp, event) for stamp, event in events if event.event == START
    }
    chosen = _choose(bag, list(starts), episode)
    start_ns, start = starts[chosen]
    ends = [stamp for stamp, event in events if stamp > start_ns]
    end_ns = min(ends, default=np.inf)
    commands = []
    for stamp, command in messages_of(bag, prefix + TOPIC_COMMAND):
        if start_ns <= stamp <= end_ns:
            commands.append((stamp, np.asarray(command.action, np.float64)))
    commands.sort(key=lambda command: command[0])
    actions = np.array([action for _, action in commands])
    if not len(actions) or not np.isfinite(actions).all():
        what = "no command" if not len(actions) else "a command that is not finite"
        raise ReplayError(f"{bag.path}: episode {chosen} has {what}; nothing can be played")
    first_ns = commands[0][0]
    seed = SEED.search(start.text)
    return RequestedEpisode(
        id=chosen,
        task=start.task,
        seed=int(seed[1]) if seed else None,
        times_ns=[stamp - first_ns for stamp, _ in commands],
        actions=actions,
        start=_start_of(bag, prefix, first_ns),
    )


def _choose(bag: Bag, ids: list[str], episode: str) -> str:
    """Return the identifier of an episode of a bag."""
    if episode in ids or (not episode and len(ids) == 1):
        return episode or ids[0]
    found = ", ".join(ids) or "none"
    if episode:
        raise ReplayError(f"{bag.path} has no episode {episode!r}; it has: {found}")
    raise ReplayError(f"{bag.path} has {len(ids)} episodes, name one by --episode: {found}")


def _start_of(bag: Bag, prefix: str, first_ns: int) -> np.ndarray:
    """Return the proprioception of the latest arm state before the first command, (7,)."""
    latest: Any = None
    for stamp, state in messages_of(bag, prefix + TOPIC_ARM_STATE):
        if stamp <= first_ns or latest is None:
            latest = state
    if latest is None:
        raise ReplayError(f"{bag.path} has no {prefix + TOPIC_ARM_STATE}")
    return np.asarray(latest.proprio, np.float64)
