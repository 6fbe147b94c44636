"""Bag to episodes: the only file that knows topics, message types and clocks.

How messages become steps (arithmetic in `alignment.py`):

- *Clock.* Header stamps count, never the order of arrival. A message without a stamp takes
its log time.
- *Camera latency.* Where the bag, or the user, says that the camera's stamps are late by
  some time, it is taken off the stamps of the images and off those by which commands name
  them: from then on they say when an image was seen.
- *Episodes* lie between the START event and the next event of the same id. A START while
  another episode runs ends that one with outcome `stop`. A bag without events is one
  episode.
- *Steps.* Where commands come at the control rate or slower, each command is one step. Its
  observation is the newest image and the newest arm state that are not later than the image
  the command says it answers (`observation_stamp`), else than the command itself. After
  more than 1.5 periods without a command the arm is taken to have held still: steps without
  motion, gripper unchanged, one per period.
- *Grid.* Where the median interval is under 0.75 periods (say teleoperation at 30 Hz),
  steps are a grid of one period from the first command on. A step's action is the
  composition of the commands in its slot.
- *Last observation*: the newest one within a period after the last step's and not after the
  end event. A last command that no image follows is dropped.
- *Age.* An observation may be 0.4 s old. Commands from before the first one are dropped; an
  episode with such a hole in its middle is refused as a whole, because a transition across
  it never happened.
- *Executed* commands belong to the request that answers the same image, else to the one
  they follow within a period. Where the arm executed nothing it stayed where it was.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.camera_latency import CameraLatencyError, recorded_latency
from ptr_common.cdr import CdrError, stamp_of
from ptr_common.images import IMAGE_TYPES, EncodingError, ImageError, decode, resize_area
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
)
from ptr_training.data.episode import Episode

from .alignment import PERIOD_NS, AlignmentError, Commands, Steps, align, match_executed
from .audit import MessageStatus, Stream, audit_topics
from .mcap_reader import BagError
from .reader import Bag, DecodeError

TYPES = {
    TOPIC_COMMAND: "ptr_msgs/msg/EefCommand",
    TOPIC_EXECUTED: "ptr_msgs/msg/EefCommand",
    TOPIC_ARM_STATE: "ptr_msgs/msg/ArmState",
    TOPIC_EPISODE_EVENT: "ptr_msgs/msg/EpisodeEvent",
}
START, SUCCESS, FAILURE, DISCARD = 1, 2, 3, 4  # ptr_msgs/msg/EpisodeEvent
OUTCOMES = {SUCCESS: "success", FAILURE: "failure"}
IMAGES_PER_TURN = 16  # that one thread decodes before the next are read: bounds the memory of compressed bags
FOREVER = int(np.iinfo(np.int64).max) - PERIOD_NS

_CAMERA_TOPIC = re.compile(r"(?:^|/)camera/([^/]+)/image_raw(?:/compressed)?$")


@dataclass(frozen=True)
class ReadOptions:
    """How to read bags, and what they do not say themselves."""

    image_size: int = 64  # height and width of the stored images [pixels]
    camera: str = (
        ""  # name or topic; by default the one the bag was recorded for, or its only one
    )
    camera_latency: float | None = (
        None  # by how much its stamps are late [s]; None: what the bag says, else 0
    )
    command: str = "executed"  # which command will be learnt from
    task: str = ""  # of bags that do not name it
    outcome: str = "success"  # of bags without episode events
    check_crc: bool = False
    threads: int = 1  # that decode and resize images


@dataclass(frozen=True)
class BagEpisodes:
    """What one bag gave."""

    episodes: list[Episode]
    camera: str
    camera_size: tuple[int, int]  # width, height [pixels]; (0, 0) if no image was needed
    audit: dict[str, Any]  # name, sha256, camera_latency [s], topics, episodes


def read_episodes(path: Path, options: ReadOptions) -> BagEpisodes:
    """Read all episodes of one bag.

    Raises:
        BagError: If the bag cannot be read, lacks images, commands or states, or does not
        name its task.
    """
    with Bag(path, check_crc=options.check_crc) as bag:
        reading = _Reading(bag, options)
        segments = reading.segments()
        reading.align(segments)
        reading.settle_fates(segments)
        audit = {
            "name": bag.name,
            "sha256": bag.digest(),
            "camera_latency": reading.latency_ns / 1e9,
            "topics": audit_topics(bag, reading.streams),
            "episodes": [_described(segment) for segment in segments],
        }
        episodes = [
            reading.episode(segment, segment.steps) for segment in segments if segment.steps
        ]
        return BagEpisodes(episodes, reading.camera, reading.camera_size(), audit)


@dataclass
class _Segment:
    """The span of one episode, and its steps once they are known."""

    id: str
    task: str
    start: int
    end: int = FOREVER
    outcome: str = ""
    text: str = ""
    discarded: bool = False
    refusal: str = ""
    steps: Steps | None = None
    frames: np.ndarray = field(
        default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8)
    )  # (T + 1, H, W, 3)
    commands: np.ndarray = field(
        default_factory=lambda: np.array([], int)
    )  # indices into the command stream
    executed: np.ndarray = field(
        default_factory=lambda: np.array([], int)
    )  # what was executed of each, or -1


@dataclass(frozen=True)
class _CommandValues:
    """The decoded messages of a command topic."""

    actions: np.ndarray  # (n, 7)
    observed: np.ndarray  # (n,) when the image that each answers was seen [ns], or 0


class _Reading:
    """One bag on its way to episodes."""

    def __init__(self, bag: Bag, options: ReadOptions) -> None:
        self.bag = bag
        self.options = options
        self._sizes: dict[
            tuple[int, int], int
        ] = {}  # width and height of images -> the first such message
        prefix = _namespace(bag)
        cameras = _cameras(bag)
        self.camera = _choose_camera(bag, cameras, options.camera)
        self.latency_ns = round(1e9 * _latency_of(bag, self.camera, options))
        self.streams = self._load(
            _known_topics(bag, prefix, options.command), cameras[self.camera]
        )
        self.images = self.streams[cameras[self.camera]]
        self.states = self.streams[prefix + TOPIC_ARM_STATE]
        self.commands = self.streams[prefix + TOPIC_COMMAND]
        self.executed = self.streams.get(prefix + TOPIC_EXECUTED, self.commands)
        self.events = self.streams.get(prefix + TOPIC_EPISODE_EVENT)
        self._proprio: dict[int, np.ndarray] = {}

    def _load(self, topics: list[str], image_topic: str) -> dict[str, Stream]:
        """Read the stamps and, but for images, the payloads of the topics that episodes are made of."""
        stamps: dict[str, list[int]] = {topic: [] for topic in [*topics, image_topic]}
        payloads: dict[str, list[bytes | memoryview]] = {topic: [] for topic in stamps}
        damaged: dict[str, list[int]] = {topic: [] for topic in stamps}
        unstamped: Counter[str] = Counter()
        for topic, log_time, data in self.bag.messages(self.bag.types):
            if topic not in stamps:
                continue
            try:
                stamp = stamp_of(data)
            except CdrError:
                stamp = 0
                damaged[topic].append(len(stamps[topic]))
            unstamped[topic] += not stamp
            stamps[topic].append(stamp or log_time)
            if topic != image_topic:
                payloads[topic].append(data)
        streams = {}
        for topic, found in stamps.items():
            fates = np.full(len(found), MessageStatus.OUTSIDE_EPISODE, np.int8)
            fates[damaged[topic]] = MessageStatus.UNDECODABLE
            kind, number = self.bag.types[topic], unstamped[topic]
            times = np.array(found, np.int64) - (
                self.latency_ns if topic == image_topic else 0
            )
            streams[topic] = Stream(topic, kind, times, payloads[topic], fates, number)
        return streams

    # --- episodes and their commands ------------------------------------------------------------------------

    def segments(self) -> list[_Segment]:
        """Return the episodes that the events mark, in their order; the whole bag where there are none."""
        if self.events is None:
            return [self._whole_bag()]
        segments: list[_Segment] = []
        running: _Segment | None = None
        for index in self.events.readable().tolist():
            if (event := self._decode(self.events, index)) is None:
                continue
            stamp = int(self.events.stamps[index])
            self.events.fates[index] = MessageStatus.USED
            known = running is not None and running.id == event.episode_id
            if event.event == START and known:
                self.events.fates[index] = MessageStatus.DUPLICATE
            elif event.event == START:
                if running is not None:
                    running.end, running.outcome = stamp, "stop"
                running = _Segment(
                    event.episode_id, self._task(event.task), stamp, text=event.text
                )
                segments.append(running)
            elif running is not None and known:
                running.end, running.outcome = stamp, OUTCOMES.get(event.event, "stop")
                running.discarded = event.event == DISCARD
                running = None
            else:
                self.events.fates[index] = MessageStatus.UNMATCHED
        if running is not None:
            running.outcome = self.bag.custom.get("outcome", "interrupted")
        return segments

    def _whole_bag(self) -> _Segment:
        outcome = self.bag.custom.get("outcome", self.options.outcome)
        name = self.bag.custom.get("episode_id", self.bag.name)
        return _Segment(name, self._task(""), 0, outcome=outcome)

    def _task(self, said: str) -> str:
        """Return the task that an event names, else the bag's custom data, else the user."""
        said = said or self.bag.custom.get("task", "")
        if said and self.options.task not in ("", said):
            raise BagError(
                f"{self.bag.path} says its task is {said!r}, --task says {self.options.task!r}; leave it out"
            )
        if not said and not self.options.task:
            raise BagError(
                f"{self.bag.path} does not say what was done; say it with --task"
            )
        return said or self.options.task

    def align(self, segments: list[_Segment]) -> None:
        """Find the steps of every episode and decode their observations."""
        requested = self._command_values(self.commands)
        executed = (
            requested
            if self.executed is self.commands
            else self._command_values(self.executed)
        )
        self._select_commands(segments, requested, executed)
        while True:
            for segment in segments:
                self._align(segment, requested, executed)
            if self._decode_states(segments) and self._decode_images(segments):
                return  # else something turned out to be damaged: again without it

    def _command_values(self, stream: Stream) -> _CommandValues:
        actions = np.full((len(stream.stamps), 7), np.nan)
        observed = np.zeros(len(stream.stamps), np.int64)
        for index in range(len(stream.stamps)):
            if (message := self._decode(stream, index)) is not None:
                actions[index] = message.action
                stamp = int(message.observation_stamp.sec) * 1_000_000_000 + int(
                    message.observation_stamp.nanosec
                )
                observed[index] = stamp - self.latency_ns if stamp else 0
                if not np.isfinite(actions[index]).all():
                    stream.fates[index] = MessageStatus.NOT_FINITE
        return _CommandValues(actions, observed)

    def _select_commands(
        self, segments: list[_Segment], requested: _CommandValues, executed: _CommandValues
    ) -> None:
        """Find the commands of each episode and what the arm executed of them."""
        order = self.commands.readable()
        repeated = np.flatnonzero(np.diff(self.commands.stamps[order]) == 0) + 1
        self.commands.mark(order[repeated], MessageStatus.DUPLICATE)
        order = np.delete(order, repeated)
        done = self.executed.readable()
        for segment in segments:
            stamps = self.commands.stamps[order]
            segment.commands = order[(stamps >= segment.start) & (stamps <= segment.end)]
            segment.executed = segment.commands
            if self.executed is not self.commands:
                stamps = self.executed.stamps[done]
                inside = done[
                    (stamps >= segment.start) & (stamps <= segment.end + PERIOD_NS)
                ]
                matches = match_executed(
                    self.commands.stamps[segment.commands],
                    requested.observed[segment.commands],
                    self.executed.stamps[inside],
                    executed.observed[inside],
                )
                segment.executed = np.append(inside, -1)[
                    matches
                ]  # a match of -1 takes the last: -1

    def _align(
        self, segment: _Segment, requested: _CommandValues, executed: _CommandValues
    ) -> None:
        segment.steps, segment.refusal = None, ""
        if segment.discarded:
            return
        images, states = self.images.readable(), self.states.readable()
        missing = (segment.executed < 0)[:, None]
        commands = Commands(
            self.commands.stamps[segment.commands],
            requested.observed[segment.commands],
            requested.actions[segment.commands],
            np.where(missing, np.nan, executed.actions[segment.executed]),
        )
        try:
            steps = align(
                commands,
                self.images.stamps[images],
                self.states.stamps[states],
                segment.end,
            )
            segment.steps = steps.renumbered(images, states)
        except AlignmentError as error:
            segment.refusal = str(error)

    # --- observations ---------------------------------------------------------------------------------------

    def _decode_images(self, segments: Iterable[_Segment]) -> bool:
        """Decode and resize the images of all steps; return false if one is damaged."""
        rows: dict[
            int, list[np.ndarray]
        ] = {}  # where each image goes; twice where two steps share it
        size = self.options.image_size
        for segment in segments:
            if segment.steps is not None:
                segment.frames = np.empty((len(segment.steps) + 1, size, size, 3), np.uint8)
                for row, index in zip(
                    segment.frames, segment.steps.images.tolist(), strict=True
                ):
                    rows.setdefault(index, []).append(row)
        messages = self.bag.messages([self.images.topic]) if rows else iter(())
        needed = (
            (index, data, rows[index])
            for index, (_, _, data) in enumerate(messages)
            if index in rows
        )
        threads = self.options.threads
        with ThreadPoolExecutor(threads) as pool:  # OpenCV lets go of the interpreter
            run = pool.map if threads > 1 else map
            while batch := list(itertools.islice(needed, IMAGES_PER_TURN * threads)):
                list(
                    run(
                        self._decode_some, [batch[part::threads] for part in range(threads)]
                    )
                )
        return not (self.images.fates[list(rows)] == MessageStatus.UNDECODABLE).any()

    def _decode_some(
        self, messages: Iterable[tuple[int, bytes | memoryview, list[np.ndarray]]]
    ) -> None:
        """Decode and resize images into their rows; the damaged ones get that fate."""
        for index, data, rows in messages:
            try:
                image = decode(data, self.images.type_name)
            except EncodingError as error:
                raise BagError(
                    f"{self.bag.path}: {self.images.topic}, message {index}: {error}"
                ) from error
            except ImageError:
                self.images.fates[index] = MessageStatus.UNDECODABLE
                continue
            self._sizes.setdefault((image.shape[1], image.shape[0]), index)
            small = resize_area(image, rows[0].shape[:2])
            for row in rows:
                row[:] = small

    def camera_size(self) -> tuple[int, int]:
        """Return width and height of the images used [pixels]; (0, 0) if there were none."""
        if len(self._sizes) > 1:
            found = ", ".join(
                f"message {index} is {width}x{height}"
                for (width, height), index in self._sizes.items()
            )
            raise BagError(
                f"{self.bag.path}: {self.images.topic}: {found} pixels; a bag must keep one camera size"
            )
        return next(iter(self._sizes), (0, 0))

    def _decode_states(self, segments: Iterable[_Segment]) -> bool:
        """Decode the arm states of all steps; return false if one is damaged or not finite."""
        steps = [segment.steps for segment in segments if segment.steps]
        good = True
        for index in {
            index for each in steps for index in each.states.tolist()
        } - self._proprio.keys():
            message = self._decode(self.states, index)
            if message is not None and np.isfinite(message.proprio).all():
                self._proprio[index] = np.asarray(message.proprio)
            else:
                self.states.fates[index] = (
                    MessageStatus.UNDECODABLE
                    if message is None
                    else MessageStatus.NOT_FINITE
                )
                good = False
        return good

    def _decode(self, stream: Stream, index: int) -> Any | None:
        """Return a small message; None if it is damaged, which then is its fate."""
        if stream.fates[index] == MessageStatus.UNDECODABLE:
            return None
        try:
            return self.bag.decode(stream.type_name, stream.payloads[index])
        except DecodeError:
            stream.fates[index] = MessageStatus.UNDECODABLE
            return None

    # --- results --------------------------------------------------------------------------------------------

    def settle_fates(self, segments: list[_Segment]) -> None:
        """Give every message of the streams its fate."""
        for segment in segments:
            lost = (
                MessageStatus.DISCARDED
                if segment.discarded
                else MessageStatus.REFUSED
                if segment.refusal
                else None
            )
            for stream in (self.images, self.states):
                stream.mark(
                    stream.between(segment.start, segment.end),
                    lost or MessageStatus.SUPERSEDED,
                )
            if self.executed is not self.commands:
                self.executed.mark(
                    self.executed.between(segment.start, segment.end),
                    lost or MessageStatus.UNMATCHED,
                )
            if lost:
                self.commands.mark(segment.commands, lost)
        for segment in segments:
            if segment.steps is None:
                continue
            self.images.mark(segment.steps.images, MessageStatus.USED)
            self.states.mark(segment.steps.states, MessageStatus.USED)
            parts = {
                MessageStatus.EARLY: segment.steps.early,
                MessageStatus.LATE: segment.steps.late,
                MessageStatus.USED: segment.steps.made,
            }
            for fate, members in parts.items():
                executed = segment.executed[members]
                self.executed.mark(executed[executed >= 0], fate)
                self.commands.mark(segment.commands[members], fate)

    def episode(self, segment: _Segment, steps: Steps) -> Episode:
        """Return a segment as an episode."""
        seed = re.search(r"\bseed[ =](\d+)", segment.text)
        return Episode(
            id=segment.id,
            task=segment.task,
            frames=segment.frames,
            stamps_ns=self.images.stamps[steps.images],
            proprio=np.stack([self._proprio[index] for index in steps.states.tolist()]),
            requested=steps.requested,
            executed=steps.executed,
            outcome=segment.outcome,
            operator=self.bag.custom.get("operator", ""),
            source=self.bag.name,
            seed=int(seed[1]) if seed else None,
        )


