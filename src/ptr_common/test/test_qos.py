"""Profiles of publishers and subscribers that are paired on purpose."""

from __future__ import annotations

import pytest

rclpy_qos = pytest.importorskip("rclpy.qos", reason="ROS 2 is not installed")

from ptr_common import qos  # noqa: E402


@pytest.mark.parametrize(
    ("publisher", "subscriber"),
    [(qos.IMAGES, qos.NEWEST_IMAGE), (qos.STATE, qos.NEWEST_STATE)],
)
def test_a_subscriber_of_the_latest_message_is_compatible_with_its_publisher(
    publisher: object, subscriber: object
) -> None:
    compatibility, reason = rclpy_qos.qos_check_compatible(publisher, subscriber)
    assert compatibility != rclpy_qos.QoSCompatibility.ERROR, reason
    assert publisher.reliability == subscriber.reliability
    assert subscriber.depth == 1


def test_commands_and_events_are_reliable_and_never_repeated_to_a_late_node() -> None:
    for profile in (qos.COMMANDS, qos.EVENTS):
        assert profile.reliability == rclpy_qos.ReliabilityPolicy.RELIABLE
        assert profile.durability != rclpy_qos.DurabilityPolicy.TRANSIENT_LOCAL
