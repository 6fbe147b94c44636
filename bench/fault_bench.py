"""How long from a fault to the hold: random faults in the midst of episodes, the arm node over the stand-in for xs_sdk.

The stand-in (src/widowx_bringup/test/xs_standin.py) runs in a process of its own; the arm
node, and a probe that plays camera and policy, run here. Counted is the time from the
injection until the node has decided to hold; the hold is published at once after. A control
period is 0.2 s. A service that hangs is counted from the moment on at which the driver
falls silent over it.

    python bench/fault_bench.py --injections 200
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ |= {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 99),
}

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tqdm import tqdm

from ptr_common import qos
from ptr_common.action_space import JOINT_NAMES
from ptr_common.managed_node import now_ns, to_stamp
from ptr_msgs.msg import EefCommand, EpisodeEvent
from widowx_bringup.arm.node import DEVICES, ArmNode

NAMESPACE = "wx250s"
STANDIN = Path(__file__).parents[1] / "src/widowx_bringup/test/xs_standin.py"
TWO_PERIODS = 0.4
LIMIT = 10.0
OF_DRIVER = (
    "read_failure",
    "unplugged",
    "silent",
    "torque_off",
    "lost_motor",
    "reboot",
    "hot",
    "slow_services",
)
OF_OTHERS = ("camera stops", "policy stops", "clock jumps", "not finite", "operator")


class Probe(Node):
    """Camera, policy and operator."""

    def __init__(self) -> None:
        super().__init__("probe", namespace=NAMESPACE)
        self.seeing = self.acting = self.back = True
        self.action = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        self.rng = np.random.default_rng(0)
        self.commands = self.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
        self.events = self.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        self.pictures = self.create_publisher(
            CameraInfo, "camera/over_shoulder/camera_info", qos.IMAGES
        )
        self.faults = self.create_publisher(String, "standin/fault", 10)
        self.enable = self.create_client(Trigger, "arm/enable")
        self.hold = self.create_client(Trigger, "arm/hold")
        self.create_timer(0.2, self._act)
        self.create_timer(1 / 30, self._show)

    def _act(self) -> None:
        if self.acting:  # there and back, so that the arm stays where there is room
            self.back = not self.back
            self.action[:6] = (
                -self.action[:6] if self.back else self.rng.uniform(-0.01, 0.01, 6)
            )
            self.send(self.action)

    def send(self, action: np.ndarray) -> None:
        """Publish a command."""
        message = EefCommand(action=action, source=EefCommand.SOURCE_POLICY)
        message.header.stamp = to_stamp(now_ns(self))
        self.commands.publish(message)

    def _show(self) -> None:
        if self.seeing:
            picture = CameraInfo()
            picture.header.stamp = to_stamp(now_ns(self))
            self.pictures.publish(picture)


def _spin(node: Node) -> None:
    def work() -> None:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.05)

    threading.Thread(target=work, daemon=True).start()


def _until(condition: Callable[[], object], limit: float = LIMIT) -> bool:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0005)
    return True


def _mended(arm: ArmNode, probe: Probe) -> None:
    """End the fault and bring the arm back to work; the servos of the stand-in are told anew what they are."""
    arm.__dict__.pop("now_ns", None)
    probe.seeing = probe.acting = True
    probe.faults.publish(String(data="mended"))
    looked = arm.guard.clocks_ns
    _until(
        lambda: arm.guard.clocks_ns is not looked
    )  # a clock that is set back has jumped once more
    while True:
        _until(functools.partial(_rests, arm))
        future = probe.enable.call_async(Trigger.Request())
        _until(future.done)
        if future.done() and future.result().success and not arm.guard.holding:
            return


def _rests(arm: ArmNode) -> bool:
    return arm._snapshot is not None and bool(np.abs(arm._snapshot.velocities).max() < 0.05)


def _inject(fault: str, arm: ArmNode, probe: Probe, rng: np.random.Generator) -> float:
    """Begin a fault; return when, on the monotonic clock [s]."""
    began = time.monotonic()
    if fault in OF_DRIVER:
        joint = (
            str(rng.choice(JOINT_NAMES)) if fault in ("lost_motor", "reboot", "hot") else ""
        )
        probe.faults.publish(String(data=f"{fault} {joint}".strip()))
        if fault == "slow_services":
            core = arm.arm._connection.core  # type: ignore[attr-defined]
            newest, began = core.joint_states, time.monotonic()
            while not arm.guard.holding and time.monotonic() - began < 0.1:
                if core.joint_states is not newest:
                    newest, began = core.joint_states, time.monotonic()
                time.sleep(0.0005)
    elif fault == "camera stops":
        probe.seeing = False
    elif fault == "policy stops":
        probe.acting = False
    elif fault == "clock jumps":
        jump = int(rng.choice([-2, 2])) * 1_000_000_000
        arm.now_ns = lambda: time.time_ns() + jump  # type: ignore[method-assign]
    elif fault == "not finite":
        probe.send(np.full(7, np.nan))
    else:
        probe.hold.call_async(Trigger.Request())
    return began


def _runs(arm: ArmNode, episode: str) -> bool:
    return arm.guard.episode == episode


def _sees(arm: ArmNode) -> bool:
    newest = arm.guard.image_ns
    return newest is not None and abs(time.time_ns() - newest) < 100_000_000


def _measure(
    arm: ArmNode, probe: Probe, injections: int, seed: int
) -> dict[str, list[float]]:
    rng, times = np.random.default_rng(seed), defaultdict[str, list[float]](list)
    for number in tqdm(range(injections), unit="fault"):
        _mended(arm, probe)
        _until(functools.partial(_sees, arm))
        probe.events.publish(
            EpisodeEvent(episode_id=str(number), event=EpisodeEvent.START, task="t")
        )
        _until(functools.partial(_runs, arm, str(number)))
        time.sleep(rng.uniform(0.5, 1.5))  # the moment of a fault is drawn by lot
        if arm.guard.holding:
            raise SystemExit(f"the arm holds without a fault: {arm.guard.reason}")
        fault = str(rng.choice([*OF_DRIVER, *OF_OTHERS]))
        began = _inject(fault, arm, probe, rng)
        held = _until(lambda: arm.guard.holding)
        times[fault].append(time.monotonic() - began if held else float("inf"))
        probe.events.publish(EpisodeEvent(episode_id=str(number), event=EpisodeEvent.STOP))
        _until(functools.partial(_runs, arm, ""))
    return times


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--injections", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    command = [
        sys.executable,
        str(STANDIN),
        "--up",
        "--ros-args",
        "-r",
        f"__ns:=/{NAMESPACE}",
    ]
    standin = subprocess.Popen(command)
    rclpy.init()
    try:
        arm = ArmNode("arm_node", DEVICES, namespace=NAMESPACE)
        arm.start()
        probe = Probe()
        for node in (arm, probe):
            _spin(node)
            node.get_logger().set_level(50)
        times = _measure(arm, probe, options.injections, options.seed)
    finally:
        rclpy.try_shutdown()
        standin.terminate()
        standin.wait()
    print(
        f"{'fault':<14} {'number':>6} {'median':>8} {'longest':>8}  beyond two control periods"
    )
    for fault, each in sorted(times.items()):
        beyond = sum(one > TWO_PERIODS for one in each)
        print(
            f"{fault:<14} {len(each):>6} {np.median(each):>6.2f} s {max(each):>6.2f} s  {beyond or ''}"
        )
    every = [one for each in times.values() for one in each]
    print(
        f"{len(every)} faults, {sum(np.isinf(every))} missed, {sum(one > TWO_PERIODS for one in every)} beyond"
    )


if __name__ == "__main__":
    main()