def _described(segment: _Segment) -> dict[str, Any]:
    """Return what the audit says about one episode."""
    entry: dict[str, Any] = {
        "id": segment.id,
        "task": segment.task,
        "outcome": segment.outcome,
        "steps": 0,
    }
    if segment.steps is None:
        return {**entry, "refused": segment.refusal or "discarded by the operator"}
    held = sum(not len(members) for members in segment.steps.members)
    not_executed = int((segment.executed[segment.steps.made] < 0).sum())
    return {
        **entry,
        "steps": len(segment.steps),
        "held": held,
        "not executed": not_executed,
    }


def _namespace(bag: Bag) -> str:
    """Return what stands before `arm/command` in the bag's topics."""
    found = [
        topic
        for topic in bag.types
        if ("/" + topic).endswith("/" + TOPIC_COMMAND) and bag.counts[topic]
    ]
    if not found:
        raise BagError(
            f"{bag.path} holds no commands: no topic ends in {TOPIC_COMMAND}, there are {_listed(bag.types)}"
        )
    if len(found) > 1:
        raise BagError(
            f"{bag.path} holds the commands of several arms, {_listed(found)}; record one arm per bag"
        )
    return found[0][: -len(TOPIC_COMMAND)]


def _known_topics(bag: Bag, prefix: str, command: str) -> list[str]:
    """Return the topics, apart from images, that episodes are made of."""
    known = {
        prefix + name: kind for name, kind in TYPES.items() if bag.counts[prefix + name]
    }
    for topic, kind in known.items():
        if bag.types[topic] != kind:
            raise BagError(f"{bag.path}: {topic} is a {bag.types[topic]}, expected {kind}")
    if prefix + TOPIC_ARM_STATE not in known:
        raise BagError(
            f"{bag.path} holds no {prefix + TOPIC_ARM_STATE}; it must be recorded with the commands"
        )
    if prefix + TOPIC_EXECUTED not in known and command == "executed":
        raise BagError(
            f"{bag.path} holds no {prefix + TOPIC_EXECUTED}; export it with --command requested"
        )
    return list(known)


