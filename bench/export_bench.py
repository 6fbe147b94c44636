"""Frames per second of `ptr export` against the rosbags library with the same resize, on raw 640x480 bags.

Both read the same bags in the same run, in turns, and resize every one of their frames: the bags have one image per
control step. `ptr export` does more (state, commands, rewards, audit, store); the other only resizes.

    python bench/export_bench.py [--bags 6] [--frames 100] [--size 128] [--rounds 5]

"one core" binds both to one processor; otherwise `ptr export` uses as many as there are, as it does by default.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ptr_policy_node.images import resize_area
from ptr_training.bag_export import export
from ptr_training.bags import ReadOptions
from widowx_bringup.bag_writer import BagWriter, Topic
from widowx_bringup.definitions import message_definition, type_hash

PERIOD_NS = 200_000_000
IMAGE, STATE, COMMAND = "sensor_msgs/msg/Image", "ptr_msgs/msg/ArmState", "ptr_msgs/msg/EefCommand"


class Recording:
    """Writes a bag as the recorder does, from messages made up here."""

    def __init__(self, directory: Path, name: str) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)
        for kind in (STATE, COMMAND):
            types = get_types_from_msg(message_definition(kind), kind)
            self.store.register({name: fields for name, fields in types.items() if name not in self.store.types})
        self.make = self.store.types
        self.writer = BagWriter(directory, name, {"episode_id": name, "task": "put red in bowl", "camera": "front"})
        self.topics = {
            name: Topic(name, kind, message_definition(kind), type_hash(kind))
            for name, kind in {
                "/camera/front/image_raw": IMAGE,
                "/arm/state": STATE,
                "/arm/command": COMMAND,
                "/arm/executed": COMMAND,
            }.items()
        }

    def header(self, stamp_ns: int) -> Any:
        stamp = self.make["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
        return self.make["std_msgs/msg/Header"](stamp, "base_link")

    def put(self, topic: str, stamp_ns: int, *fields: Any) -> None:
        kind = self.topics[topic].type_name
        message = self.make[kind](self.header(stamp_ns), *fields)
        self.writer.write(self.topics[topic], bytes(self.store.serialize_cdr(message, kind)), stamp_ns)


def write_bag(directory: Path, name: str, frames: int) -> Path:
    """Write one episode with an image, four states, a command and its execution per control step."""
    recording = Recording(directory, name)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 480 * 640 * 3), np.uint8)
    pose = recording.make["geometry_msgs/msg/Pose"](
        recording.make["geometry_msgs/msg/Point"](0.3, 0.0, 0.15),
        recording.make["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
    )
    for frame in range(frames):
        now = 10**18 + frame * PERIOD_NS
        for part in range(4):
            stamp = now + part * PERIOD_NS // 4
            recording.put("/arm/state", stamp, np.zeros(6), np.zeros(6), pose, np.zeros(7), 0, "", 0, 0, 0)
        recording.put("/camera/front/image_raw", now, 480, 640, "rgb8", 0, 1920, pictures[frame % len(pictures)])
        if frame < frames - 1:  # the last image is what the last command led to
            for topic in ("/arm/command", "/arm/executed"):
                recording.put(topic, now + 10**6, recording.header(now).stamp, np.zeros(7), 1)
    return recording.writer.finish({"outcome": "success"})


def read_with_rosbags(bags: list[Path], size: int) -> int:
    """Deserialise and resize every image with the rosbags library."""
    frames = 0
    for bag in bags:
        with AnyReader([bag]) as reader:
            images = [connection for connection in reader.connections if connection.msgtype == IMAGE]
            for connection, _, data in reader.messages(images):
                message: Any = reader.deserialize(data, connection.msgtype)
                resize_area(message.data.reshape(message.height, message.width, 3), (size, size))
                frames += 1
    return frames


def read_with_export(bags: list[Path], size: int) -> int:
    """Run all of `ptr export`, into a store that is thrown away."""
    quiet = contextlib.redirect_stderr(io.StringIO())  # no progress bars between the figures
    with tempfile.TemporaryDirectory(dir=bags[0].parent) as folder, quiet:
        audits = export(bags, Path(folder) / "store", ReadOptions(image_size=size))
    return sum(audit["topics"]["/camera/front/image_raw"]["fates"]["used"] for audit in audits)


def rate(read: Callable[[list[Path], int], int], bags: list[Path], size: int, cores: int) -> float:
    """Return frames per second of real time on that many cores."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:cores])
    try:
        start = time.perf_counter()
        return read(bags, size) / (time.perf_counter() - start)
    finally:
        os.sched_setaffinity(0, every)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=6)
    parser.add_argument("--frames", type=int, default=100, help="of each bag")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    readers = {"rosbags": read_with_rosbags, "ptr export": read_with_export}
    with tempfile.TemporaryDirectory() as folder:
        bags = [write_bag(Path(folder), f"bag{number}", arguments.frames) for number in range(arguments.bags)]
        for cores in sorted({1, len(os.sched_getaffinity(0))}):
            rates: dict[str, list[float]] = {name: [] for name in readers}
            for name in [*readers] * arguments.rounds:
                rates[name].append(rate(readers[name], bags, arguments.size, cores))
            print(f"{cores} core{'s' * (cores > 1)}")
            for name, values in rates.items():
                median, low, high = statistics.median(values), min(values), max(values)
                print(f"  {name:<11} {median:6.0f} frames/s  (of {low:.0f} to {high:.0f})")
            ratios = [ours / theirs for ours, theirs in zip(rates["ptr export"], rates["rosbags"], strict=True)]
            print(f"  ratio       {statistics.median(ratios):6.2f}  (of {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
