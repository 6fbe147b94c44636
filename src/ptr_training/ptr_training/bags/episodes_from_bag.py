"""Bag to episodes in five stages: split, select, align, decode, settle.

`segments.py` holds the first two, `observations.py` the fourth.

How messages become steps (arithmetic in `alignment.py`):

- *Clock.* Header stamps count. A message without a stamp takes its log time, or is left out
  where log times are of another clock. `clock.py` decides whether the stamps of an episode
  may be believed: in the order of the file those of a topic do not step back, and at its
  arrival no message is stamped ahead of the arm's clock, nor most of a topic behind it.
- *Camera latency.* Where the bag, or the user, gives a camera latency, it is subtracted from
  the stamps of the images and from the image stamps in commands: from then on they are
  times of exposure.
- *Episodes* span from a START event to the next event of the same id. A START while
  another episode runs ends that one with outcome `stop`. A bag without a topic of events is
  one episode; one with the topic but no START only if its outcome is said.
- *Steps.* Where commands come at the control rate or slower, each command is one step. Its
  observation is the newest image and the newest arm state that are not later than the image
  the command answers (`observation_stamp`); without one, not later than the command. After
  more than 1.5 periods without a command the arm is assumed to have held still: steps
  without motion, gripper unchanged, one per period.
- *Grid.* Where the median interval is under 0.75 periods (say teleoperation at 30 Hz),
  steps are a grid of one period from the first command on. A step's action is the
  composition of the commands in its slot.
- *Last observation*: the newest one within a period after the last step's and not after the
  end event. Last commands that no new image follows are dropped.
- *Age.* An observation may be 0.4 s old. Commands from before the first one are dropped; an
  episode with a longer hole in its images or states is refused as a whole, because a
  transition across it never happened; so is one in which commands pause for an hour.
- *States as actions* (`--command states`), for a recording without commands: a step begins each
  period, and its action leads from the state it observes to the one that the next step observes
  (`state_actions.py`). Beyond the bounds of actions the executed one is clipped; an episode
  whose motions are usually longer than a step can be is refused.
- *Executed* commands belong to the request that answers the same image, or without one to
  the request they follow within a period. Where the arm executed nothing it stayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_common.topics import goal_of, seed_of
from ptr_training.data.episode import Episode
from ptr_training.data.step_check import why_no_steps

from .alignment import AlignmentError, Steps, align
from .audit import audit_topics
from .clock import mark_untimed, why_interrupted, why_wrong
from .errors import BagError
from .observations import NO_OBSERVATIONS, Observations, decode_observations
from .reader import Bag
from .segments import Selection, judged, select, split, why_no_episode
from .state_actions import actions_between
from .streams import MessageStatus
from .topics import BagStreams, read_streams


@dataclass(frozen=True)
class ReadOptions:
    """How to read bags, and what they do not say themselves."""

    image_size: int = 64  # height and width of the stored images [pixels]
    # name, topic or NAME=TOPIC; empty: the one the bag names, or its only one
    camera: str = ""
    camera_latency: float | None = None  # [s]; None: what the bag says, 0 without it
    command: str = (
        "executed"  # which command will be learnt from; states: those between states
    )
    task: str = ""  # of bags that do not name it
    outcome: str = ""  # of bags without the START of an episode
    # by episode, for those that the bag has no verdict on; see verdicts.py
    verdicts: Mapping[str, str] = field(default_factory=dict)
    check_crc: bool = True  # compare all chunks with their checksums
    threads: int = 1  # that decode and resize images


@dataclass(frozen=True)
class BagEpisodes:
    """The episodes of one bag."""

    episodes: list[Episode]
    camera: str
    camera_size: tuple[int, int]  # width, height [pixels]; (0, 0) if no image was needed
    audit: dict[str, Any]  # name, sha256, camera_latency [s], topics, episodes


@dataclass(frozen=True)
class Alignment:
    """The steps of one episode, or the reason why it has none."""

    selection: Selection
    steps: Steps | None  # images and states are indices into their streams
    refusal: str = ""  # empty for a discarded episode


def read_episodes(path: Path, options: ReadOptions) -> BagEpisodes:
    """Read all episodes of one bag.

    Raises:
        BagError: If the bag cannot be read, lacks images, commands or states, or does not
            name its task.
    """
    with Bag(path, check_crc=options.check_crc) as bag:
        streams = read_streams(
            bag,
            camera=options.camera,
            camera_latency=options.camera_latency,
            command=options.command,
        )
        mark_untimed(streams)
        found = split(streams, task=options.task, outcome=options.outcome)
        spans = [judged(span, options.verdicts) for span in found]
        selections = select(streams, spans)
        alignments, observations = _align_readable(streams, selections, options)
        settle(streams, alignments)
        audit = {
            "name": bag.name,
            "sha256": bag.digest(),
            "camera_latency": streams.latency_ns / 1e9,
            "topics": audit_topics(bag, streams.by_topic),
            "episodes": [_audit_entry(alignment) for alignment in alignments],
        }
        if streams.from_states:
            audit["actions"] = "from the next states"
        if not spans:
            audit["refused"] = why_no_episode(streams)
        episodes = []
        for alignment, frames in zip(alignments, observations.frames, strict=True):
            if alignment.steps is not None:
                episodes.append(
                    _episode(streams, alignment, alignment.steps, frames, observations)
                )
        size = _camera_size(streams, observations)
        return BagEpisodes(episodes, streams.camera, size, audit)


def _align_readable(
    streams: BagStreams, selections: Sequence[Selection], options: ReadOptions
) -> tuple[list[Alignment], Observations]:
    """Align and decode, until every image and state that steps observe is readable."""
    observations = NO_OBSERVATIONS
    while True:
        alignments = [align_span(streams, selection) for selection in selections]
        steps = [alignment.steps for alignment in alignments]
        observations = decode_observations(
            streams,
            steps,
            observations,
            image_size=options.image_size,
            threads=options.threads,
        )
        if observations.complete and streams.from_states:
            alignments = [_with_actions(each, observations) for each in alignments]
        if observations.complete:
            return alignments, observations


def _with_actions(alignment: Alignment, observations: Observations) -> Alignment:
    """Return the steps of an episode without commands with actions between their states."""
    steps = alignment.steps
    if steps is None:
        return alignment
    proprio = np.stack([observations.proprio[index] for index in steps.states.tolist()])
    actions = actions_between(proprio)
    if reason := why_no_steps(actions, proprio):
        return Alignment(alignment.selection, None, f"between its states, {reason}")
    clipped = np.clip(actions, ACTION_LOW, ACTION_HIGH)
    return replace(alignment, steps=replace(steps, requested=actions, executed=clipped))


def align_span(streams: BagStreams, selection: Selection) -> Alignment:
    """Return the steps of one episode, made of the images and states that are readable.

    Args:
        streams: The messages of the bag.
        selection: The commands of the episode.
    """
    if selection.span.discarded:
        return Alignment(selection, None)
    if reason := why_wrong(streams, selection):
        return Alignment(selection, None, reason)
    images = streams.images.readable()
    states = streams.states.readable()
    try:
        steps = align(
            selection.commands,
            streams.images.stamps[images],
            streams.states.stamps[states],
            selection.span.end_ns,
        )
    except AlignmentError as error:
        return Alignment(selection, None, str(error))

    steps = steps.renumbered(images, states)
    if reason := why_interrupted(streams, steps):
        return Alignment(selection, None, reason)
    return Alignment(selection, steps)


def settle(streams: BagStreams, alignments: Sequence[Alignment]) -> None:
    """Set the status of every message of the streams.

    Args:
        streams: The messages of the bag.
        alignments: The steps of every episode, or why it has none.
    """
    for alignment in alignments:
        _settle_span(streams, alignment)
    for alignment in alignments:
        if alignment.steps is not None:
            _settle_steps(streams, alignment.selection, alignment.steps)


def _settle_span(streams: BagStreams, alignment: Alignment) -> None:
    """Mark all messages of an episode's time as not used."""
    span = alignment.selection.span
    lost: MessageStatus | None = None
    if span.discarded:
        lost = MessageStatus.DISCARDED
    elif alignment.refusal:
        lost = MessageStatus.REFUSED

    for stream in (streams.images, streams.states):
        inside = stream.between(span.start_ns, span.end_ns)
        stream.mark(inside, lost or MessageStatus.SUPERSEDED)

    if streams.executed is not streams.commands:
        inside = streams.executed.between(span.start_ns, span.end_ns)
        streams.executed.mark(inside, lost or MessageStatus.UNMATCHED)

    if lost is not None:
        streams.commands.mark(alignment.selection.indices, lost)


