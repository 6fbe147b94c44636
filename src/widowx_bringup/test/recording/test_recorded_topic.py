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
    pre_roll,
)

MILLISECOND = 1_000_000


def make(lead_ns: int = 0, *, pre_roll: bool = True) -> RecordedTopic:
    """Return a topic that has kept messages at 0, 10, … 90 ms."""
    topic = RecordedTopic("/arm/state", "ptr_msgs/msg/ArmState", pre_roll, True, lead_ns)
    for number in range(10):
        topic.keep(b"%d" % number, number * 10 * MILLISECOND)
    return topic


def entering(topic: RecordedTopic, start: int, now: int) -> bytes:
    """Return the messages that enter a bag, one digit each; times in ms."""
    return b"".join(
        data for data, _ in topic.pre_roll_at(start * MILLISECOND, now * MILLISECOND)
    )


def test_only_the_newest_message_from_before_start_enters_without_a_lead() -> None:
    assert list(make().pre_roll_at(95 * MILLISECOND, 95 * MILLISECOND)) == [
        (b"9", 90 * MILLISECOND)
    ]


def test_with_a_lead_the_newest_message_before_it_enters_with_all_after_it() -> None:
    assert entering(make(25 * MILLISECOND), 95, 95) == b"789"


def test_what_arrived_since_start_was_said_enters_too() -> None:
    assert entering(make(), 55, 95) == b"56789"
    assert entering(make(25 * MILLISECOND), 55, 95) == b"3456789"


def test_of_commands_nothing_from_before_start_enters() -> None:
    assert entering(make(pre_roll=False), 95, 95) == b""
    assert entering(make(pre_roll=False), 55, 95) == b"6789"


def test_a_message_that_is_too_old_or_from_the_future_does_not_enter_a_bag() -> None:
    topic = make()
    late = 90 + PRE_ROLL_NS // MILLISECOND
    assert entering(topic, late, late) == b"9"
    assert entering(topic, late + 1, late + 1) == b""
    assert entering(topic, 89, 89) == b"8"


def test_the_messages_of_all_topics_enter_in_the_order_of_their_arrival() -> None:
    states, commands = make(), make(pre_roll=False)
    now = 200 * MILLISECOND
    found = pre_roll([states, commands], 125 * MILLISECOND, now)  # a tick earlier: 75
    times = [(stamp // MILLISECOND, topic is states) for stamp, topic, _ in found]
    assert times == [(70, True), (80, True), (80, False), (90, True), (90, False)]


def test_a_start_of_another_clock_loses_nothing_that_is_kept() -> None:
    now = 95 * MILLISECOND
    assert len(pre_roll([make(pre_roll=False)], -(10**18), now)) == 10
    assert [data for _, _, data in pre_roll([make()], 10**18, now)] == [b"9"]


def test_no_more_is_kept_than_can_enter_a_bag() -> None:
    topic = make()
    topic.keep(b"z", 90 * MILLISECOND + PRE_ROLL_NS)
    assert [data for data, _ in topic.recent] == [b"9", b"z"]


def test_a_type_is_named_as_in_ros() -> None:
    assert full_type_name(EefCommand) == "ptr_msgs/msg/EefCommand"


def test_offered_qos_is_a_yaml_list_and_empty_without_publishers() -> None:
    assert offered_qos([]) == ""
    (entry,) = yaml.safe_load(offered_qos([qos.EVENTS]))
    assert (entry["depth"], entry["reliability"]) == (qos.EVENTS.depth, 1)
    assert entry["lifespan"].keys() == {"sec", "nsec"}
