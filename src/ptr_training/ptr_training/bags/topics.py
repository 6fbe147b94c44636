"""Which topics of a bag hold the arm and the camera, and their messages as streams."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptr_common.cdr import CdrError, stamp_of
from ptr_common.images import IMAGE_TYPES
from ptr_common.stamps import CameraLatencyError, recorded_latency
from ptr_common.topics import (
    TOPIC_ARM_STATE,
    TOPIC_COMMAND,
    TOPIC_EPISODE_EVENT,
    TOPIC_EXECUTED,
    TOPIC_JOINT_STATES,
)

from .errors import BagError
from .reader import Bag, DecodeError
from .state_actions import grid_of, proprio_of
from .streams import MessageStatus, Stream

TYPES = {
    TOPIC_COMMAND: "ptr_msgs/msg/EefCommand",
    TOPIC_EXECUTED: "ptr_msgs/msg/EefCommand",
    TOPIC_ARM_STATE: "ptr_msgs/msg/ArmState",
    TOPIC_EPISODE_EVENT: "ptr_msgs/msg/EpisodeEvent",
    TOPIC_JOINT_STATES: "sensor_msgs/msg/JointState",
}

_CAMERA_TOPIC = re.compile(r"(?:^|/)camera/([^/]+)/image_raw$")

TRANSPORTS = ("compressed", "compressedDepth", "zstd", "theora", "ffmpeg")
"""What `image_transport` appends to the topic of a camera for its other forms."""


END_OF_TIME_NS = 1 << 61
"""Log times from here on, in 2043, are none [ns]; differences of all others fit into 64 bits."""


@dataclass(frozen=True)
class BagStreams:
    """The messages of a bag that episodes are made of."""

    bag: Bag
    camera: str  # name, or the topic where that holds no name
    latency_ns: int  # taken off the image stamps already
    by_topic: dict[str, Stream]
    images: Stream
    states: Stream
    commands: Stream  # without payloads where actions are made of the states
    executed: Stream  # `commands` itself where the bag holds no executed commands
    events: Stream | None
    knows_events: bool  # the bag has a topic of events, maybe without messages
    from_states: bool  # actions are the steps from each state to the next

    def decode(self, stream: Stream, index: int) -> Any | None:
        """Return a message of a stream; None if it is damaged, which its status then says.

        Args:
            stream: A stream with payloads, thus not that of the images.
            index: Number of the message in the stream.

        Raises:
            BagError: If the definition of the message's type is missing.
        """
        if stream.status[index] == MessageStatus.UNDECODABLE:
            return None
        try:
            return self.bag.decode(stream.type_name, stream.payloads[index])
        except DecodeError:
            stream.status[index] = MessageStatus.UNDECODABLE
            return None

    def proprio(self, index: int) -> np.ndarray | None:
        """Return the proprioception of a state, (7,); None if it is damaged, as in `decode`.

        Raises:
            BagError: If it is a joint state that lacks joints of the arm.
        """
        message = self.decode(self.states, index)
        if message is None:
            return None
        proprio = proprio_of(message, f"{self.bag.path}: {self.states.topic}")
        if proprio is None:
            self.states.status[index] = MessageStatus.UNDECODABLE
        elif not np.isfinite(proprio).all():
            self.states.status[index] = MessageStatus.NOT_FINITE
            return None
        return proprio


def read_streams(
    bag: Bag, *, camera: str, camera_latency: float | None, command: str
) -> BagStreams:
    """Read the stamps of the topics that episodes are made of and, but for images, the payloads.

    Args:
        bag: The recording.
        camera: Name or topic of a camera, or NAME=TOPIC; empty: the one the bag names, or its
            only one.
        camera_latency: Camera latency [s]; None: what the bag says, 0 without it.
        command: The command learnt from; the bag must hold `arm/executed` for `executed`.
            `states`: none is needed, actions are made of the states.

    Raises:
        BagError: If the bag is damaged, lacks a topic, holds several arms or cameras, or
            names an impossible camera latency.
    """
    prefix = _namespace(bag, command)
    name, image_topic = _choose_camera(bag, camera)
    if camera_latency is None:
        camera_latency = _recorded_latency(bag, name)
    latency_ns = round(1e9 * camera_latency)
    by_topic = _load(bag, _known_topics(bag, prefix, command), image_topic)
    images = by_topic[image_topic]
    images.stamps[:] -= latency_ns
    from_states = command == "states"
    states = by_topic.get(prefix + TOPIC_ARM_STATE) or by_topic[prefix + TOPIC_JOINT_STATES]
    commands = grid_of(states) if from_states else by_topic[prefix + TOPIC_COMMAND]
    return BagStreams(
        bag=bag,
        camera=name,
        latency_ns=latency_ns,
        by_topic=by_topic,
        images=images,
        states=states,
        commands=commands,
        executed=by_topic.get(prefix + TOPIC_EXECUTED, commands),
        events=by_topic.get(prefix + TOPIC_EPISODE_EVENT),
        knows_events=prefix + TOPIC_EPISODE_EVENT in bag.types,
        from_states=from_states,
    )


@dataclass
class _LoadedTopic:
    """The messages of one topic while a bag is read."""

    stamps: list[int] = field(default_factory=list)  # [ns], 0 for none
    logs: list[int] = field(default_factory=list)  # [ns]
    payloads: list[bytes | memoryview] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)  # indices without a readable header

    def stream(self, topic: str, type_name: str) -> Stream:
        """Return the messages as a stream; none is part of an episode yet."""
        status = np.full(len(self.stamps), MessageStatus.OUTSIDE_EPISODE, np.int8)
        status[self.damaged] = MessageStatus.UNDECODABLE
        stamps, logs = np.array(self.stamps, np.int64), np.array(self.logs, np.int64)
        unstamped = stamps == 0
        stamps[unstamped] = logs[unstamped]
        return Stream(topic, type_name, stamps, logs, unstamped, self.payloads, status)


def _load(bag: Bag, topics: list[str], image_topic: str) -> dict[str, Stream]:
    """Return the streams of some topics and of the images, by topic; stamps as recorded.

    A message without a stamp takes its log time.

    Args:
        bag: The recording.
        topics: Topics whose payloads are kept.
        image_topic: Topic of which only the stamps are kept.
    """
    loaded: dict[str, _LoadedTopic] = {}
    for topic in [*topics, image_topic]:
        loaded[topic] = _LoadedTopic()
    for topic, log_time, data in bag.messages(bag.types):
        if topic not in loaded:
            continue
        if log_time >= END_OF_TIME_NS:
            raise BagError(
                f"{bag.path}: a message on {topic} has the log time {log_time} ns, which no "
                "clock shows; the file is damaged"
            )
        messages = loaded[topic]
        try:
            stamp = stamp_of(data)
        except CdrError:
            stamp = 0
            messages.damaged.append(len(messages.stamps))
        messages.stamps.append(stamp)
        messages.logs.append(log_time)
        if topic != image_topic:
            messages.payloads.append(data)

    streams = {}
    for topic, messages in loaded.items():
        streams[topic] = messages.stream(topic, bag.types[topic])
    return streams


def _namespace(bag: Bag, command: str) -> str:
    """Return the part of the bag's topic names before `arm/command`, or before its states.

    Args:
        bag: The recording.
        command: The command learnt from; for `states`, a bag without commands will do.

    Raises:
        BagError: If the bag holds no arm or several.
    """
    measured = (TOPIC_ARM_STATE, TOPIC_JOINT_STATES)
    for name in (TOPIC_COMMAND, *measured) if command == "states" else (TOPIC_COMMAND,):
        topics = _topics_ending_in(bag, name)
        if len(topics) > 1:
            raise BagError(
                f"{bag.path} holds several arms, {_listed(topics)}; record one arm per bag"
            )
        if topics:
            return topics[0][: -len(name)]
    wanted, hint = f"commands: no topic ends in {TOPIC_COMMAND}", ""
    if command == "states":
        wanted = f"states of an arm: no topic ends in {' or '.join(measured)}"
    elif states := [
        *_topics_ending_in(bag, measured[0]),
        *_topics_ending_in(bag, measured[1]),
    ]:
        hint = (
            f". Actions can be made of {_listed(states)}: with --command states, they are the "
            "steps from each measured pose to the next"
        )
    raise BagError(f"{bag.path} holds no {wanted}, there are {_listed(bag.types)}{hint}")


def _topics_ending_in(bag: Bag, name: str) -> list[str]:
    """Return the topics with messages whose name, without a namespace, is `name`."""
    return [
        topic
        for topic in bag.types
        if f"/{topic}".endswith(f"/{name}") and bag.counts[topic]
    ]


def _known_topics(bag: Bag, prefix: str, command: str) -> list[str]:
    """Return the topics, apart from images, that episodes are made of.

    Args:
        bag: The recording.
        prefix: Namespace of the arm.
        command: The command learnt from.

    Raises:
        BagError: If one is missing or has another type.
    """
    names = [TOPIC_COMMAND, TOPIC_EXECUTED, TOPIC_ARM_STATE, TOPIC_EPISODE_EVENT]
    measured = [TOPIC_ARM_STATE, TOPIC_JOINT_STATES]
    if command == "states":
        names = [name for name in measured if bag.counts[prefix + name]][:1]
        names.append(TOPIC_EPISODE_EVENT)
    known = []
    for name in names:
        topic = prefix + name
        if not bag.counts[topic]:
            continue
        if topic in bag.unreadable:
            raise BagError(f"{bag.path}: {topic} cannot be read: {bag.unreadable[topic]}")
        if bag.types[topic] != TYPES[name]:
            raise BagError(
                f"{bag.path}: {topic} is a {bag.types[topic]}, expected {TYPES[name]}"
            )
        known.append(topic)

    if command == "states":
        if not any(prefix + name in known for name in measured):
            raise BagError(f"{bag.path} holds neither {' nor '.join(measured)} of {prefix}")
        return known

    if prefix + TOPIC_ARM_STATE not in known:
        raise BagError(
            f"{bag.path} holds no {prefix + TOPIC_ARM_STATE}; "
            "it must be recorded with the commands"
        )

    if prefix + TOPIC_EXECUTED not in known and command == "executed":
        raise BagError(
            f"{bag.path} holds no {prefix + TOPIC_EXECUTED}; "
            "export it with --command requested"
        )

    return known


def cameras_of(bag: Bag) -> dict[str, str]:
    """Return the image topic of each camera, by its name, or by topic where that holds no name.

    A camera whose images are recorded in several ways is one; the raw ones are taken.
    """
    transports: dict[str, dict[str, str]] = {}
    for topic, type_name in bag.types.items():
        if type_name in IMAGE_TYPES and bag.counts[topic]:
            base, transport = base_and_transport(topic)
            transports.setdefault(base, {})[transport] = topic
    cameras: dict[str, str] = {}
    for base, topics in transports.items():
        topic = topics.get("") or topics.get("compressed") or next(iter(topics.values()))
        match = _CAMERA_TOPIC.search(base)
        if match is None or match[1] in cameras:
            cameras[topic] = topic
        else:
            cameras[match[1]] = topic
    return cameras


def base_and_transport(topic: str) -> tuple[str, str]:
    """Return the topic of the raw images, and the transport that a topic adds to it or ""."""
    base, _, last = topic.rpartition("/")
    return (base, last) if last in TRANSPORTS else (topic, "")


def _choose_camera(bag: Bag, requested: str) -> tuple[str, str]:
    """Return name and image topic of a camera.

    Args:
        bag: The recording.
        requested: Name, topic or NAME=TOPIC that the user gives; empty: the camera that the
            bag names, or its only one.

    Raises:
        BagError: If there is no such camera, or none can be chosen.
    """
    cameras = cameras_of(bag)
    if not cameras:
        hints = [f"; {topic}: {reason}" for topic, reason in bag.unreadable.items()]
        raise BagError(
            f"{bag.path} holds no images; its topics are {_listed(bag.types)}{''.join(hints)}"
        )
    given, _, wanted = requested.rpartition("=")
    choice = wanted or _default_camera(bag, cameras)
    for name, topic in cameras.items():
        if choice in (name, topic):
            return given or name, topic
        base, transport = base_and_transport(choice)
        is_form = transport and base == base_and_transport(topic)[0]
        if is_form and bag.types.get(choice) in IMAGE_TYPES and bag.counts[choice]:
            return given or name, choice

    reason = f"has no camera {wanted!r}" if wanted else "was made with several cameras"
    raise BagError(f"{bag.path} {reason}; choose with --camera from: {_listed(cameras)}")


def _default_camera(bag: Bag, cameras: dict[str, str]) -> str:
    """Return the camera that the bag names or its only one; empty where the user must choose."""
    named = bag.custom.get("camera", "")
    if named in cameras:
        return named
    return next(iter(cameras)) if len(cameras) == 1 else ""


def _recorded_latency(bag: Bag, camera: str) -> float:
    """Return the latency of a camera [s] that the bag says, 0 where it says nothing."""
    try:
        return recorded_latency(bag.custom, camera)
    except CameraLatencyError as error:
        raise BagError(
            f"{bag.path}: {error}; say what it was with --camera-latency"
        ) from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
