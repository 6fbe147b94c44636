"""Measure what the console costs the policy node, and how fast its page shows an image.

    .venv/bin/python bench/console_bench.py --seconds 20

The policy node runs as in latency_bench.py; turn by turn without and with a console whose page
is looked at, which shows ten images a second. Period: between two steps of the policy. Of a
busy computer believe the ratios only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from latency_bench import CAMERA, SIZES, TASK, Robot, make_bundle, measure, untrained

from ptr_common.errors import PtrError

if TYPE_CHECKING:
    from widowx_bringup.graph.processes import Processes

START_LIMIT = 60.0
"""Longest time in which the console starts [s]."""


def look(port: int, seconds: float, results: Connection) -> None:
    """Look at the console as a browser does, from a process of its own.

    Args:
        port: Of the console.
        seconds: For how long.
        results: Receives the time from the request for the page to its first image [s], and
            the number of images.
    """
    from websockets.sync.client import connect

    begin = time.monotonic()
    opened, images = 0.0, 0
    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
    with connect(f"ws://127.0.0.1:{port}/live") as live:
        while time.monotonic() < begin + seconds:
            message = live.recv(timeout=10)
            if isinstance(message, bytes):
                images += 1
                opened = opened or time.monotonic() - begin
            else:
                live.send(json.dumps({"shown": json.loads(message)["view"]}))
    results.send((opened, images))


@contextlib.contextmanager
def console(folder: Path, seconds: float) -> Iterator[Connection]:
    """Run a console that is looked at; yield what the results of `look` come from."""
    from widowx_bringup.graph.processes import Processes
    from widowx_bringup.graph.spec import NodeSpec

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    parameters = {"camera": CAMERA.name, "task": TASK, "port": port}
    spec = NodeSpec("widowx_bringup", "console_node", parameters=parameters)
    with Processes([spec], folder / "console", {}) as processes:
        _wait_for(port, processes)
        spawn = multiprocessing.get_context("spawn")
        results, send = spawn.Pipe(duplex=False)
        viewer = spawn.Process(target=look, args=(port, seconds, send), daemon=True)
        viewer.start()
        yield results
        viewer.join()


def _wait_for(port: int, processes: Processes) -> None:
    """Wait until a program listens on a port of this computer."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        processes.check()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise PtrError(f"nothing listens on port {port} after {START_LIMIT:g} s")


def run_turn(robot: Robot, policy: Processes, seconds: float) -> list[np.ndarray]:
    """Return latencies and periods [ms] of an episode."""
    from ptr_common.managed_node import to_ns
    from ptr_msgs.msg import EpisodeEvent

    robot.latencies.clear()
    robot.states.clear()
    measure(robot, policy, seconds, 30.0)
    robot.events.publish(EpisodeEvent(episode_id="bench", event=EpisodeEvent.DISCARD))
    stamps = []
    for state in robot.states:
        if state.status == state.STATUS_ACTING:
            stamps.append(to_ns(state.header.stamp))
    return [np.array(robot.latencies) * 1e3, np.diff(stamps) * 1e-6]


def main() -> int:
    """Measure and print, without and with the console."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each kind")
    options = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", "88")
    import rclpy

    from widowx_bringup.graph.environment import environment
    from widowx_bringup.graph.processes import Processes
    from widowx_bringup.graph.spec import NodeSpec

    os.environ.update(environment({}))
    turns: dict[str, list[list[np.ndarray]]] = {"without": [], "with": []}
    rclpy.init()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = untrained("small", "cql", SIZES["small"])
        make_bundle(folder / "bundle", networks, "cql", SIZES["small"], "export")
        bundle = {
            "bundle": str(folder / "bundle"),
            "camera": CAMERA.name,
            "autostart": True,
        }
        spec = NodeSpec("ptr_policy_node", "policy_node", "policy.yaml", bundle)
        with Processes([spec], folder, {}) as policy:
            robot = Robot(rclpy.create_node("bench_robot"))
            for _ in range(options.turns):
                turns["without"].append(run_turn(robot, policy, options.seconds))
                with console(folder, options.seconds) as results:
                    turns["with"].append(run_turn(robot, policy, options.seconds))
                    opened, images = results.recv()
                print(
                    f"page and first image after {opened:.2f} s, "
                    f"{images / options.seconds:.1f} images/s",
                    flush=True,
                )
    rclpy.shutdown()
    for kind, measured in turns.items():
        for index, quantity in enumerate(("latency", "period")):
            values = np.concatenate([turn[index] for turn in measured])
            p50, p99 = np.percentile(values, (50, 99))
            print(
                f"{kind:7} {quantity:7} p50 {p50:.1f} ms, p99 {p99:.1f} ms, n {len(values)}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
