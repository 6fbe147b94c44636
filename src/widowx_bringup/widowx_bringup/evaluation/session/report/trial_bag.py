"""What the bag of a trial says of it, without the journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptr_common.cdr import stamp_of
from ptr_common.topics import (
    FAILURE,
    START,
    STOP,
    SUCCESS,
    TOPIC_ARM_STATE,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_POLICY_STATE,
    seed_of,
)
from ptr_training.bags.errors import BagError
from ptr_training.bags.reader import Bag
from widowx_bringup.evaluation.session.bag_names import trial_of
from widowx_bringup.replay.recording import arm_namespace, messages_of

VERDICTS = {SUCCESS: True, FAILURE: False}
"""Whether the task was solved, by the end event; any other end is no verdict."""

COUNTERS = ("clipped", "held", "rejected")
"""Counters of `ArmState`: what a bag adds to them is the trial's."""


@dataclass(frozen=True)
class TrialBag:
    """A trial as its bag has it."""

    path: Path
    number: int  # of the trial
    attempt: int  # a trial that does not count is tried again, from 1 on
    task: str
    layout_seed: int | None  # None: START names none
    bundles: frozenset[str]  # ids that the policy's states name
    success: bool | None  # None: it ended without a verdict
    steps: int  # commands executed up to the end event
    clipped: int
    held: int
    rejected: int
    stopped: bool = False  # by an event that leaves the verdict to somebody

    @property
    def has_verdict(self) -> bool:
        """Whether it ended with the task solved or not."""
        return self.success is not None


def read_trial_bag(path: Path) -> TrialBag:
    """Return what a bag says of its trial.

    Raises:
        PtrError: If it cannot be read to its end, or is the bag of no trial.
    """
    with Bag(path, check_crc=True) as bag:
        prefix = arm_namespace(bag)
        start, end = _events(bag, prefix + TOPIC_EPISODE_EVENT)
        named = trial_of(start.episode_id)
        if named is None:
            raise BagError(
                f"{path}: its episode {start.episode_id!r} is that of no trial, such as "
                "trial_0007_1; bags of something else belong into another folder"
            )
        states = [state for _, state in messages_of(bag, prefix + TOPIC_ARM_STATE)]
        if not states:
            raise BagError(f"{path} has no {TOPIC_ARM_STATE}: its counters are not known")
        policy = messages_of(bag, prefix + TOPIC_POLICY_STATE)
        counted = {}
        for name in COUNTERS:
            counted[name] = getattr(states[-1], name) - getattr(states[0], name)
        return TrialBag(
            *(path, *named),
            task=start.task,
            layout_seed=seed_of(start.text),
            bundles=frozenset(state.bundle_id for _, state in policy if state.bundle_id),
            success=VERDICTS.get(end.event) if end is not None else None,
            stopped=end is not None and end.event == STOP,
            steps=_executed(bag, prefix + TOPIC_EXECUTED, start, end),
            **counted,
        )


def _events(bag: Bag, topic: str) -> tuple[Any, Any]:
    """Return the START of a bag's only episode, and its end event or None.

    Raises:
        BagError: If it has no START, or several.
    """
    events = [event for _, event in messages_of(bag, topic)]
    starts = [event for event in events if event.event == START]
    if len(starts) != 1:
        raise BagError(f"{bag.path} has {len(starts)} START events; a trial has one")
    for event in events:
        if event.event != START and event.episode_id == starts[0].episode_id:
            return starts[0], event
    return starts[0], None


def _executed(bag: Bag, topic: str, start: Any, end: Any) -> int:
    """Return how many commands were executed from START to the end event, by their stamps.

    All count where there is no end event, or where the clock of its sender was another.
    """
    if not bag.counts[topic]:
        return 0
    stamps = [stamp_of(data) for _, _, data in bag.messages([topic])]
    if end is None or _ns(end) < _ns(start):
        return len(stamps)
    return sum(_ns(start) <= stamp <= _ns(end) for stamp in stamps)


def _ns(event: Any) -> int:
    """Return the stamp of an event [ns]."""
    stamp = event.header.stamp
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)
