"""Measure the time from a random fault during an episode to the hold of the arm.

The stand-in for xs_sdk (src/widowx_bringup/test/xs_standin.py) runs in a separate process;
the arm node, and a probe that plays camera and policy, run here. The time ends when the node
has decided to hold; it publishes the hold at once. A control period is 0.2 s. The time of a
service that hangs begins when the driver falls silent over it. Frozen images are those whose
stamp no longer advances; equal ones with new stamps are told by the recorder and hold nothing.

    python bench/fault_bench.py --injections 200
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

os.environ |= {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_DOMAIN_ID": str(1 + os.getpid() % 99),
}

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tqdm import tqdm

from ptr_common import qos
from ptr_common.action_space import JOINT_NAMES
from ptr_common.managed_node import now_ns, to_stamp
from ptr_common.text_table import text_table
from ptr_msgs.msg import EefCommand, EpisodeEvent
from widowx_bringup.arm.interbotix.servos import SHADOWS
from widowx_bringup.arm.node import DEVICES, ArmNode

NAMESPACE = "wx250s"
STANDIN = Path(__file__).parents[1] / "src/widowx_bringup/test/xs_standin.py"
TWO_PERIODS = 0.4
"""Two control periods [s]."""

LIMIT = 10.0
"""Longest wait for a condition [s]."""

OF_DRIVER = (
    "read_failure",
    "unplugged",
    "silent",
    "torque_off",
    "lost_motor",
    "reboot",
    "hot",
    "slow_services",
    "malformed",
    "early",
    "shadow_lost",
)
FAULTY_SERVOS = {
    "lost_motor": (*JOINT_NAMES, *SHADOWS),
    "reboot": (*JOINT_NAMES, *SHADOWS),
    "hot": JOINT_NAMES,
    "shadow_lost": SHADOWS,
}
"""Servos of which a fault of the driver chooses one."""

NAMES = {
    "malformed": "malformed joint states",
    "early": "joint states of the future",
    "shadow_lost": "a shadow servo shuts off",
}
"""What the table calls some faults of the driver."""

OF_IMAGES = ("images of the future", "frozen images", "malformed images")
OF_COMMANDS = ("commands of the future", "malformed command")
OF_OTHERS = (
    *("camera stops", "policy stops", "clock jumps", "not finite", "operator"),
    *OF_IMAGES,
    *OF_COMMANDS,
)
AHEAD_NS = 500_000_000
"""How far stamps of the future are ahead [ns]."""

BROKEN = b"\x00\x01\x00\x00\xff\xff\xff\xff"
"""A message that cannot be decoded."""


class Probe(Node):
    """Camera, policy and operator."""

    def __init__(self) -> None:
        super().__init__("probe", namespace=NAMESPACE)
        self.seeing = self.acting = self.back = True
        self.fault = ""  # one of OF_IMAGES or OF_COMMANDS
        self.shown_ns = 0  # stamp of the newest image
        self.action = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        self.rng = np.random.default_rng(0)
        self.commands = self.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
        self.events = self.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        self.images = self.create_publisher(
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
        ahead = AHEAD_NS if self.fault == "commands of the future" else 0
        message.header.stamp = to_stamp(now_ns(self) + ahead)
        self.commands.publish(BROKEN if self.fault == "malformed command" else message)

    def _show(self) -> None:
        if self.seeing:
            image = CameraInfo()
            if self.fault != "frozen images":
                self.shown_ns = now_ns(self)
            ahead = AHEAD_NS if self.fault == "images of the future" else 0
            image.header.stamp = to_stamp(self.shown_ns + ahead)
            self.images.publish(BROKEN if self.fault == "malformed images" else image)


def _spin(node: Node) -> None:
    def work() -> None:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        with contextlib.suppress(ExternalShutdownException):  # the bench has ended
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
    """End the fault, reset the servos of the stand-in, and enable the arm."""
    arm.__dict__.pop("now_ns", None)
    probe.seeing = probe.acting = True
    probe.fault = ""
    probe.faults.publish(String(data="mended"))
    before = arm.guard.clocks_ns
    # A clock that is set back has jumped once more.
    _until(lambda: arm.guard.clocks_ns is not before)
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
        joint = str(rng.choice(FAULTY_SERVOS[fault])) if fault in FAULTY_SERVOS else ""
        name = "lost_motor" if fault == "shadow_lost" else fault
        probe.faults.publish(String(data=f"{name} {joint}".strip()))
        if fault == "slow_services":
            core = arm.arm._connection.core  # type: ignore[attr-defined]
            newest, began = core.joint_states, time.monotonic()
            while not arm.guard.holding and time.monotonic() - began < 0.1:
                if core.joint_states is not newest:
                    newest, began = core.joint_states, time.monotonic()
                time.sleep(0.0005)
    elif fault in (*OF_IMAGES, *OF_COMMANDS):
        probe.fault = fault
        if fault == "malformed command":
            probe.send(probe.action)
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
    latest = arm.guard.image_ns
    return latest is not None and abs(time.time_ns() - latest) < 100_000_000


def _measure(
    arm: ArmNode, probe: Probe, injections: int, seed: int
) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    times = defaultdict[str, list[float]](list)
    for number in tqdm(range(injections), unit="fault"):
        _mended(arm, probe)
        _until(functools.partial(_sees, arm))
        probe.events.publish(
            EpisodeEvent(episode_id=str(number), event=EpisodeEvent.START, task="t")
        )
        _until(functools.partial(_runs, arm, str(number)))
        time.sleep(rng.uniform(0.5, 1.5))  # the moment of a fault is random
        if arm.guard.holding:
            raise SystemExit(f"the arm holds without a fault: {arm.guard.reason}")
        fault = str(rng.choice([*OF_DRIVER, *OF_OTHERS]))
        began = _inject(fault, arm, probe, rng)
        held = _until(lambda: arm.guard.holding)
        times[NAMES.get(fault, fault)].append(
            time.monotonic() - began if held else float("inf")
        )
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
    print(_table(times))


def _table(times: Mapping[str, Sequence[float]]) -> str:
    """Return the times of each fault as a table with a line of totals."""
    header = ("fault", "number", "median [s]", "longest [s]", "beyond two control periods")
    rows = []
    every: list[float] = []
    for fault, of_fault in sorted(times.items()):
        every += of_fault
        median, longest = f"{np.median(of_fault):.2f}", f"{max(of_fault):.2f}"
        beyond = _beyond(of_fault) or ""
        rows.append((fault, len(of_fault), median, longest, beyond))
    missed = int(np.isinf(every).sum())
    totals = f"{len(every)} faults, {missed} missed, {_beyond(every)} beyond"
    return f"{text_table(header, rows)}\n{totals}"


def _beyond(times: Sequence[float]) -> int:
    """Return how many times are longer than two control periods."""
    return int((np.asarray(times) > TWO_PERIODS).sum())


if __name__ == "__main__":
    main()