def _cameras(bag: Bag) -> dict[str, str]:
    """Return the topic of each camera that has images: by name, by topic where that holds no name."""
    cameras: dict[str, str] = {}
    for topic, kind in bag.types.items():
        if kind in IMAGE_TYPES and bag.counts[topic]:
            match = _CAMERA_TOPIC.search(topic)
            cameras[topic if match is None or match[1] in cameras else match[1]] = topic
    return cameras


def _choose_camera(bag: Bag, cameras: dict[str, str], wanted: str) -> str:
    """Return the camera asked for, else the one the bag was recorded for, else its only one."""
    if not cameras:
        raise BagError(f"{bag.path} holds no images; its topics are {_listed(bag.types)}")
    recorded_for = bag.custom.get("camera", "")
    default = (
        recorded_for
        if recorded_for in cameras
        else next(iter(cameras))
        if len(cameras) == 1
        else ""
    )
    chosen = [
        name for name, topic in cameras.items() if (wanted or default) in (name, topic)
    ]
    if not chosen:
        problem = f"has no camera {wanted!r}" if wanted else "was made with several cameras"
        raise BagError(
            f"{bag.path} {problem}; choose with --camera from: {_listed(cameras)}"
        )
    return chosen[0]


def _latency_of(bag: Bag, camera: str, options: ReadOptions) -> float:
    """Return by how much a camera's stamps are late [s], as the user says, else the bag."""
    if options.camera_latency is not None:
        return options.camera_latency
    try:
        return recorded_latency(bag.custom, camera)
    except CameraLatencyError as error:
        raise BagError(
            f"{bag.path}: {error}; say what it was with --camera-latency"
        ) from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
