"""Frames per second of `ptr export` and of the rosbags library, on 640x480 bags, raw and JPEG.

Both read the same bags in the same run, in turns, and decode and resize all their frames
with the same resize: the bags have one image per control step. `ptr export` does more
(state, commands, rewards, audit, store).

    python bench/export_bench.py [--bags 6] [--frames 100] [--size 128] [--rounds 5]

"one core" binds both to one processor; otherwise `ptr export` uses as many as there are, as
it does by default.
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

from ptr_common.images import resize_area
from ptr_training.bags.episodes_from_bag import ReadOptions
from ptr_training.bags.export import export
from widowx_bringup.recording.bag_writer import BagWriter, Topic
from widowx_bringup.recording.message_definitions import message_definition, type_hash

PERIOD_NS = 200_000_000
STATE, COMMAND = "ptr_msgs/msg/ArmState", "ptr_msgs/msg/EefCommand"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
IMAGES = {
    IMAGE: "/camera/front/image_raw",
    COMPRESSED: "/camera/front/image_raw/compressed",
}  # type -> topic
QUALITY = 90  # of the JPEG


class Recording:
    """Writes a bag as the recorder does, from messages made up here."""

    def __init__(self, directory: Path, name: str) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)
        for kind in (STATE, COMMAND):
            types = get_types_from_msg(message_definition(kind), kind)
            for type_name in set(types) & set(self.store.types):
                del types[type_name]
            self.store.register(types)
        self.make = self.store.types
        self.writer = BagWriter(
            directory,
            name,
            {"episode_id": name, "task": "put red in bowl", "camera": "front"},
        )
        self.topics: dict[str, Topic] = {}
        for kind, topic in (
            *IMAGES.items(),
            (STATE, "/arm/state"),
            (COMMAND, "/arm/command"),
            (COMMAND, "/arm/executed"),
        ):
            definition = message_definition(kind)
            self.topics[topic] = Topic(topic, kind, definition, type_hash(kind))

    def header(self, stamp_ns: int) -> Any:
        """Return a std_msgs/Header."""
        stamp = self.make["builtin_interfaces/msg/Time"](
            stamp_ns // 10**9, stamp_ns % 10**9
        )
        return self.make["std_msgs/msg/Header"](stamp, "base_link")

    def put(self, topic: str, stamp_ns: int, *fields: Any) -> None:
        """Write a message made of a header and other fields."""
        kind = self.topics[topic].type_name
        message = self.make[kind](self.header(stamp_ns), *fields)
        self.writer.write(
            self.topics[topic], bytes(self.store.serialize_cdr(message, kind)), stamp_ns
        )


def make_image(seed: int) -> np.ndarray:
    """Return an image of slow waves with the noise of a camera, shape (480, 640, 3).

    As a JPEG it has some 50 kB.
    """
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:480, :640][..., None]
    down, right, start = (
        rng.uniform((-0.05,), (0.05,), (3, 4, 3)) * np.array([1, 1, 100])[:, None, None]
    )
    waves = sum(
        30 * np.cos(row * down[wave] + column * right[wave] + start[wave])
        for wave in range(4)
    )
    return np.clip(128 + waves + rng.normal(0, 4, (480, 640, 3)), 0, 255).astype(np.uint8)


def image_fields(kind: str, seed: int) -> tuple[Any, ...]:
    """Return the fields of an image message after its header."""
    image = make_image(seed)
    if kind == IMAGE:
        return 480, 640, "rgb8", 0, 1920, image.ravel()
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    encoded = cv2.imencode(".jpg", image[..., ::-1], quality)[1]
    return "jpeg", encoded.ravel()


def write_bag(directory: Path, name: str, frames: int, kind: str) -> Path:
    """Write one episode with an image, four states and a command, executed, per control step."""
    recording = Recording(directory, name)
    images = [image_fields(kind, seed) for seed in range(8)]
    pose = recording.make["geometry_msgs/msg/Pose"](
        recording.make["geometry_msgs/msg/Point"](0.3, 0.0, 0.15),
        recording.make["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
    )
    for frame in range(frames):
        now = 10**18 + frame * PERIOD_NS
        for part in range(4):
            stamp = now + part * PERIOD_NS // 4
            recording.put(
                "/arm/state",
                stamp,
                np.zeros(6),
                np.zeros(6),
                pose,
                np.zeros(7),
                0,
                "",
                0,
                0,
                0,
            )
        recording.put(IMAGES[kind], now, *images[frame % len(images)])
        if frame < frames - 1:  # the last image is what the last command led to
            for topic in ("/arm/command", "/arm/executed"):
                recording.put(
                    topic, now + 10**6, recording.header(now).stamp, np.zeros(7), 1
                )
    return recording.writer.finish({"outcome": "success"})


def read_with_rosbags(bags: list[Path], size: int) -> int:
    """Deserialise, decode and resize every image with the rosbags library."""
    frames = 0
    for bag in bags:
        with AnyReader([bag]) as reader:
            images = [topic for topic in reader.connections if topic.msgtype in IMAGES]
            for connection, _, data in reader.messages(images):
                message: Any = reader.deserialize(data, connection.msgtype)
                if connection.msgtype == IMAGE:
                    image = message.data.reshape(message.height, message.width, 3)
                else:
                    decoded = np.asarray(cv2.imdecode(message.data, cv2.IMREAD_COLOR))
                    image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
                resize_area(image, (size, size))
                frames += 1
    return frames


def read_with_export(bags: list[Path], size: int) -> int:
    """Run all of `ptr export`, into a store that is thrown away."""
    quiet = contextlib.redirect_stderr(io.StringIO())  # no progress bars between figures
    with tempfile.TemporaryDirectory(dir=bags[0].parent) as folder, quiet:
        audits = export(bags, Path(folder) / "store", ReadOptions(image_size=size))
    frames = 0
    for audit in audits:
        for topic in IMAGES.values():
            if topic in audit["topics"]:
                frames += audit["topics"][topic]["fates"]["used"]
    return frames


def rate(
    read: Callable[[list[Path], int], int], bags: list[Path], size: int, cores: int
) -> float:
    """Return frames per second of real time on that many cores."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:cores])
    try:
        start = time.perf_counter()
        return read(bags, size) / (time.perf_counter() - start)
    finally:
        os.sched_setaffinity(0, all_cores)


def compare(bags: list[Path], size: int, cores: int, rounds: int) -> None:
    """Print the frames per second of both on that many cores, in turns."""
    readers = {"rosbags": read_with_rosbags, "ptr export": read_with_export}
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for name in [*readers] * rounds:
        rates[name].append(rate(readers[name], bags, size, cores))
    for name, values in rates.items():
        median, low, high = statistics.median(values), min(values), max(values)
        print(f"  {name:<11} {median:6.0f} frames/s  (of {low:.0f} to {high:.0f})")
    ratios = []
    for ours, theirs in zip(rates["ptr export"], rates["rosbags"], strict=True):
        ratios.append(ours / theirs)
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"  ratio       {median:6.2f}  (of {low:.2f} to {high:.2f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=6)
    parser.add_argument("--frames", type=int, default=100, help="of each bag")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for kind in IMAGES:
        with tempfile.TemporaryDirectory() as folder:
            names = [f"bag{number}" for number in range(arguments.bags)]
            bags = [write_bag(Path(folder), name, arguments.frames, kind) for name in names]
            for cores in sorted({1, len(os.sched_getaffinity(0))}):
                print(f"{kind}, {cores} core{'s' * (cores > 1)}")
                compare(bags, arguments.size, cores, arguments.rounds)


if __name__ == "__main__":
    main()
