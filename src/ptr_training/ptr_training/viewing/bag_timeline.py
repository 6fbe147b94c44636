"""A bag on its time axis, as it was recorded: nothing is aligned, refused or left out.

Times are header stamps, and log times where a message has none. The latency of a camera is
taken off the stamps of its images and of what answers them, as in `ptr export`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.cdr import CdrError, stamp_of
from ptr_common.images import ImageError, decode
from ptr_common.stamps import CameraLatencyError, recorded_latency
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_POLICY_STATE,
)
from ptr_training.bags.reader import Bag, DecodeError
from ptr_training.bags.topics import TYPES, cameras_of

from .timeline import Images, Mark, Series, Span, Timeline, ViewError

EVENTS = {1: "START", 2: "SUCCESS", 3: "FAILURE", 4: "DISCARD", 5: "STOP"}
"""Names of the constants of EpisodeEvent."""

KINDS = {**TYPES, TOPIC_POLICY_STATE: "ptr_msgs/msg/PolicyState"}
"""Type of the messages of each topic."""

ACTING, WAITING = 1, 2
"""Constants of PolicyState."""


class BagImages:
    """Images of one camera in a bag.

    Args:
        path: The bag, which is opened anew by each reading.
        name: Of the camera.
        topic: Of its images.
        numbers: Place of each image among the messages of the topic, in the order of times.
        times: Of the images [s], ascending, shape (n,).
    """

    def __init__(
        self, path: Path, name: str, topic: str, numbers: np.ndarray, times: np.ndarray
    ) -> None:
        self.name = name
        self.times = times
        self._path = path
        self._topic = topic
        self._numbers = numbers

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield some images.

        Raises:
            ViewError: If one cannot be decoded.
        """
        wanted = [int(self._numbers[index]) for index in indices]
        order = iter(wanted)
        image: np.ndarray | None = None
        number = next(order, None)
        with Bag(self._path) as bag:
            kind = bag.types[self._topic]
            for place, (_, _, data) in enumerate(bag.messages([self._topic])):
                if number is None:
                    return
                if place < number:
                    continue
                try:
                    image = decode(data, kind).copy()
                except ImageError as error:
                    raise ViewError(
                        f"{self._path}: image {place} of {self._topic}: {error}"
                    ) from error
                while number is not None and number <= place:
                    yield image
                    number = next(order, None)


@dataclass
class _Messages:
    """The messages of a bag while it is read; stamps [ns] in the order of the file."""

    images: dict[str, list[int]] = field(default_factory=dict)  # stamps, by topic
    others: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)  # by name
    unread: int = 0

    def stamps(self) -> Iterator[int]:
        """Yield every stamp [ns]."""
        for stamps in self.images.values():
            yield from stamps
        for messages in self.others.values():
            for stamp, _ in messages:
                yield stamp


def read_bag(path: Path) -> Timeline:
    """Return a bag on its time axis.

    Raises:
        PtrError: If it cannot be read, holds several arms, or nothing that can be shown.
    """
    with Bag(path) as bag:
        cameras = _ordered_cameras(bag)
        messages = _read(bag, cameras)
        custom, name = bag.custom, bag.name
        latencies = {camera: _latency(bag, camera) for camera in cameras}
    main = next(iter(cameras), "")
    latency = latencies.get(main, 0)
    firsts = [min(stamps) - latency for stamps in messages.images.values() if stamps][:1]
    start = min(firsts or messages.stamps(), default=None)
    if start is None:
        raise ViewError(
            f"{path} holds no images, commands or states; its topics are those of no arm of ours"
        )
    images: list[Images] = []
    for camera, topic in cameras.items():
        stamps = np.array(messages.images[topic], np.int64)
        if len(stamps):
            order = np.argsort(stamps, kind="stable")
            times = (stamps[order] - latencies[camera] - start) * 1e-9
            images.append(BagImages(path, camera, topic, order, times))
    clock = _Clock(start, latency)
    states = messages.others[TOPIC_ARM_STATE]
    policy = messages.others[TOPIC_POLICY_STATE]
    events = [event for _, event in messages.others[TOPIC_EPISODE_EVENT]]
    return Timeline(
        title=name,
        task=custom.get("task") or next((event.task for event in events), ""),
        outcome=custom.get("outcome", ""),
        cameras=images,
        requested=clock.commands(messages.others[TOPIC_COMMAND]),
        executed=clock.commands(messages.others[TOPIC_EXECUTED]),
        proprio=clock.series([(stamp, state.proprio) for stamp, state in states], 7),
        q=clock.q_values(policy),
        clips=clock.clips(states),
        holds=clock.holds(states),
        marks=clock.marks(messages.others),
        unread=messages.unread,
    )


