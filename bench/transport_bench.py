"""Measure images from one process to another: loss, and time from publish to callback.

    .venv/bin/python bench/transport_bench.py --seconds 60

Uses the QoS, the message type and the transport settings of the system's own nodes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection

import numpy as np


def publish(height: int, width: int, rate: float, count: int, ready: Connection) -> None:
    """Publish `count` random images at `rate` [Hz]."""
    import rclpy
    from sensor_msgs.msg import Image

    from ptr_policy_node import qos
    from ptr_policy_node.images import fill_message

    rclpy.init()
    node = rclpy.create_node("bench_camera")
    publisher = node.create_publisher(Image, "bench/image", qos.IMAGES)
    while publisher.get_subscription_count() == 0:
        time.sleep(0.01)
    ready.recv()
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    start, cpu = time.monotonic() + 0.1, time.process_time()
    for index in range(count):
        time.sleep(max(0.0, start + index / rate - time.monotonic()))
        message = Image()
        fill_message(message, picture)
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    ready.send((time.process_time() - cpu) / count)
    time.sleep(1.0)
    rclpy.shutdown()


def receive(rate: float, count: int, ready: Connection, raw: bool) -> tuple[np.ndarray, float]:
    """Return the latency of every image received [s] and the CPU time spent on each [s]."""
    import rclpy
    from sensor_msgs.msg import Image

    from ptr_policy_node import qos
    from ptr_policy_node.images import stamp_of
    from ptr_policy_node.node import to_ns

    latencies: list[int] = []

    def take(message: Image | bytes) -> None:
        stamp_ns = stamp_of(message) if isinstance(message, bytes) else to_ns(message.header.stamp)
        latencies.append(time.time_ns() - stamp_ns)

    rclpy.init()
    node = rclpy.create_node("bench_subscriber")
    node.create_subscription(Image, "bench/image", take, qos.IMAGES, raw=raw)
    time.sleep(2.0)  # discovery is complete on both sides
    ready.send("go")
    cpu, deadline = time.process_time(), time.monotonic() + count / rate + 3.0
    while len(latencies) < count and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.1)
    used = time.process_time() - cpu
    rclpy.shutdown()
    return np.array(latencies) * 1e-9, used / max(len(latencies), 1)


def main() -> int:
    """Run publisher and subscriber, print one line, return 1 if an image was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=30.0, help="[Hz]")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    parser.add_argument("--profiles", help='Fast DDS profile; "" for none (default: the system\'s config/fastdds.xml)')
    parser.add_argument("--raw", action="store_true", help="subscribe to serialised messages, as the recorder does")
    arguments = parser.parse_args()
    from widowx_bringup.graph import environment

    os.environ.setdefault("ROS_DOMAIN_ID", "87")
    os.environ.update(environment({}))
    if arguments.profiles is not None:
        os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = arguments.profiles
    if arguments.profiles == "":
        del os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"]
    width, height = map(int, arguments.size.split("x"))
    count = round(arguments.seconds * arguments.rate)
    ours, theirs = multiprocessing.Pipe()
    camera = multiprocessing.get_context("spawn").Process(
        target=publish, args=(height, width, arguments.rate, count, theirs)
    )
    camera.start()
    latencies, cpu = receive(arguments.rate, count, ours, arguments.raw)
    publisher_cpu = ours.recv() if ours.poll(5.0) else float("nan")
    camera.join()
    p50, p99, worst = np.percentile(latencies * 1e3, (50, 99, 100)) if len(latencies) else (np.nan,) * 3
    print(
        f"{arguments.size} rgb8 at {arguments.rate:g} Hz for {arguments.seconds:g} s: received {len(latencies)} of "
        f"{count}; publish to callback p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {worst:.2f} ms; "
        f"CPU a frame: publisher {publisher_cpu * 1e3:.2f} ms, subscriber {cpu * 1e3:.2f} ms"
    )
    return int(len(latencies) < count)


if __name__ == "__main__":
    sys.exit(main())
