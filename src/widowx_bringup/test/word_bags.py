"""Words in bags: a topic of strings, and what a bag holds by the rosbags library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from widowx_bringup.recording.bag_writer import BagWriter, Topic

STORE = get_typestore(Stores.ROS2_JAZZY)
STRING = "std_msgs/msg/String"
RELIABLE_DEPTH_10 = """\
- history: 1
  depth: 10
  reliability: 1
  durability: 2
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false"""
TOPIC = Topic(
    "/robot/words", STRING, "string data\n", STORE.hash_rihs01(STRING), RELIABLE_DEPTH_10
)
CUSTOM = {"episode_id": "e1", "task": "put red in bowl", "operator": "Ada"}


def word(text: str) -> bytes:
    """Return a serialised string."""
    return bytes(STORE.serialize_cdr(STORE.types[STRING](text), STRING))


def read(path: Path) -> list[tuple[int, str]]:
    """Every message of a bag, through the rosbags library."""
    with AnyReader([path]) as reader:
        decode: Any = reader.deserialize
        return [
            (stamp, decode(data, connection.msgtype).data)
            for connection, stamp, data in reader.messages()
        ]


def metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a bag."""
    return yaml.safe_load((path / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]


def write_bag(directory: Path, words: list[str], **finish: str) -> Path:
    """Write a bag of words, 1 ns apart."""
    writer = BagWriter(directory, "e1", CUSTOM)
    for index, text in enumerate(words):
        writer.write(TOPIC, word(text), 1_000 + index)
    return writer.finish(finish)
