"""Measure images from one process to another: loss, and time from publish to callback.

    .venv/bin/python bench/transport_bench.py --seconds 60

Uses the QoS, the message type and the transport settings of the system's own nodes.
"""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np

from widowx_bringup.doctor.image_transport import ImageStream, measure
from widowx_bringup.graph.environment import environment


def main() -> int:
    """Measure, print one line, return 1 if an image was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=30.0, help="[Hz]")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    parser.add_argument(
        "--profiles",
        help='Fast DDS profile; "" for none (default: the system\'s config/fastdds.xml)',
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="subscribe to serialised messages, as the recorder does",
    )
    arguments = parser.parse_args()
    variables = {"ROS_DOMAIN_ID": "87", **os.environ, **environment({})}
    if arguments.profiles is not None:
        variables["FASTRTPS_DEFAULT_PROFILES_FILE"] = arguments.profiles
    if arguments.profiles == "":
        del variables["FASTRTPS_DEFAULT_PROFILES_FILE"]
    width, height = map(int, arguments.size.split("x"))
    transport = measure(
        ImageStream(width, height, arguments.rate, arguments.seconds, arguments.raw),
        variables,
    )
    received = len(transport.latencies)
    p50, p99, worst = (
        np.percentile(transport.latencies * 1e3, (50, 99, 100))
        if received
        else (np.nan,) * 3
    )
    print(
        f"{arguments.size} rgb8 at {arguments.rate:g} Hz for {arguments.seconds:g} s: "
        f"received {received} of {transport.sent}; "
        f"publish to callback p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {worst:.2f} ms; "
        f"CPU a frame: publisher {transport.publisher_cpu * 1e3:.2f} ms, "
        f"subscriber {transport.subscriber_cpu * 1e3:.2f} ms"
    )
    return int(received < transport.sent)


if __name__ == "__main__":
    sys.exit(main())