def _settle_steps(streams: BagStreams, selection: Selection, steps: Steps) -> None:
    """Mark the messages that steps are made of, and the commands before and after them."""
    streams.images.mark(steps.images, MessageStatus.USED)
    streams.states.mark(steps.states, MessageStatus.USED)
    parts = {
        MessageStatus.EARLY: steps.early,
        MessageStatus.LATE: steps.late,
        MessageStatus.USED: steps.made,
    }
    for status, members in parts.items():
        executed = selection.executed[members]
        streams.executed.mark(executed[executed >= 0], status)
        streams.commands.mark(selection.indices[members], status)


def _episode(
    streams: BagStreams,
    alignment: Alignment,
    steps: Steps,
    frames: np.ndarray,
    observations: Observations,
) -> Episode:
    """Return the steps of a span with their observations as an episode.

    Args:
        streams: The messages of the bag.
        alignment: The span and its commands.
        steps: Its T steps.
        frames: Images of the steps, shape (T + 1, H, W, 3), uint8.
        observations: Arm states of the steps.
    """
    span = alignment.selection.span
    proprio = [observations.proprio[index] for index in steps.states.tolist()]
    return Episode(
        id=span.id,
        task=span.task,
        frames=frames,
        stamps_ns=streams.images.stamps[steps.images],
        proprio=np.stack(proprio),
        requested=steps.requested,
        executed=steps.executed,
        outcome=span.outcome,
        operator=streams.bag.custom.get("operator", ""),
        source=streams.bag.name,
        seed=seed_of(span.text),
    )


