"""Measures loss and latency of images that one process on this computer sends to another.

Publisher and subscriber are two processes with the quality of service of the system's
nodes. Domain, discovery and Fast DDS profile are the caller's choice.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.cdr import stamp_of
from ptr_common.errors import PtrError
from widowx_bringup.graph.processes import describe_status, end_with_parent

if TYPE_CHECKING:
    from rclpy.node import Node
    from sensor_msgs.msg import Image

WARM_UP = 15
"""Images sent first and not counted, until both processes have found each other for sure."""

START_TIMEOUT = 15.0
"""Longest time in which two processes start and find each other [s]."""

LATEST = 0.5
"""Latency from which an image counts as lost [s]."""

GRACE = 3.0
"""Time that a process has to end after SIGTERM [s]."""

SEGMENT = re.compile(r"/dev/shm/(fastrtps_[0-9a-f]{16})")

NODE_PREFIX = "ptr_transport"
"""Start of the names of the two nodes."""


class TransportError(PtrError):
    """The two processes did not find each other, or one of them failed."""


@dataclass(frozen=True)
class ImageStream:
    """The images that are sent.

    Attributes:
        width: Width of an image [pixels].
        height: Height of an image [pixels].
        rate: Images per second [Hz].
        seconds: Duration of the counted images [s].
        raw: Whether the subscriber takes serialised messages, as the recorder does.
    """

    width: int = 640
    height: int = 480
    rate: float = 30.0
    seconds: float = 3.0
    raw: bool = False

    @property
    def count(self) -> int:
        """Number of images that are counted."""
        return round(self.seconds * self.rate)


@dataclass(frozen=True)
class TransportResult:
    """How the images arrived.

    Attributes:
        sent: Number of images published.
        latencies: Time from publishing to the callback of each image that arrived,
            shape (n,) [s].
        publisher_cpu: CPU time of the publisher per image [s].
        subscriber_cpu: CPU time of the subscriber per image [s].
        shared_memory: Whether the subscriber read a memory segment of the publisher.
        others: Full names of all other nodes that were in the graph meanwhile.
    """

    sent: int
    latencies: np.ndarray
    publisher_cpu: float
    subscriber_cpu: float
    shared_memory: bool
    others: tuple[str, ...]


def measure(stream: ImageStream, environment: Mapping[str, str]) -> TransportResult:
    """Send images from one process to another; starting takes about 3 s.

    Args:
        stream: The images.
        environment: All variables of the two processes.

    Raises:
        TransportError: If one of the processes fails, or they do not find each other.
    """
    topic = f"{NODE_PREFIX}/image_{os.getpid()}"
    subscriber = _start("receive", topic, stream, environment)
    publisher = _start("publish", topic, stream, environment)
    try:
        # The publisher ends after its last image, the subscriber with its standard input.
        published = _result(publisher, 2 * START_TIMEOUT + stream.seconds)
        received = _result(subscriber, START_TIMEOUT)
    finally:
        _end([subscriber, publisher])

    sent = set(published["stamps"][WARM_UP:])
    common_segments = set(published["segments"]) & set(received["segments"])
    return TransportResult(
        sent=len(sent),
        latencies=_latencies(sent, received["arrivals"]),
        publisher_cpu=published["cpu"],
        subscriber_cpu=received["cpu"],
        shared_memory=bool(common_segments),
        others=tuple(received["others"]),
    )


def _latencies(sent: set[int], arrivals: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the latencies [s] of the images that arrived in time.

    Args:
        sent: Stamps of the counted images [ns].
        arrivals: Stamp and time of arrival of each image received [ns].
    """
    latencies: dict[int, int] = {}
    for stamp, arrival in arrivals:
        if stamp in sent:
            latencies[stamp] = arrival - stamp

    seconds = np.array(list(latencies.values()), dtype=float) * 1e-9
    return seconds[seconds < LATEST]


def _start(
    role: str, topic: str, stream: ImageStream, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, role, topic, json.dumps(vars(stream))],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is the caller's
        preexec_fn=end_with_parent,
    )


def _result(process: subprocess.Popen[str], timeout: float) -> Any:
    """Close the standard input of a process and return what it prints before it ends."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise TransportError(f"no image arrives: no answer within {timeout:g} s") from None

    if process.returncode:
        lines = (errors.strip() or output.strip()).splitlines()
        reason = lines[-1] if lines else describe_status(process.returncode)
        raise TransportError(f"no image arrives: {reason}")

    return json.loads(output.splitlines()[-1])


def _end(processes: list[subprocess.Popen[str]]) -> None:
    """End processes; after SIGTERM they remove their segments from /dev/shm."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


