"""Decides which stamps of a recording may be believed; everything else takes them as they are.

Stamps of several devices are compared with those of the arm states that arrived at the same
time. Only differences count, so that simulated time at any speed is as good as the time of
day. The log times say in which order messages of different topics arrived; within a topic
the order of the file says it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .alignment import MAX_AGE_NS, PERIOD_NS, Steps
from .segments import FOREVER, Selection, Span
from .streams import UNREADABLE, MessageStatus, Stream
from .topics import BagStreams

MAX_STEP_BACK_NS = 50_000_000
"""Largest step back within a topic [ns]: drivers that estimate stamps make some of a few ms."""

MAX_AHEAD_NS = 100_000_000
"""How far a stamp may be ahead of the arm's clock when its message arrives [ns]."""

MAX_ANSWER_NS = MAX_AGE_NS + PERIOD_NS
"""How old the image may be that a command answers: observed, and computed for a period [ns]."""

SAME_CLOCK_NS = 1_000_000_000
"""Difference up to which stamps and log times count as those of one clock [ns]."""

EPOCH_NS = 86_400 * 1_000_000_000
"""Difference from which two clocks do not even count from the same moment [ns]."""


@dataclass(frozen=True)
class ArmClock:
    """The time of the arm when messages of other topics arrived."""

    logs: np.ndarray  # (S,) log times of the arm states, ascending [ns]
    stamps: np.ndarray  # (S,) their stamps [ns]

    @classmethod
    def of(cls, states: Stream) -> ArmClock:
        """Return the clock that the readable arm states of a recording show."""
        readable = np.flatnonzero(~np.isin(states.status, UNREADABLE))
        order = readable[np.argsort(states.logs[readable], kind="stable")]
        if not np.ptp(states.logs[order] if len(order) else [0]):
            order = order[:0]  # all log times are equal: they say nothing about arrival
        return cls(states.logs[order], states.stamps[order])

    def __len__(self) -> int:
        return len(self.logs)

    def ahead(self, stamps: np.ndarray, logs: np.ndarray) -> np.ndarray:
        """Return how far stamps are ahead of the clock at their arrival, shape (n,) [ns].

        A stamp is compared with the next arm state, and with the promptest of all: a state
        that was delayed itself accuses nobody.

        Args:
            stamps: Shape (n,) [ns].
            logs: Log times of the same messages, shape (n,) [ns].
        """
        after = np.minimum(np.searchsorted(self.logs, logs), len(self) - 1)
        promptest = (self.stamps - self.logs).max()
        return np.minimum(stamps - self.stamps[after], stamps - logs - promptest)

    def behind(self, stamps: np.ndarray, logs: np.ndarray) -> np.ndarray:
        """Return how much older stamps are than the arm state before them, shape (n,) [ns].

        Args:
            stamps: Shape (n,) [ns].
            logs: Log times of the same messages, shape (n,) [ns].
        """
        before = np.searchsorted(self.logs, logs, side="right") - 1
        return self.stamps[np.maximum(before, 0)] - stamps


def mark_untimed(streams: BagStreams) -> None:
    """Mark messages that have neither a stamp nor a log time of the clock of the stamps.

    Nodes send them before the first `/clock` of a simulation.
    """
    states = streams.states
    stamped = ~states.unstamped & ~np.isin(states.status, UNREADABLE)
    if not stamped.any():
        return
    difference = np.median(states.stamps[stamped] - states.logs[stamped])
    if abs(difference) <= SAME_CLOCK_NS:
        return
    for stream in streams.by_topic.values():
        stream.mark(np.flatnonzero(stream.unstamped), MessageStatus.UNTIMED)


def why_wrong(streams: BagStreams, selection: Selection) -> str:
    """Return why the stamps of an episode cannot be believed, "" if they can.

    Args:
        streams: The messages of the bag.
        selection: The episode and its commands.
    """
    span = selection.span
    if span.end_ns < span.start_ns:
        seconds = (span.start_ns - span.end_ns) / 1e9
        return f"it ends {seconds:.2f} s before it starts: a clock was set back meanwhile"
    clock = ArmClock.of(streams.states)
    reason = _wrong_events(clock, span) if len(clock) else ""
    timed = [streams.images, streams.commands, streams.states]
    if streams.executed is not streams.commands:
        timed.append(streams.executed)
    for stream in timed:
        if reason:
            return reason
        latency_ns = streams.latency_ns if stream is streams.images else 0
        if stream is not streams.states and len(clock):
            reason = _wrong_clock(stream, latency_ns, clock, span)
        reason = reason or _set_back(stream, span)
    return reason or _wrong_answers(streams, selection)


