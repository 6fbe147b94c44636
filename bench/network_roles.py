"""What runs on the two computers of network_bench.py: robot, graph, peer, watch, images."""

from __future__ import annotations

import argparse
import functools
import json
import os
import select
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from ptr_common import qos
from ptr_common.images import fill_message
from ptr_common.topics import TOPIC_ARM_STATE, image_topic
from ptr_msgs.msg import ArmState
from widowx_bringup.doctor.image_transport import ImageStream, measure
from widowx_bringup.graph.graphs import find_graph
from widowx_bringup.graph.processes import Processes

NAMESPACE = "/wx250s"

ENOUGH = 5
"""Arm states after which a peer has seen enough, once it has an image and an answer."""


# --- the robot ----------------------------------------------------------------------------


class Robot(Node):
    """Publishes arm states and images and offers arm/hold, as the system's nodes do."""

    def __init__(self) -> None:
        super().__init__("robot", namespace=NAMESPACE)
        states = self.create_publisher(ArmState, TOPIC_ARM_STATE, qos.STATE)
        self.create_timer(0.02, lambda: states.publish(ArmState()))
        # A busy computer loses large images of a default peer, whose socket buffer is small.
        for camera, shape in (("front", (480, 640, 3)), ("wrist", (120, 160, 3))):
            publisher = self.create_publisher(Image, image_topic(camera), qos.IMAGES)
            image = Image()
            fill_message(image, np.zeros(shape, np.uint8))
            self.create_timer(0.1, functools.partial(publisher.publish, image))
        self.create_service(Trigger, "arm/hold", self._on_hold)

    def _on_hold(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        return response


def be_robot() -> None:
    """Be the small robot until standard input closes."""
    node = Robot()
    print("ready", flush=True)
    while not _input_closed():
        rclpy.spin_once(node, timeout_sec=0.05)
    node.destroy_node()


def be_graph() -> None:
    """Run the simulated graph with the settings of this process until input closes."""
    graph = find_graph("record")
    with tempfile.TemporaryDirectory() as folder:
        given = {"teleop": "none", "urdf": "false", "bag_directory": folder}
        specs = graph.nodes(graph.resolve(given))
        with Processes(specs, Path(folder, "log"), {"LP_NUM_THREADS": "0"}) as processes:
            print("ready", flush=True)
            while not _input_closed():
                processes.check()
                time.sleep(0.1)


# --- the peer -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Sight:
    """What a peer reached.

    Attributes:
        nodes: Names of the nodes it lists.
        states: Number of arm states it took.
        images: Number of images it took.
        held: Whether arm/hold answered.
        seconds: Time from its start [s].
    """

    nodes: tuple[str, ...]
    states: int
    images: int
    held: bool
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether the peer lists, takes arm states and images, and calls."""
        return bool(self.nodes and self.images and self.held) and self.states >= ENOUGH

    @property
    def nothing(self) -> bool:
        """Whether the peer reached nothing at all."""
        return not (self.nodes or self.states or self.images or self.held)


class Peer(Node):
    """Lists nodes, takes arm states and the images of any camera, and calls arm/hold."""

    def __init__(self) -> None:
        super().__init__("peer")
        self._started = time.monotonic()
        self._states = 0
        self._images = 0
        self._held = False
        self._cameras: set[str] = set()
        self._listed: set[str] = set()
        state_topic = f"{NAMESPACE}/{TOPIC_ARM_STATE}"
        self.create_subscription(ArmState, state_topic, self._on_state, qos.STATE)
        self._hold = self.create_client(Trigger, f"{NAMESPACE}/arm/hold")
        self._answer: Any = None

    def look_around(self) -> Sight:
        """Return what is reached by now; subscribe to new cameras, and call once."""
        for topic, types in self.get_topic_names_and_types():
            if "sensor_msgs/msg/Image" in types and topic not in self._cameras:
                self._cameras.add(topic)
                self.create_subscription(Image, topic, self._on_image, qos.IMAGES, raw=True)
        self._listed |= set(self.get_node_names()) - {self.get_name()}
        if self._answer is None and self._hold.service_is_ready():
            self._answer = self._hold.call_async(Trigger.Request())
        return Sight(
            nodes=tuple(sorted(self._listed)),
            states=self._states,
            images=self._images,
            held=self._answer is not None and self._answer.done(),
            seconds=time.monotonic() - self._started,
        )

    def _on_state(self, _: ArmState) -> None:
        self._states += 1

    def _on_image(self, _: bytes) -> None:
        self._images += 1


def be_peer(limit: float, watch: bool) -> Sight:
    """Return what a peer reaches.

    Args:
        limit: Time after which it stops unless it has seen enough [s].
        watch: Stop when standard input closes instead.
    """
    node = Peer()
    while True:
        rclpy.spin_once(node, timeout_sec=0.02)
        sight = node.look_around()
        if _input_closed() if watch else sight.whole or sight.seconds > limit:
            node.destroy_node()
            return sight


# --- images on the robot's computer -------------------------------------------------------


def send_images(seconds: float) -> dict[str, float]:
    """Send 640x480 images at 30 Hz from process to process.

    Args:
        seconds: Duration [s].

    Returns:
        Images sent and received; time from publishing to the callback and CPU time an image
        of both processes [ms].
    """
    transport = measure(ImageStream(seconds=seconds, raw=True), os.environ)
    received = len(transport.latencies)
    p50, p99 = (
        np.percentile(transport.latencies * 1e3, (50, 99)).tolist()
        if received
        else (np.nan, np.nan)
    )
    return {
        "sent": transport.sent,
        "received": received,
        "p50": p50,
        "p99": p99,
        "publisher_cpu": transport.publisher_cpu * 1e3,
        "subscriber_cpu": transport.subscriber_cpu * 1e3,
    }


def _input_closed() -> bool:
    return bool(select.select([sys.stdin], [], [], 0.0)[0])


def main() -> int:
    """Be one of the processes: ROLE, and its duration."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("role", choices=["robot", "graph", "peer", "watch", "images"])
    parser.add_argument(
        "seconds", type=float, nargs="?", default=0.0, help="[s] (default: 0)"
    )
    options = parser.parse_args()
    if options.role == "graph":
        be_graph()
        return 0
    if options.role == "images":
        print(json.dumps(send_images(options.seconds)))
        return 0

    rclpy.init()
    if options.role == "robot":
        be_robot()
    else:
        print(json.dumps(asdict(be_peer(options.seconds, options.role == "watch"))))
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
