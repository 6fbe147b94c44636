"""Measure the 50 Hz loop of the real arm: its jitter, and what it leaves behind.

The stand-in for xs_sdk, with the simulated arm, runs in a separate process; the arm node
runs here, with a probe that sends commands and images all the time. Measured are the
intervals between two looks at the arm, the resident memory, and the timers and pending calls
of the node and of the connection to the driver.

    python bench/driver_bench.py --seconds 600
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time

import numpy as np
import rclpy
from fault_bench import NAMESPACE, STANDIN, Probe, _spin, _until
from tqdm import tqdm

from ptr_msgs.msg import EpisodeEvent
from widowx_bringup.arm.device_thread import DeviceThread
from widowx_bringup.arm.node import DEVICES, WATCH_PERIOD, ArmNode


def resident() -> float:
    """Return this process's resident memory [MB]."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096 / 1e6


def left_behind(arm: ArmNode) -> dict[str, int]:
    """Return the numbers of timers and pending calls, which grow if calls leak."""
    connection = arm.arm._connection  # type: ignore[attr-defined]
    pending = 0
    for name in dir(connection.core):
        if name.startswith("srv_"):
            pending += len(getattr(connection.core, name)._pending_requests)
    timers = len(list(arm.timers)) + len(list(connection.node.timers))
    return {"timers": timers, "pending calls": pending}


class LoopTimes:
    """Times of the ticks of a device thread, on the monotonic clock [s].

    The array is made beforehand, so that measuring takes no memory.

    Args:
        device: The thread; its ticks are recorded from now on.
        seconds: Duration of the measurement [s].
    """

    def __init__(self, device: DeviceThread, seconds: float) -> None:
        self._times = np.zeros(round(seconds * 60) + 600)
        self._count = 0
        self._tick = device._tick
        device._tick = self._record

    def _record(self) -> None:
        self._times[self._count % len(self._times)] = time.monotonic()
        self._count += 1
        self._tick()

    def restart(self) -> None:
        """Forget the times recorded so far."""
        self._times[:] = 0.0
        self._count = 0

    def recorded(self) -> np.ndarray:
        """Return the times recorded, (n,) [s]."""
        return self._times[self._times > 0]


def _measure(arm: ArmNode, seconds: float) -> None:
    """Run an episode for some time and print what was measured."""
    loop = LoopTimes(arm.device, seconds)
    probe = Probe()
    for node in (arm, probe):
        _spin(node)
    _until(probe.events.get_subscription_count)
    _until(lambda: arm.guard.image_ns)
    probe.events.publish(EpisodeEvent(episode_id="e", event=EpisodeEvent.START, task="t"))
    _until(lambda: arm.guard.episode)
    gc.collect()
    loop.restart()
    memory = [resident()]
    before = left_behind(arm)
    for _ in tqdm(range(round(seconds)), unit="s"):
        time.sleep(1.0)
        memory.append(resident())
    gc.collect()
    times = loop.recorded()
    after = left_behind(arm)
    reason = arm.guard.reason
    held = f"held: {reason}" if reason else "never held"
    print(f"{len(times)} looks at the arm in {seconds:g} s; {held}")
    late = np.abs(np.diff(times) - WATCH_PERIOD) * 1e3
    print(
        f"off the {WATCH_PERIOD * 1e3:g} ms period: p50 {np.median(late):.2f}, "
        f"p99 {np.percentile(late, 99):.2f}, max {late.max():.2f} ms"
    )
    third = len(memory) // 3
    print(
        f"memory: {np.median(memory[:third]):.1f} MB in the first third, "
        f"{np.median(memory[-third:]):.1f} in the last"
    )
    print(f"left behind: {before} at the start, {after} at the end")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="[30]")
    options = parser.parse_args()
    standin = subprocess.Popen(
        [sys.executable, str(STANDIN), "--up", "--ros-args", "-r", f"__ns:=/{NAMESPACE}"]
    )
    rclpy.init()
    try:
        arm = ArmNode("arm_node", DEVICES, namespace=NAMESPACE)
        arm.start()
        _measure(arm, options.seconds)
    finally:
        rclpy.try_shutdown()
        standin.terminate()
        standin.wait()


if __name__ == "__main__":
    main()