def why_interrupted(streams: BagStreams, steps: Steps) -> str:
    """Return which observations are missing for too long within some steps, "" if none is.

    Args:
        streams: The messages of the bag.
        steps: Images and states are indices into their streams.
    """
    for stream, used in ((streams.images, steps.images), (streams.states, steps.states)):
        first, last = stream.stamps[used[0]], stream.stamps[used[-1]]
        inside = stream.stamps[stream.readable()]
        inside = inside[(inside >= first) & (inside <= last)]
        gaps = np.diff(inside)
        if len(gaps) and gaps.max() > MAX_AGE_NS:
            start = int(np.argmax(gaps))
            return (
                f"nothing on {stream.topic} for {gaps[start] / 1e9:.2f} s, "
                f"{(inside[start] - first) / 1e9:.2f} s after its first step; "
                f"at most {MAX_AGE_NS / 1e9:.1f} s are allowed"
            )
    return ""


def _wrong_events(clock: ArmClock, span: Span) -> str:
    """Return why the events of an episode are not of the arm's clock, "" if they are."""
    for name, stamp, log in (
        ("START", span.start_ns, span.start_log),
        ("end", span.end_ns, span.end_log),
    ):
        if not log or stamp == FOREVER or not clock.logs[0] <= log <= clock.logs[-1]:
            continue
        ahead = clock.ahead(np.array([stamp]), np.array([log]))[0]
        behind = clock.behind(np.array([stamp]), np.array([log]))[0]
        if max(ahead, behind) > MAX_AGE_NS:
            return f"its {name} event is stamped {_apart(ahead, behind)}"
    return ""


def _wrong_clock(stream: Stream, latency_ns: int, clock: ArmClock, span: Span) -> str:
    """Return why the stamps of a stream are not of the arm's clock, "" if they are.

    Args:
        stream: Images or commands.
        latency_ns: What was taken off its stamps [ns].
        clock: That of the arm.
        span: The episode.
    """
    readable = ~np.isin(stream.status, UNREADABLE)
    arrived = readable & (stream.logs >= span.start_log) & (stream.logs <= span.end_log)
    arrived &= (stream.logs >= clock.logs[0]) & (stream.logs <= clock.logs[-1])
    stamps = stream.stamps + latency_ns
    if arrived.any():
        ahead = np.median(clock.ahead(stamps[arrived], stream.logs[arrived]))
        behind = np.median(clock.behind(stamps[arrived], stream.logs[arrived]))
        if ahead > MAX_AHEAD_NS or behind > MAX_AGE_NS:
            return (
                f"its messages on {stream.topic} are stamped "
                f"{_apart(float(ahead), float(behind))}"
            )
    inside = np.flatnonzero(
        arrived & (stream.stamps >= span.start_ns) & (stream.stamps <= span.end_ns)
    )
    ahead_each = clock.ahead(stamps[inside], stream.logs[inside])
    if len(inside) and ahead_each.max() > MAX_AHEAD_NS:
        worst = int(np.argmax(ahead_each))
        return (
            f"message {inside[worst]} on {stream.topic} is stamped "
            f"{_apart(float(ahead_each[worst]), 0.0)}"
        )
    return ""


def _wrong_answers(streams: BagStreams, selection: Selection) -> str:
    """Return which command answers an image that was not there yet or too old, "" if none."""
    commands = selection.commands
    age = np.where(commands.observed != 0, commands.stamps - commands.observed, 0)
    wrong = (age < -MAX_AHEAD_NS) | (age > MAX_ANSWER_NS + streams.latency_ns)
    if not wrong.any():
        return ""
    index = int(np.argmax(wrong))
    return (
        f"command {index} answers an image of {-age[index] / 1e9:.2f} s after it; allowed are "
        f"{-(MAX_ANSWER_NS + streams.latency_ns) / 1e9:.1f} to {MAX_AHEAD_NS / 1e9:.1f} s"
    )


def _set_back(stream: Stream, span: Span) -> str:
    """Return where the stamps of a stream step back within an episode, "" if they do not."""
    inside = stream.between(span.start_ns, span.end_ns)
    inside = inside[~np.isin(stream.status[inside], UNREADABLE)]
    back = -np.diff(stream.stamps[inside])
    if not len(back) or back.max() <= MAX_STEP_BACK_NS:
        return ""
    worst = int(np.argmax(back))
    return (
        f"the stamps on {stream.topic} step back by {back[worst] / 1e9:.2f} s at message "
        f"{inside[worst + 1]}: a clock was set during the recording; let it run evenly "
        "(chrony) and record again"
    )


def _apart(ahead: float, behind: float) -> str:
    """Return how far stamps are from the arm's clock [ns], with the cause and the remedy."""
    amount, side = (ahead, "ahead of") if ahead > behind else (behind, "behind")
    if amount > EPOCH_NS:
        return (
            f"{amount / 1e9:.0f} s {side} the arm states that arrived with it: "
            "a clock of another epoch; have the driver stamp with the computer's clock "
            "(RealSense: global_time_enabled) and record again"
        )
    return (
        f"{amount / 1e9:.2f} s {side} the arm states that arrived with it; "
        "synchronise the clocks of the computers (chrony) and record again"
    )
