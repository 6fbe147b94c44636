"""The stages `split` and `select`: which time and which commands belong to each episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptr_common.topics import DISCARD, FAILURE, START, SUCCESS

from .alignment import PERIOD_NS, Commands, match_executed
from .errors import BagError
from .reader import Bag
from .streams import MessageStatus, Stream
from .topics import BagStreams
from .verdicts import VERDICTS

OUTCOMES = {SUCCESS: "success", FAILURE: "failure"}
FOREVER = int(np.iinfo(np.int64).max) - PERIOD_NS


@dataclass(frozen=True)
class Span:
    """The time of one episode, and its labels."""

    id: str
    task: str
    start_ns: int  # stamp of the START event; 0 in a bag without events
    end_ns: int = FOREVER  # stamp of the event that ended it
    start_log: int = 0  # log times of these events [ns]
    end_log: int = FOREVER
    outcome: str = ""  # success, failure, stop, interrupted
    text: str = ""  # of the START event
    discarded: bool = False
    is_judged_later: bool = False  # the verdict is none of the bag


@dataclass(frozen=True)
class Selection:
    """The commands of one episode."""

    span: Span
    indices: np.ndarray  # (C,) into the stream of commands, ordered by stamp
    executed: np.ndarray  # (C,) into the stream of executed commands; -1: not executed
    commands: Commands


@dataclass(frozen=True)
class _CommandValues:
    """The decoded messages of a command topic."""

    actions: np.ndarray  # (n, 7), NaN for a damaged message
    observed: np.ndarray  # (n,) time of exposure of the image that each answers [ns], or 0


def split(streams: BagStreams, *, task: str, outcome: str) -> list[Span]:
    """Return the spans of the episodes that the events mark; the whole bag without events.

    Args:
        streams: The messages of the bag.
        task: Task of a bag that does not name it; empty if unknown.
        outcome: Outcome of a bag without the START of an episode, which is then one episode;
            empty if the user does not say it.

    Returns:
        The spans; none of a bag with events but no START whose outcome nobody says.

    Raises:
        BagError: If an episode has no task, or another one than the user says.
    """
    spans = []
    if streams.events is not None:
        spans = _split_at_events(streams, streams.events, task)
    outcome = streams.bag.custom.get("outcome", outcome)
    if not spans and (outcome or not streams.knows_events):
        name = streams.bag.custom.get("episode_id", streams.bag.name)
        whole = Span(name, _task(streams.bag, "", task), 0, outcome=outcome or "success")
        spans.append(whole)
    return spans


def judged(span: Span, verdicts: Mapping[str, str]) -> Span:
    """Return a span with what people said of it after its bag was closed.

    Args:
        span: As the bag says it.
        verdicts: Outcome by episode, of `read_verdicts`.

    Raises:
        BagError: If the bag has another verdict itself.
    """
    said = verdicts.get(span.id)
    own = "discarded" if span.discarded else span.outcome
    if said is None or said == own:
        return span
    if own in VERDICTS:
        raise BagError(
            f"the episode {span.id} is {own} by its bag and {said} by --verdicts; remove its line "
            "there, and say by `ptr review` what is not to be learnt from"
        )
    if said == "discarded":
        return replace(span, discarded=True, is_judged_later=True)
    return replace(span, outcome=said, is_judged_later=True)


def why_no_episode(streams: BagStreams) -> str:
    """Return why no episode is found in a bag, and what to do."""
    return (
        f"{streams.bag.path} knows episode events but holds no START: its recording began "
        "after it, or no episode was begun. Where the whole recording is one episode, say "
        "so with --outcome"
    )


def _split_at_events(streams: BagStreams, events: Stream, task: str) -> list[Span]:
    """Return the spans of the episodes that the events mark.

    Args:
        streams: The messages of the bag.
        events: Its events.
        task: Task of a bag that does not name it; empty if unknown.
    """

    spans: list[Span] = []
    running: Span | None = None
    for index in range(len(events.stamps)):  # in the order of the recording: causes first
        event = streams.decode(events, index)
        if event is None:
            continue
        stamp, log = int(events.stamps[index]), int(events.logs[index])
        is_running = running is not None and running.id == event.episode_id
        status = MessageStatus.USED
        if event.event == START and is_running:
            status = MessageStatus.DUPLICATE
        elif event.event == START:
            if running is not None:
                spans.append(replace(running, end_ns=stamp, end_log=log, outcome="stop"))
            event_task = _task(streams.bag, event.task, task)
            running = Span(
                event.episode_id, event_task, stamp, start_log=log, text=event.text
            )
        elif running is not None and is_running:
            spans.append(_ended(replace(running, end_log=log), stamp, event.event))
            running = None
        else:
            status = MessageStatus.UNMATCHED
        events.status[index] = status

    if running is not None:
        outcome = streams.bag.custom.get("outcome", "interrupted")
        spans.append(replace(running, outcome=outcome))
    return spans


def _ended(span: Span, stamp_ns: int, event: int) -> Span:
    """Return a running episode as an event of the same id ends it.

    Args:
        span: The running episode.
        stamp_ns: Stamp of the event [ns].
        event: Its kind, a number of ptr_msgs/msg/EpisodeEvent.
    """
    outcome = OUTCOMES.get(event, "stop")
    return replace(span, end_ns=stamp_ns, outcome=outcome, discarded=event == DISCARD)


def _task(bag: Bag, event_task: str, requested: str) -> str:
    """Return the task of an event, or without one that of the bag's custom data or the user.

    Args:
        bag: The recording.
        event_task: Task in the START event; empty where there is none.
        requested: Task that the user names; empty where none is named.

    Raises:
        BagError: If there is no task, or the user names another one than the bag.
    """
    recorded = event_task or bag.custom.get("task", "")
    if recorded and requested not in ("", recorded):
        raise BagError(
            f"{bag.path} says its task is {recorded!r}, --task says {requested!r}; "
            "leave it out"
        )

    if not recorded and not requested:
        raise BagError(f"{bag.path} does not say what was done; say it with --task")
    return recorded or requested


def select(streams: BagStreams, spans: Sequence[Span]) -> list[Selection]:
    """Return the commands of each episode and what the arm executed of them.

    Repeated commands are marked as duplicates, and those that are not finite as such.

    Args:
        streams: The messages of the bag.
        spans: The episodes.

    Returns:
        A selection for each span, in their order.
    """
    requested = _command_values(streams, streams.commands)
    executed = requested
    if streams.executed is not streams.commands:
        executed = _command_values(streams, streams.executed)
    order = _distinct(streams.commands)
    stamps = streams.commands.stamps[order]
    selections = []
    for span in spans:
        indices = order[(stamps >= span.start_ns) & (stamps <= span.end_ns)]
        matched = indices
        if streams.executed is not streams.commands:
            matched = _matched(streams, span, indices, requested, executed)
        missing = (matched < 0)[:, None]
        commands = Commands(
            stamps=streams.commands.stamps[indices],
            observed=requested.observed[indices],
            requested=requested.actions[indices],
            executed=np.where(missing, np.nan, executed.actions[matched]),
        )
        selections.append(Selection(span, indices, matched, commands))

    return selections


def _command_values(streams: BagStreams, stream: Stream) -> _CommandValues:
    """Return all commands of a stream; those that are not finite get that status.

    Args:
        streams: The messages of the bag.
        stream: Its commands or its executed commands.

    Returns:
        Values of all messages of the stream, in the order of the bag.
    """
    actions = np.full((len(stream.stamps), 7), np.nan)
    observed = np.zeros(len(stream.stamps), np.int64)
    if streams.from_states:  # actions are made of the states once these are decoded
        return _CommandValues(np.zeros_like(actions), observed)
    for index in range(len(stream.stamps)):
        message = streams.decode(stream, index)
        if message is None:
            continue
        actions[index] = message.action
        stamp = message.observation_stamp
        stamp_ns = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
        if stamp_ns:
            observed[index] = stamp_ns - streams.latency_ns
        if not np.isfinite(actions[index]).all():
            stream.status[index] = MessageStatus.NOT_FINITE

    return _CommandValues(actions, observed)


def _distinct(commands: Stream) -> np.ndarray:
    """Return the readable commands, ordered by stamp; only the first of equal stamps counts.

    The others are marked as duplicates.

    Returns:
        Indices into the stream, shape (C,).
    """
    order = commands.readable()
    repeated = np.flatnonzero(np.diff(commands.stamps[order]) == 0) + 1
    commands.mark(order[repeated], MessageStatus.DUPLICATE)
    return np.delete(order, repeated)


def _matched(
    streams: BagStreams,
    span: Span,
    indices: np.ndarray,
    requested: _CommandValues,
    executed: _CommandValues,
) -> np.ndarray:
    """Return for each command (C,) of an episode the index of its executed command, or -1.

    An executed command may follow the end of the episode by one period.

    Args:
        streams: The messages of the bag.
        span: The episode.
        indices: Its commands, shape (C,), ordered by stamp.
        requested: Values of all commands.
        executed: Values of all executed commands.

    Returns:
        Indices into the stream of executed commands, shape (C,).
    """
    order = streams.executed.readable()
    stamps = streams.executed.stamps[order]
    inside = order[(stamps >= span.start_ns) & (stamps <= span.end_ns + PERIOD_NS)]
    matches = match_executed(
        streams.commands.stamps[indices],
        requested.observed[indices],
        streams.executed.stamps[inside],
        executed.observed[inside],
    )
    return np.append(inside, -1)[matches]  # a match of -1 takes the last: -1
