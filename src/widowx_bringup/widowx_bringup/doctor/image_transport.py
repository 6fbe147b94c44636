"""Measures how images cross from one process to another on this machine: how many arrive, how late, by which way.

Publisher and subscriber are processes of their own with the quality of service of the
system's nodes; what they inherit beyond that (domain, discovery, Fast DDS profile) is the
caller's choice.
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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.errors import PtrError
from widowx_bringup.graph.processes import describe_status, end_with_parent

WARM_UP = 15
"""Pictures sent first and not counted: the two sides have found each other, but perhaps not in both directions."""

PATIENCE = 15.0
"""Longest time in which two processes start and find each other [s]."""

LATEST = 0.5
"""A picture that takes longer than this [s] counts as lost."""

GRACE = 3.0
"""Time a process is given to end when asked to [s]."""

SEGMENT = re.compile(r"/dev/shm/(fastrtps_[0-9a-f]{16})")


class TransportError(PtrError):
    """The two processes did not find each other, or one of them failed."""


@dataclass(frozen=True)
class Pictures:
    """What is sent."""

    width: int = 640
    height: int = 480
    rate: float = 30.0  # [Hz]
    seconds: float = 3.0
    raw: bool = False  # received serialised, as by the recorder

    @property
    def count(self) -> int:
        """Number of pictures that count."""
        return round(self.seconds * self.rate)


@dataclass(frozen=True)
class Crossing:
    """How the pictures crossed.

    Attributes:
        sent: Pictures published.
        latencies: From publishing to the callback, of each picture that arrived [s].
        publisher_cpu: CPU time per picture [s].
        subscriber_cpu: See there.
        shared_memory: Whether the subscriber read them from a memory segment of the
            publisher.
        others: Full names of all other nodes that were seen in the graph meanwhile.
    """

    sent: int
    latencies: np.ndarray
    publisher_cpu: float
    subscriber_cpu: float
    shared_memory: bool
    others: tuple[str, ...]


def measure(pictures: Pictures, environment: Mapping[str, str]) -> Crossing:
    """Send pictures from one process to another; it takes about 3 s longer than the pictures.

    Args:
        pictures: What to send.
        environment: All variables of the two processes.

    Raises:
        TransportError: If one of the processes fails, or they do not find each other.
    """
    topic = f"ptr_transport/image_{os.getpid()}"
    running = [
        _start(role, topic, pictures, environment) for role in ("receive", "publish")
    ]
    subscriber, publisher = running
    try:
        patience = 2 * PATIENCE + pictures.seconds
        published = _result(
            publisher, patience
        )  # it ends by itself, the subscriber with its standard input
        received = _result(subscriber, PATIENCE)
    finally:
        _end(running)
    sent = set(published["stamps"][WARM_UP:])
    latencies = {
        stamp: arrival - stamp for stamp, arrival in received["arrivals"] if stamp in sent
    }
    return Crossing(
        sent=len(sent),
        latencies=np.array(
            [value * 1e-9 for value in latencies.values() if value < LATEST * 1e9]
        ),
        publisher_cpu=published["cpu"],
        subscriber_cpu=received["cpu"],
        shared_memory=not set(published["segments"]).isdisjoint(received["segments"]),
        others=tuple(received["others"]),
    )


def _start(
    role: str, topic: str, pictures: Pictures, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, role, topic, json.dumps(vars(pictures))],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is the caller's
        preexec_fn=end_with_parent,
    )


def _result(process: subprocess.Popen[str], patience: float) -> Any:
    """Close the standard input of a process, wait for its end and return what it printed."""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        raise TransportError(
            f"no picture crosses: no answer within {patience:g} s"
        ) from None
    if process.returncode:
        words = (
            (err.strip() or out.strip()).splitlines()
            or [describe_status(process.returncode)]
        )[-1]
        raise TransportError(f"no picture crosses: {words}")
    return json.loads(out.splitlines()[-1])


def _end(processes: list[subprocess.Popen[str]]) -> None:
    """End processes; asked first, they remove their segments from /dev/shm."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _publish(topic: str, pictures: Pictures) -> dict[str, Any]:
    """Publish at the rate once the subscriber is there; each stamp is the machine's steady clock [ns]."""
    import rclpy
    from sensor_msgs.msg import Image

    from ptr_common import qos
    from ptr_common.images import fill_message
    from ptr_common.managed_node import to_stamp

    node = rclpy.create_node("ptr_transport_publisher")
    publisher = node.create_publisher(Image, topic, qos.IMAGES)
    deadline = time.monotonic() + PATIENCE
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline:
            raise TransportError(
                f"two processes have not found each other in {PATIENCE:g} s"
            )
        time.sleep(0.02)
    picture = np.random.default_rng(0).integers(
        0, 256, (pictures.height, pictures.width, 3), np.uint8
    )
    stamps, start, cpu = [], time.monotonic(), time.process_time()
    for index in range(WARM_UP + pictures.count):
        time.sleep(max(0.0, start + index / pictures.rate - time.monotonic()))
        message = Image()
        fill_message(message, picture)
        stamps.append(time.monotonic_ns())
        message.header.stamp = to_stamp(stamps[-1])
        publisher.publish(message)
    cpu = time.process_time() - cpu
    time.sleep(LATEST)  # what is on its way lies in a segment of this process
    return {"stamps": stamps, "cpu": cpu / len(stamps), "segments": _own_segments()}


def _receive(topic: str, pictures: Pictures) -> dict[str, Any]:
    """Note each picture's stamp and its arrival [ns] until the standard input is closed."""
    import rclpy
    from sensor_msgs.msg import Image

    from ptr_common import qos
    from ptr_common.cdr import stamp_of
    from ptr_common.managed_node import to_ns

    arrivals: list[tuple[int, int]] = []
    segments: set[str] = set()
    others: set[str] = set()

    def take(message: Image | bytes) -> None:
        arrival = time.monotonic_ns()
        arrivals.append(
            (
                stamp_of(message)
                if isinstance(message, bytes)
                else to_ns(message.header.stamp),
                arrival,
            )
        )
        if len(arrivals) % WARM_UP == 1:  # while the publisher is there
            segments.update(SEGMENT.findall(Path("/proc/self/maps").read_text()))
            names = node.get_node_names_and_namespaces()
            others.update(
                f"{space.rstrip('/')}/{name}"
                for name, space in names
                if "ptr_transport" not in name
            )

    node = rclpy.create_node("ptr_transport_subscriber")
    node.create_subscription(Image, topic, take, qos.IMAGES, raw=pictures.raw)
    cpu = time.process_time()
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        rclpy.spin_once(node, timeout_sec=0.1)
    cpu = (time.process_time() - cpu) / max(len(arrivals), 1)
    return {
        "arrivals": arrivals,
        "cpu": cpu,
        "segments": sorted(segments),
        "others": sorted(others),
    }


def _own_segments() -> list[str]:
    """Return the Fast DDS segments of this process: it alone keeps the lock file of each open."""
    links = []
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists the folder
            links.append(str(file.readlink()))
    return [
        found[1]
        for link in links
        if link.endswith("_el") and (found := SEGMENT.match(link))
    ]


def main() -> int:
    """Be one of the two processes: ROLE TOPIC PICTURES."""
    import rclpy

    role, topic, pictures = sys.argv[1:]
    rclpy.init()
    try:
        result = (_publish if role == "publish" else _receive)(
            topic, Pictures(**json.loads(pictures))
        )
    except TransportError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
