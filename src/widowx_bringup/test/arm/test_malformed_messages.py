"""What the arm node does with messages that cannot be decoded, over real DDS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from arm_node_rig import Rig  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.managed_node import to_stamp  # noqa: E402

BROKEN = b"\x00\x01\x00\x00\xff\xff\xff\xff"


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig()) as rig:
        yield rig


def test_a_malformed_command_makes_the_arm_hold_until_it_is_enabled(rig: Rig) -> None:
    rig.commands.publish(BROKEN)
    rig.hold_until("a command is malformed")
    assert (rig.states[-1].rejected, rig.states[-1].held) == (1, 1)
    assert rig.node.guard.counts.kinds["rejected: malformed"] == 1
    assert rig.call(Trigger, "arm/enable").success
    rig.command_and_wait()
    assert len(rig.executed) == 1


def test_malformed_images_do_not_keep_the_camera_watchdog_quiet(rig: Rig) -> None:
    images = rig.probe.create_publisher(
        CameraInfo, "camera/over_shoulder/camera_info", qos.IMAGES
    )
    rig.until(images.get_subscription_count)
    info = CameraInfo()
    info.header.stamp = to_stamp(rig.probe.get_clock().now().nanoseconds)
    images.publish(info)
    rig.until(lambda: rig.node.guard.image_ns is not None)
    rig.start()

    def holds() -> bool:
        images.publish(BROKEN)
        return rig.node.guard.holding

    rig.until(holds)
    rig.hold_until("the latest image is")


def test_a_malformed_event_ends_no_episode_and_the_diagnostics_count_it(rig: Rig) -> None:
    rig.start("e1")
    rig.events.publish(BROKEN)

    def values() -> dict[str, str]:
        found: dict[str, str] = {}
        for message in rig.heard["/diagnostics"]:
            for status in message.status:
                found.update({entry.key: entry.value for entry in status.values})
        return found

    rig.until(lambda: values().get("malformed on /episode/event") == "1")
    assert rig.node.guard.episode == "e1"
