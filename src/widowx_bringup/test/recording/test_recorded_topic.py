"""A recorded topic: which messages from before START a bag begins with, and its description."""

from __future__ import annotations

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ptr_common import qos
from ptr_msgs.msg import EefCommand
from widowx_bringup.recording.recorded_topic import (
    PRE_ROLL_NS,
    RecordedTopic,
    full_type_name,
    offered_qos,
)

MILLISECOND = 1_000_000


def make(lead_ns: int = 0) -> RecordedTopic:
    """Return a topic that has kept messages at 0, 10, … 90 ms."""
    topic = RecordedTopic("/arm/state", "ptr_msgs/msg/ArmState", True, True, lead_ns)
    for number in range(10):
        topic.keep(b"%d" % number, number * 10 * MILLISECOND)
    return topic


def test_only_the_newest_message_is_kept_without_a_lead() -> None:
    assert list(make().pre_roll_at(95 * MILLISECOND)) == [(b"9", 90 * MILLISECOND)]


def test_with_a_lead_the_newest_message_before_it_is_kept_with_all_after_it() -> None:
    kept = [data for data, _ in make(25 * MILLISECOND).pre_roll_at(95 * MILLISECOND)]
    assert kept == [b"6", b"7", b"8", b"9"]


def test_a_message_that_is_too_old_or_from_the_future_does_not_enter_a_bag() -> None:
    topic = make()
    stamp_ns = 90 * MILLISECOND
    assert list(topic.pre_roll_at(stamp_ns + PRE_ROLL_NS))
    assert not list(topic.pre_roll_at(stamp_ns + PRE_ROLL_NS + 1))
    assert not list(topic.pre_roll_at(stamp_ns - 1))


def test_a_type_is_named_as_in_ros() -> None:
    assert full_type_name(EefCommand) == "ptr_msgs/msg/EefCommand"


def test_offered_qos_is_a_yaml_list_and_empty_without_publishers() -> None:
    assert offered_qos([]) == ""
    (entry,) = yaml.safe_load(offered_qos([qos.EVENTS]))
    assert (entry["depth"], entry["reliability"]) == (qos.EVENTS.depth, 1)
    assert entry["lifespan"].keys() == {"sec", "nsec"}