def _ordered_cameras(bag: Bag) -> dict[str, str]:
    """Return the image topic of each camera that can be read, the policy's first."""
    cameras = cameras_of(bag)
    main = bag.custom.get("camera", "")
    ordered = {}
    for name in sorted(cameras, key=lambda name: name != main):
        if cameras[name] not in bag.unreadable:
            ordered[name] = cameras[name]
    return ordered


def _latency(bag: Bag, camera: str) -> int:
    """Return the latency of a camera [ns], 0 where the bag says none that is possible."""
    try:
        return round(1e9 * recorded_latency(bag.custom, camera))
    except CameraLatencyError:
        return 0


def _read(bag: Bag, cameras: dict[str, str]) -> _Messages:
    """Read stamps of images, and the other messages that are shown."""
    messages = _Messages()
    names = {}
    for topic in cameras.values():
        messages.images[topic] = []
    for name, kind in KINDS.items():
        messages.others[name] = []
        found = [topic for topic in bag.types if f"/{topic}".endswith(f"/{name}")]
        found = [topic for topic in found if bag.counts[topic] and bag.types[topic] == kind]
        if len(found) > 1:
            raise ViewError(f"{bag.path} holds several arms: {', '.join(found)}")
        names.update(dict.fromkeys(found, name))
    for topic, log_time, data in bag.messages([*messages.images, *names]):
        try:
            stamp = stamp_of(data) or log_time
            if topic in messages.images:
                messages.images[topic].append(stamp)
            else:
                message = bag.decode(bag.types[topic], data)
                messages.others[names[topic]].append((stamp, message))
        except CdrError:  # of an image: its place among the others is kept
            messages.unread += 1
            if topic in messages.images:
                messages.images[topic].append(log_time)
        except DecodeError:
            messages.unread += 1
    return messages


@dataclass(frozen=True)
class _Clock:
    """Turns messages into series.

    Args:
        start: Time 0 [ns].
        latency: Of the policy's camera [ns].
    """

    start: int
    latency: int

    def seconds(self, stamp: int) -> float:
        """Return a time of the axis [s]."""
        return (stamp - self.start) * 1e-9

    def series(self, values: Sequence[tuple[int, Any]], size: int) -> Series:
        """Return values with their stamps as a series; those of another size are left out."""
        rows = [(stamp, value) for stamp, value in values if len(value) == size]
        rows.sort(key=lambda row: row[0])
        if not rows:
            return Series(np.zeros(0), np.zeros((0, size)))
        times = np.array([self.seconds(stamp) for stamp, _ in rows])
        return Series(times, np.array([value for _, value in rows], float))

    def commands(self, messages: Sequence[tuple[int, Any]]) -> Series:
        """Return commands at the time of the image that they answer, if they name it."""
        rows = []
        for stamp, message in messages:
            seen = message.observation_stamp
            seen_ns = seen.sec * 1_000_000_000 + seen.nanosec
            rows.append((seen_ns - self.latency if seen_ns else stamp, message.action))
        return self.series(rows, 7)

    def q_values(self, messages: Sequence[tuple[int, Any]]) -> Series:
        """Return the Q values of the steps at which the policy acted and they were known."""
        rows = []
        for stamp, message in messages:
            if message.status == ACTING and np.isfinite(message.q_values).all():
                late = message.latency if np.isfinite(message.latency) else 0.0
                image = stamp - round(1e9 * late) - self.latency
                rows.append((image, message.q_values))
        return self.series(rows, 2)

    def clips(self, states: Sequence[tuple[int, Any]]) -> np.ndarray:
        """Return when the arm's counter of clipped commands grew [s]."""
        times = []
        for (_, before), (stamp, state) in itertools.pairwise(states):
            if state.clipped > before.clipped:
                times.append(self.seconds(stamp))
        return np.array(times)

    def holds(self, states: Sequence[tuple[int, Any]]) -> list[Span]:
        """Return when the arm did not obey, and why."""
        spans: list[Span] = []
        running: Span | None = None
        for stamp, state in states:
            time = self.seconds(stamp)
            if running is not None:
                running = Span(running.start, time, running.text)
            if running is not None and (state.status == 0 or state.reason != running.text):
                spans.append(running)
                running = None
            if running is None and state.status != 0:
                running = Span(time, time, state.reason)
        return [*spans, running] if running is not None else spans

    def marks(self, others: dict[str, list[tuple[int, Any]]]) -> list[Mark]:
        """Return the events of episodes, and when and why the policy waited."""
        marks = []
        for stamp, event in others[TOPIC_EPISODE_EVENT]:
            name = EVENTS.get(event.event, str(event.event))
            text = f"{name} {event.text}".strip()
            marks.append(Mark(self.seconds(stamp), text))
        before = ""
        for stamp, message in others[TOPIC_POLICY_STATE]:
            reason = message.reason if message.status == WAITING else ""
            if reason and reason != before:
                marks.append(Mark(self.seconds(stamp), f"the policy waits: {reason}"))
            before = reason
        return sorted(marks, key=lambda mark: mark.time)
