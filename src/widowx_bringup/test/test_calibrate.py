"""`ptr calibrate camera` as a user runs it on the simulated arm, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ptr_msgs.msg import ArmState, EefCommand  # noqa: E402
from ptr_policy_node import qos  # noqa: E402
from ptr_policy_node.spec import image_topic  # noqa: E402
from widowx_bringup import calibrate  # noqa: E402
from widowx_bringup.calibrate import Calibrator  # noqa: E402
from widowx_bringup.calibrations import CalibrationError, read_calibration  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ptr_training.cli", "calibrate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("frames", [0, 2])
def test_delay_of_the_simulated_camera_is_recovered_over_the_ros_graph(tmp_path: Path, frames: int) -> None:
    small = (f"camera_delay:={frames}", "real_time_factor:=4.0", "width:=160", "height:=120")
    kept = ("--out", str(tmp_path / "cameras.yaml"), "--picture", str(tmp_path / "shown.png"))
    result = run("camera", "--simulated", *kept, *small)
    assert result.returncode == 0, result.stdout + result.stderr
    found = read_calibration("over_shoulder", tmp_path / "cameras.yaml")
    assert found is not None
    assert round(30 * found.latency) == frames
    assert found.correlation > 0.9
    assert found.uncertainty < 0.01
    assert cv2.imread(str(tmp_path / "shown.png")) is not None
    assert not [*(tmp_path / "bags").glob("*")]  # its episode was discarded


def test_arguments_of_a_graph_that_is_not_started_are_refused() -> None:
    result = run("camera", "camera_delay:=3")
    assert result.returncode != 0
    assert "camera_delay:= is an argument of the simulated graph; add --simulated" in result.stderr
    assert "Traceback" not in result.stderr


class Others:
    """An arm and a camera that show themselves while the calibrator waits."""

    def __init__(self, commands: bool) -> None:
        self.node = rclpy.create_node("somebody")
        self.arm = self.node.create_publisher(ArmState, "arm/state", qos.STATE)
        self.camera = self.node.create_publisher(Image, image_topic("front"), qos.IMAGES)
        if commands:
            self.commands = self.node.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.next = 0.0

    def show(self) -> None:
        self.executor.spin_once(timeout_sec=0.0)
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + 0.03
        now, picture = self.node.get_clock().now().to_msg(), Image(height=2, width=2, encoding="mono8", step=2)
        picture.data, picture.header.stamp = bytes(4), now
        self.camera.publish(picture)
        state = ArmState()
        state.header.stamp = now
        self.arm.publish(state)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()


@pytest.mark.usefixtures("ros")
def test_somebody_else_who_commands_the_arm_is_named() -> None:
    others = Others(commands=True)
    node = Calibrator("front", others.show)
    try:
        with pytest.raises(CalibrationError, match="/somebody commands the arm; end it first"):
            node.record()
    finally:
        node.destroy_node()
        others.close()


@pytest.mark.usefixtures("ros")
def test_a_camera_that_shows_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "START_LIMIT", 1.0)
    others = Others(commands=False)
    node = Calibrator("side", others.show)
    try:
        with pytest.raises(CalibrationError, match="no picture on /camera/side/image_raw for 1 s; is a graph running"):
            node.record()
    finally:
        node.destroy_node()
        others.close()
