"""Measure the latency of the policy node over DDS, with untrained networks of real size.

    .venv/bin/python bench/latency_bench.py --seconds 60

Latency: from the stamp of an image to the published command. The node runs in another
process; this one plays the camera (640x480 rgb8 at 30 Hz) and the arm.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_common.images import resize_area
from ptr_policy_node.bundle import BundleInfo, CameraSpec, write_bundle

if TYPE_CHECKING:
    from rclpy.node import Node

    from ptr_training.models.inference_policy import InferencePolicy
    from widowx_bringup.graph.processes import Processes

CAMERA = CameraSpec("bench", 640, 480)
TASK = "put the red cube on the white plate"
STATE_RATE = 20.0  # [Hz]
SIZES = {"small": 64, "resnet34": 128}  # image size of each encoder [pixels]


def untrained(encoder: str, agent: str, size: int) -> InferencePolicy:
    """Return the untrained networks of an agent for images of `size` x `size` pixels."""
    import torch

    from ptr_training.agents import AGENTS
    from ptr_training.data.normalization import DataSpec
    from ptr_training.models.config import NetworkConfig
    from ptr_training.training.build import build_agent
    from ptr_training.training.config import Config

    low, high = tuple(ACTION_LOW.tolist()), tuple(ACTION_HIGH.tolist())
    data_spec = DataSpec(
        8, size, size, low, high, (True,) * 7, (0.0,) * 7, (0.0,) * 7, (1.0,) * 7
    )
    config = Config(AGENTS[agent].Config(), agent, NetworkConfig(encoder=encoder))
    return build_agent(config, data_spec, torch.device("cpu")).deployed().eval()


def make_bundle(
    path: Path, deployed: InferencePolicy, agent: str, size: int, form: str
) -> None:
    """Write the bundle of untrained networks; `form` is one of `bundle.FORMS`."""
    from ptr_training.deploy.bundle_export import make_programs

    image = np.random.default_rng(0).integers(
        0, 256, (1, CAMERA.height, CAMERA.width, 3), np.uint8
    )
    inputs = {
        "image": image,
        "proprio": np.zeros((1, 7), np.float32),
        "task": np.zeros(1, np.int64),
        "resized": resize_area(image[0], (size, size))[None],
    }
    info = BundleInfo(agent, CAMERA, size, size, 5.0, (TASK,), "executed", {}, {}, "bench")
    write_bundle(path, info, *make_programs(deployed, inputs, form))


class Robot:
    """Plays camera and arm, and listens to the policy."""

    def __init__(self, node: Node) -> None:
        from sensor_msgs.msg import Image

        from ptr_common import qos
        from ptr_common.images import fill_message
        from ptr_common.managed_node import to_ns
        from ptr_common.topics import image_topic
        from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState
        from widowx_bringup.camera.compressed import CompressedImages

        self.node = node
        self.latencies: list[float] = []  # image stamp to header of the command [s]
        self.arrivals: list[float] = []  # image stamp to arrival of the command here [s]
        self.states: list[PolicyState] = []
        self._image = Image()
        noise = np.random.default_rng(1).integers(0, 256, (15, 20, 3), np.uint8)
        # As easy to encode as a scene.
        pixels = cv2.resize(noise, (CAMERA.width, CAMERA.height))
        fill_message(self._image, pixels)
        self._compressed = CompressedImages(node, f"{image_topic(CAMERA.name)}/compressed")
        self._images = node.create_publisher(Image, image_topic(CAMERA.name), qos.IMAGES)
        self._arms = node.create_publisher(ArmState, "arm/state", qos.STATE)
        self.events = node.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        node.create_subscription(PolicyState, "policy/state", self.states.append, qos.STATE)

        def take(command: EefCommand) -> None:
            seen_ns = to_ns(command.observation_stamp)
            self.latencies.append((to_ns(command.header.stamp) - seen_ns) * 1e-9)
            self.arrivals.append((time.time_ns() - seen_ns) * 1e-9)

        node.create_subscription(EefCommand, "arm/command", take, qos.COMMANDS)

    def publish_image(self) -> None:
        """Publish an image stamped now."""
        self._image.header.stamp = self.node.get_clock().now().to_msg()
        self._images.publish(self._image)
        self._compressed.offer(self._image)

    def publish_arm(self) -> None:
        """Publish an arm state stamped now."""
        from ptr_msgs.msg import ArmState

        state = ArmState()
        state.header.stamp = self.node.get_clock().now().to_msg()
        self._arms.publish(state)


def measure(robot: Robot, policy: Processes, seconds: float, rate: float) -> None:
    """Publish images at `rate` [Hz] and arm states for some seconds, within an episode."""
    import rclpy

    from ptr_msgs.msg import EpisodeEvent

    # Until the policy is active.
    while robot.events.get_subscription_count() == 0 or not robot.states:
        policy.check()
        rclpy.spin_once(robot.node, timeout_sec=0.1)
    start = EpisodeEvent(episode_id="bench", event=EpisodeEvent.START, task=TASK)
    start.header.stamp = robot.node.get_clock().now().to_msg()
    robot.events.publish(start)
    begin, images, arms = time.monotonic(), 0, 0
    while (now := time.monotonic() - begin) < seconds:
        if now >= arms / STATE_RATE:
            robot.publish_arm()
            arms += 1
        if now >= images / rate:
            robot.publish_image()
            images += 1
        due = min(arms / STATE_RATE, images / rate)
        rclpy.spin_once(robot.node, timeout_sec=max(0.0, due - (time.monotonic() - begin)))
    rclpy.spin_once(robot.node, timeout_sec=0.5)


def summary(values: list[float]) -> str:
    """Return median, 99th percentile and largest of some times [s], in milliseconds."""
    p50, p99, worst = np.percentile(np.array(values) * 1e3, (50, 99, 100))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {worst:.1f} ms"


def main() -> int:
    """Measure the node with each encoder and print the latencies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--encoder", nargs="+", choices=sorted(SIZES), default=sorted(SIZES, reverse=True)
    )
    parser.add_argument("--agent", choices=("cql", "bc"), default="cql")
    parser.add_argument(
        "--size", type=int, help=f"image size of the network [pixels] (default: {SIZES})"
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--backend", default="export", help="aot is compiled before [%(default)s]"
    )
    parser.add_argument(
        "--precision", default="float32", help="float32 or bfloat16 [%(default)s]"
    )
    parser.add_argument("--rate", type=float, default=30.0, help="of the camera [Hz]")
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", "88")
    from widowx_bringup.graph.environment import environment

    os.environ.update(environment({}))
    for encoder in arguments.encoder:
        size = arguments.size or SIZES[encoder]
        robot = run_node(arguments, encoder, size)
        acting = [state for state in robot.states if state.status == state.STATUS_ACTING]
        judged = sum(np.isfinite(state.q_values).all() for state in acting)
        print(
            f"{arguments.agent}, {encoder} encoder, {size}x{size}, {robot.states[-1].execution}: "
            f"{len(robot.latencies)} commands of "
            f"{int(arguments.seconds * 5)}, {judged} with Q values\n"
            f"  image stamp to published command: {summary(robot.latencies)}\n"
            f"  image stamp to arrival of the command: {summary(robot.arrivals)}"
        )
    return 0


