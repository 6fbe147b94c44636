"""Graphs as real processes: how they start, and that no process remains."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402

from ptr_common import qos  # noqa: E402
from widowx_bringup.graph.processes import module_of  # noqa: E402
from widowx_bringup.graph.spec import NodeSpec  # noqa: E402

MARK = "PTR_TEST_MARK"


def wait_for(condition: Callable[[], object], limit: float = 40.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.05)


class Up:
    """One `ptr up` and everything it started."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        environment = {**os.environ, MARK: self.mark}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptr_common.cli", "up", *arguments, "--log", str(log)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def nodes(self) -> dict[str, int]:
        """Return module and process id of everything it started."""
        numbers = {}
        mark = f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended, or is another user's
                if mark in (folder / "environ").read_bytes():
                    words = (folder / "cmdline").read_text().split("\0")
                    if len(words) > 2 and int(folder.name) != self.process.pid:
                        numbers[words[2]] = int(folder.name)
        return numbers


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Up]:
    up = Up(
        tmp_path / "log",
        "record",
        f"bag_directory:={tmp_path / 'bags'}",
        "width:=64",
        "height:=48",
    )
    try:
        wait_for(lambda: len(up.nodes()) == 4)
        yield up
    finally:
        for number in up.nodes().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        up.process.kill()
        up.process.wait()


@pytest.fixture
def running(record: Up) -> Up:
    """All nodes take part: the camera publishes images of the simulated world."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
    node = rclpy.create_node("probe", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    seen: list[CameraInfo] = []
    node.create_subscription(
        CameraInfo, "/wx250s/camera/over_shoulder/camera_info", seen.append, qos.IMAGES
    )

    def arrived() -> bool:
        executor.spin_once(timeout_sec=0.05)
        return bool(seen)

    wait_for(arrived)
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    return record


def test_interrupt_ends_every_node(running: Up) -> None:
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=20) == 130
    assert running.nodes() == {}


def test_terminating_it_while_it_starts_ends_every_node(record: Up) -> None:
    record.process.send_signal(signal.SIGTERM)
    assert record.process.wait(timeout=20) == 143
    assert record.nodes() == {}


def test_killed_launcher_leaves_no_node_behind(running: Up) -> None:
    running.process.kill()
    running.process.wait()
    wait_for(lambda: running.nodes() == {})


def test_death_of_one_node_ends_the_others_and_is_named(record: Up) -> None:
    camera_node = module_of(NodeSpec("widowx_bringup", "camera_node"))
    os.kill(record.nodes()[camera_node], signal.SIGKILL)
    assert record.process.wait(timeout=20) == 128 + signal.SIGKILL
    assert record.process.stderr is not None
    assert "camera_node ended (killed by SIGKILL)" in record.process.stderr.read()
    assert record.nodes() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "use_sim:=false", "teleop:=scripted"], "run `ptr teleop` in another"),
        (["record", "use_sim:=perhaps"], "choose from: true, false"),
        (["record", "real_time_factor:=-1"], "allowed are 0.001 to 1000"),
        (["recrod"], "no graph 'recrod'; did you mean record?"),
        (
            ["record", "camra:=front"],
            "record has no argument 'camra'; did you mean camera?",
        ),
        (["record", "nonsense"], "write name:=value"),
        (["eval"], "eval needs policy:="),
        (["eval", "policy:=nowhere"], "nowhere is not a bundle"),
        (["record", "camera:=nowhere"], "the simulated world has no camera 'nowhere'"),
    ],
)
def test_bad_argument_is_one_clear_error(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    up = Up(tmp_path / "log", *arguments)
    output, errors = up.process.communicate(timeout=40)
    assert up.process.returncode == 2
    assert message in output + errors
    assert "Traceback" not in output + errors
    assert up.nodes() == {}
