"""The monitor of cameras whose drivers do not tell how they are, over real DDS."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.topics import camera_info_topic  # noqa: E402
from widowx_bringup.camera.monitor import CameraMonitor  # noqa: E402


def make(*cameras: str) -> CameraMonitor:
    values = {"cameras": list(cameras), "rate": 10.0}
    return CameraMonitor(
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
    )


@pytest.mark.usefixtures("ros")
def test_each_camera_has_an_entry_and_the_one_that_stops_is_named() -> None:
    monitor, probe = make("wrist", "side"), rclpy.create_node("probe")
    entries: dict[str, DiagnosticStatus] = {}
    publishers = {
        name: probe.create_publisher(CameraInfo, camera_info_topic(name), 5)
        for name in ("wrist", "side")
    }
    showing = {"wrist", "side"}

    def take(message: DiagnosticArray) -> None:
        entries.update({status.hardware_id: status for status in message.status})

    def show() -> None:
        for name in showing:
            image = CameraInfo()
            image.header.stamp = probe.get_clock().now().to_msg()
            publishers[name].publish(image)

    probe.create_subscription(DiagnosticArray, "/diagnostics", take, qos.STATE)
    probe.create_timer(0.1, show)
    executor = SingleThreadedExecutor()
    for node in (monitor, probe):
        executor.add_node(node)

    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 15.0
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in time"
            executor.spin_once(timeout_sec=0.05)

    try:
        until(
            lambda: [entry.level for entry in entries.values()] == [DiagnosticStatus.OK] * 2
        )
        assert entries["side"].name == "/camera_monitor: side"
        assert {value.key for value in entries["side"].values} == {"rate", "age"}
        showing.remove("side")
        until(lambda: entries["side"].level == DiagnosticStatus.ERROR)
        assert "s old; at most 0.5 s are allowed" in entries["side"].message
        assert entries["wrist"].level != DiagnosticStatus.ERROR
    finally:
        executor.shutdown()
        monitor.destroy_node()
        probe.destroy_node()


@pytest.mark.usefixtures("ros")
def test_a_monitor_without_cameras_is_refused() -> None:
    with pytest.raises(PtrError, match="set its parameter `cameras`"):
        make("")