# --- the publishing process -------------------------------------------------------------


def _publish(topic: str, stream: ImageStream) -> dict[str, Any]:
    """Publish the stream once the subscriber is there; stamps are the steady clock [ns]."""
    import rclpy
    from sensor_msgs.msg import Image

    from ptr_common import qos
    from ptr_common.images import fill_message
    from ptr_common.managed_node import to_stamp

    node = rclpy.create_node(f"{NODE_PREFIX}_publisher")
    publisher = node.create_publisher(Image, topic, qos.IMAGES)
    _wait_for_subscriber(publisher)
    shape = (stream.height, stream.width, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    stamps: list[int] = []
    start = time.monotonic()
    cpu_before = time.process_time()
    for index in range(WARM_UP + stream.count):
        time.sleep(max(0.0, start + index / stream.rate - time.monotonic()))
        message = Image()
        fill_message(message, image)
        stamps.append(time.monotonic_ns())
        message.header.stamp = to_stamp(stamps[-1])
        publisher.publish(message)

    cpu = time.process_time() - cpu_before
    time.sleep(LATEST)  # images that have not arrived yet are in a segment of this process
    return {"stamps": stamps, "cpu": cpu / len(stamps), "segments": _own_segments()}


def _wait_for_subscriber(publisher: Any) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline:
            raise TransportError(
                f"two processes have not found each other in {START_TIMEOUT:g} s"
            )
        time.sleep(0.02)


def _own_segments() -> list[str]:
    """Return the Fast DDS segments of this process, which has their lock files open."""
    segments = []
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder
            link = str(file.readlink())
            match = SEGMENT.match(link)
            if match and link.endswith("_el"):
                segments.append(match[1])
    return segments


# --- the subscribing process ------------------------------------------------------------


class _Receiver:
    """Notes stamp and arrival of each image, and what else is in the graph.

    Args:
        node: Node of the subscription.
    """

    def __init__(self, node: Node) -> None:
        from ptr_common.managed_node import to_ns

        self._node = node
        self._to_ns = to_ns
        self.arrivals: list[tuple[int, int]] = []  # stamp and arrival [ns]
        self.segments: set[str] = set()
        self.others: set[str] = set()

    def take(self, message: Image | bytes) -> None:
        """Note an image, serialised or not."""
        arrival = time.monotonic_ns()
        self.arrivals.append((self._stamp(message), arrival))
        if len(self.arrivals) % WARM_UP == 1:  # while the publisher is there
            self._look_around()

    def _stamp(self, message: Image | bytes) -> int:
        """Return the stamp of an image [ns]."""
        if isinstance(message, bytes):
            return stamp_of(message)
        return self._to_ns(message.header.stamp)

    def _look_around(self) -> None:
        self.segments.update(SEGMENT.findall(Path("/proc/self/maps").read_text()))
        for name, namespace in self._node.get_node_names_and_namespaces():
            if NODE_PREFIX not in name:
                self.others.add(f"{namespace.rstrip('/')}/{name}")


def _receive(topic: str, stream: ImageStream) -> dict[str, Any]:
    """Receive images until the standard input is closed."""
    import rclpy
    from sensor_msgs.msg import Image

    from ptr_common import qos

    node = rclpy.create_node(f"{NODE_PREFIX}_subscriber")
    receiver = _Receiver(node)
    node.create_subscription(Image, topic, receiver.take, qos.IMAGES, raw=stream.raw)
    cpu_before = time.process_time()
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        rclpy.spin_once(node, timeout_sec=0.1)
    cpu = time.process_time() - cpu_before
    return {
        "arrivals": receiver.arrivals,
        "cpu": cpu / max(len(receiver.arrivals), 1),
        "segments": sorted(receiver.segments),
        "others": sorted(receiver.others),
    }


def main() -> int:
    """Be one of the two processes: ROLE TOPIC STREAM."""
    import rclpy

    role, topic, stream_text = sys.argv[1:]
    act = _publish if role == "publish" else _receive
    rclpy.init()
    try:
        result = act(topic, ImageStream(**json.loads(stream_text)))
    except TransportError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()

    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
