"""Bags made message by message and written by the rosbags library, in each of its storages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ptr_training.bags.episodes_from_bag import BagEpisodes, ReadOptions
from ptr_training.bags.reader import Bag

MESSAGES = Path(__file__).parents[2] / "ptr_msgs" / "msg"
STORE = get_typestore(Stores.ROS2_JAZZY)
for file in sorted(MESSAGES.glob("*.msg")):
    STORE.register(get_types_from_msg(file.read_text(), f"ptr_msgs/msg/{file.stem}"))
MS = 1_000_000
START, SUCCESS, FAILURE, DISCARD, STOP = 1, 2, 3, 4, 5
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STATE, COMMAND, EVENT = (
    "ptr_msgs/msg/ArmState",
    "ptr_msgs/msg/EefCommand",
    "ptr_msgs/msg/EpisodeEvent",
)
SIZE = (24, 32)  # height, width of the camera
READ = ReadOptions(image_size=8)


def make(kind: str, *fields: Any) -> Any:
    return STORE.types[kind](*fields)


def time(stamp_ns: int) -> Any:
    return make("builtin_interfaces/msg/Time", stamp_ns // 10**9, stamp_ns % 10**9)


def header(stamp_ns: int, frame: str = "base_link") -> Any:
    return make("std_msgs/msg/Header", time(stamp_ns), frame)


def pixels_of(number: int) -> np.ndarray:
    """Image number `number`: its number in the first pixels, noise elsewhere."""
    image = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
    image[:8, :8] = number % 256
    return image


@dataclass
class Message:
    topic: str
    stamp: int
    value: Any
    log_time: int
    raw: bytes | None = None  # instead of the value's bytes


@dataclass
class Script:
    """What happens in a bag: filled by the methods below, then written by `write`."""

    namespace: str = ""
    messages: list[Message] = field(default_factory=list)

    def add(self, topic: str, stamp: int, value: Any, delay: int = 0) -> None:
        self.messages.append(
            Message(f"{self.namespace}/{topic}", stamp, value, stamp + delay)
        )

    def image(
        self,
        number: int,
        stamp: int,
        *,
        topic: str = "camera/front/image_raw",
        encoding: str = "rgb8",
    ) -> None:
        pixels = pixels_of(number)
        value = make(
            IMAGE,
            header(stamp, "front"),
            *SIZE,
            encoding,
            0,
            3 * SIZE[1],
            pixels.reshape(-1),
        )
        self.add(topic, stamp, value)

    def state(self, number: int, stamp: int) -> None:
        pose = make(
            "geometry_msgs/msg/Pose",
            make("geometry_msgs/msg/Point", 0.0, 0.0, 0.0),
            make("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0),
        )
        proprio = np.full(7, number / 100)
        self.add(
            "arm/state",
            stamp,
            make(
                STATE,
                header(stamp),
                np.zeros(6),
                np.zeros(6),
                pose,
                proprio,
                0,
                "",
                0,
                0,
                0,
            ),
        )

    def command(
        self, number: int, stamp: int, observed: int = 0, executed: bool = True
    ) -> None:
        action = np.array([number / 1000, 0, 0, 0, 0, 0, number % 2], float)
        self.add(
            "arm/command", stamp, make(COMMAND, header(stamp), time(observed), action, 2)
        )
        if executed:
            action = action * np.array([0.5] * 6 + [1.0])
            self.add(
                "arm/executed",
                stamp + 5 * MS,
                make(COMMAND, header(stamp + 5 * MS), time(observed), action, 2),
            )

    def event(
        self,
        kind: int,
        stamp: int,
        episode: str = "e1",
        task: str = "put red in bowl",
        text: str = "",
    ) -> None:
        self.add(
            "episode/event", stamp, make(EVENT, header(stamp), episode, kind, task, text)
        )

    def episode(
        self,
        begin: int,
        steps: int,
        *,
        name: str = "e1",
        end: int = SUCCESS,
        events: bool = True,
    ) -> None:
        """Images at 30 Hz, states at 20 Hz, commands at 5 Hz; everything numbered from 0."""
        length = steps * 200 * MS
        if events:
            self.event(START, begin, name, text="seed=12 and more")
        for number in range(steps * 6 + 2):
            self.image(number, begin + number * 1000 * MS // 30)
        for number in range(steps * 4 + 1):
            self.state(number, begin + number * 50 * MS)
        for number in range(steps):
            stamp = begin + (10 + 200 * number) * MS
            self.command(number, stamp)
        if events and end:
            self.event(end, begin + length + 30 * MS, name)


def write(
    path: Path,
    script: Script,
    *,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    custom: dict[str, str] | None = None,
) -> Path:
    """Write a script as a bag, in the order of log times."""
    writer = Writer(path, version=8, storage_plugin=storage)
    if compression != CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    for key, value in (custom or {}).items():
        writer.set_custom_data(key, value)
    with writer:
        connections: dict[str, Any] = {}
        for message in sorted(script.messages, key=lambda message: message.log_time):
            kind = message.value.__msgtype__
            if message.topic not in connections:
                connections[message.topic] = writer.add_connection(
                    message.topic, kind, typestore=STORE
                )
            data = (
                bytes(STORE.serialize_cdr(message.value, kind))
                if message.raw is None
                else message.raw
            )
            writer.write(connections[message.topic], message.log_time, data)
    return path


def fates(result: BagEpisodes, topic: str) -> dict[str, int]:
    return result.audit["topics"][topic]["fates"]


def check_sums(bag: Path, result: BagEpisodes) -> None:
    """Every message of every topic has one fate."""
    with Bag(bag) as opened:
        counts: dict[str, int] = dict.fromkeys(opened.types, 0)
        for topic, _, _ in opened.messages(opened.types):
            counts[topic] += 1
    assert {
        topic: sum(entry["fates"].values())
        for topic, entry in result.audit["topics"].items()
    } == counts
