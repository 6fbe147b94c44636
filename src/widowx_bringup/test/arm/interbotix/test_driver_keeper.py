"""The arm's driver ends after the arm node, and its end is everybody's."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.parameter import Parameter  # noqa: E402

from ptr_common.errors import PtrError  # noqa: E402
from widowx_bringup.arm.interbotix.driver_keeper import DriverKeeper  # noqa: E402

DRIVER = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path(sys.argv[1]).write_text(str(time.monotonic_ns()))
    sys.exit(0)
signal.signal(signal.SIGINT, end)
pathlib.Path(sys.argv[1] + ".up").touch()
signal.pause()
"""


pytestmark = pytest.mark.usefixtures("ros")


def keeper(*command: str) -> DriverKeeper:
    return DriverKeeper(
        namespace="wx250s", parameter_overrides=[Parameter("command", value=list(command))]
    )


def until(condition: Any) -> None:
    deadline = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def test_the_driver_is_ended_once_the_arm_node_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = rclpy.create_node("arm_node", namespace="wx250s")
    node, ended = (
        keeper(sys.executable, "-c", DRIVER, str(tmp_path / "ended")),
        tmp_path / "ended",
    )
    until((tmp_path / "ended.up").exists)
    until(node._arm_is_up)
    looks: list[bool] = []
    look = node._arm_is_up
    monkeypatch.setattr(node, "_arm_is_up", lambda: (looks.append(True), look())[1])
    ending = threading.Thread(target=node.destroy_node)
    ending.start()
    until(lambda: len(looks) > 3)
    assert not ended.exists()
    gone = time.monotonic_ns()
    arm.destroy_node()
    ending.join()
    assert int(ended.read_text()) > gone
    assert node.driver.returncode == 0


def test_a_driver_that_ends_by_itself_ends_the_node(tmp_path: Path) -> None:
    node = keeper(sys.executable, "-c", "import sys; sys.exit(3)")
    node.driver.wait()
    with pytest.raises(PtrError, match="the arm's driver ended with status 3"):
        node._check()
    node.destroy_node()


def test_a_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(
        PtrError, match=r"cannot be started .*: no_such_driver robot_model:=wx250s"
    ):
        keeper("no_such_driver", "robot_model:=wx250s")