def run_node(arguments: argparse.Namespace, encoder: str, size: int) -> Robot:
    """Run the policy node against a played robot; return the robot with its latencies."""
    import rclpy

    from ptr_policy_node.aot_compile import compile_bundle
    from ptr_policy_node.bundle import read_bundle
    from widowx_bringup.graph.processes import Processes
    from widowx_bringup.graph.spec import NodeSpec

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # what is compiled goes with the bundle
        bundle = Path(folder, "bundle")
        form = "torchscript" if arguments.backend == "torchscript" else "export"
        networks = untrained(encoder, arguments.agent, size)
        make_bundle(bundle, networks, arguments.agent, size, form)
        if arguments.backend == "aot":
            compile_bundle(read_bundle(bundle), arguments.precision)
        parameters: dict[str, Any] = {
            "bundle": str(bundle),
            "camera": CAMERA.name,
            "autostart": True,
        }
        parameters |= {"backend": arguments.backend, "precision": arguments.precision}
        spec = NodeSpec("ptr_policy_node", "policy_node", "policy.yaml", parameters)
        with Processes([spec], Path(folder), {}) as policy:
            rclpy.init()
            try:
                robot = Robot(rclpy.create_node("bench_robot"))
                measure(robot, policy, arguments.seconds, arguments.rate)
                policy.check()
            finally:
                rclpy.shutdown()
    return robot


if __name__ == "__main__":
    sys.exit(main())
