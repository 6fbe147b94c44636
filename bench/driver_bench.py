"""The loop of the real arm's driver at 50 Hz: how even it is, and what it leaves behind.

The stand-in for xs_sdk, with the simulated arm, runs in a process of its own; the arm node
runs here, with a probe that sends it a command and many pictures all the time. Measured are
the intervals between two looks at the arm, the resident memory, and the timers and pending
calls of the node and of the connection to the driver.

    python bench/driver_bench.py --seconds 600
"""

from __future__ import annotations

import argparse
import gc
import itertools
import subprocess
import sys
import time

import numpy as np
import rclpy
from fault_bench import NAMESPACE, STANDIN, Probe, _spin, _until
from tqdm import tqdm

from ptr_msgs.msg import EpisodeEvent
from widowx_bringup.arm.node import DEVICES, WATCH_PERIOD, ArmNode


def resident() -> float:
    """Return this process's resident memory [MB]."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096 / 1e6


def left_behind(arm: ArmNode) -> dict[str, int]:
    """Return what grows where calls leak."""
    connection = arm.arm._connection  # type: ignore[attr-defined]
    clients = [
        getattr(connection.core, name)
        for name in dir(connection.core)
        if name.startswith("srv_")
    ]
    return {
        "timers": len(list(arm.timers)) + len(list(connection.node.timers)),
        "pending calls": sum(len(client._pending_requests) for client in clients),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    standin = subprocess.Popen(
        [sys.executable, str(STANDIN), "--up", "--ros-args", "-r", f"__ns:=/{NAMESPACE}"]
    )
    rclpy.init()
    looks, count = (
        np.zeros(round(options.seconds * 60) + 600),
        itertools.count(),
    )  # so that measuring takes no memory
    try:
        arm = ArmNode("arm_node", DEVICES, namespace=NAMESPACE)
        arm.start()
        look = arm.device._tick

        def timed() -> None:
            looks[next(count) % len(looks)] = time.monotonic()
            look()

        arm.device._tick = timed
        probe = Probe()
        for node in (arm, probe):
            _spin(node)
        _until(probe.events.get_subscription_count)
        _until(lambda: arm.guard.image_ns)
        probe.events.publish(
            EpisodeEvent(episode_id="e", event=EpisodeEvent.START, task="t")
        )
        _until(lambda: arm.guard.episode)
        gc.collect()
        looks[:], count = 0.0, itertools.count()
        memory, found = [resident()], left_behind(arm)
        for _ in tqdm(range(round(options.seconds)), unit="s"):
            time.sleep(1.0)
            memory.append(resident())
        gc.collect()
        left, held = left_behind(arm), arm.guard.reason
    finally:
        rclpy.try_shutdown()
        standin.terminate()
        standin.wait()
    looks = looks[looks > 0]
    late = np.abs(np.diff(looks) - WATCH_PERIOD) * 1e3
    third = len(memory) // 3
    print(
        f"{len(looks)} looks at the arm in {options.seconds:g} s; {'held: ' + held if held else 'never held'}"
    )
    print(
        f"off the {WATCH_PERIOD * 1e3:g} ms period: p50 {np.median(late):.2f}, p99 {np.percentile(late, 99):.2f}, "
        f"max {late.max():.2f} ms"
    )
    print(
        f"memory: {np.median(memory[:third]):.1f} MB in the first third, {np.median(memory[-third:]):.1f} in the last"
    )
    print(f"left behind: {found} at the start, {left} at the end")


if __name__ == "__main__":
    main()