def _audit_entry(alignment: Alignment) -> dict[str, Any]:
    """Return the line of the audit about one episode."""
    span, steps = alignment.selection.span, alignment.steps
    entry: dict[str, Any] = {
        "id": span.id,
        "task": span.task,
        "outcome": span.outcome,
        "steps": 0,
    }
    if goal := goal_of(span.text):
        entry["goal_id"] = goal
    if span.is_judged_later:
        entry["judged"] = "later"
    if steps is None:
        entry["refused"] = alignment.refusal or "discarded by the operator"
        return entry

    entry["steps"] = len(steps)
    entry["held"] = sum(not len(members) for members in steps.members)
    entry["not executed"] = int(_rejected(alignment.selection)[steps.made].sum())
    return entry


def _rejected(selection: Selection) -> np.ndarray:
    """Return which commands (C,) of an episode the arm did not execute.

    It answers a command that no joint target exists for with a step without motion, and one
    that it refuses at once not at all.
    """
    wanted = selection.commands.requested[:, :6].any(1)
    stayed = (selection.commands.executed[:, :6] == 0).all(1)
    return (selection.executed < 0) | (wanted & stayed)


def _camera_size(streams: BagStreams, observations: Observations) -> tuple[int, int]:
    """Return width and height of the images used [pixels]; (0, 0) if there were none."""
    sizes = observations.image_sizes
    if len(sizes) > 1:
        listed = []
        for (width, height), index in sizes.items():
            listed.append(f"message {index} is {width}x{height}")
        raise BagError(
            f"{streams.bag.path}: {streams.images.topic}: {', '.join(listed)} pixels; "
            "a bag must keep one camera size"
        )
    return next(iter(sizes), (0, 0))
