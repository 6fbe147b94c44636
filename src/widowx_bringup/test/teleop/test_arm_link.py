"""What a person is told about arm and camera, over real DDS: missing, moving, rejecting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rcl_interfaces.msg import Log
from teleop_rig import Rig

from ptr_common import qos
from ptr_msgs.msg import ArmState, EpisodeEvent
from widowx_bringup.teleop import arm_link
from widowx_bringup.teleop.mapping import Button


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig()) as rig:
        yield rig


@pytest.fixture
def alone(ros: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A node without a graph, which says so soon."""
    monkeypatch.setattr(arm_link, "SILENCE", 0.3)
    with contextlib.closing(Rig(present=False)) as rig:
        yield rig


def test_without_a_graph_it_says_what_it_waits_for_and_how_that_is_started(
    alone: Rig,
) -> None:
    alone.until(lambda: alone.shown)
    (line,) = alone.shown
    assert "waiting for the arm node (nothing on /arm/state for " in line
    assert "the camera (nothing on /camera/over_shoulder/camera_info for " in line
    assert "`ptr up record teleop:=none`" in line
    alone.join()
    alone.until(lambda: alone.has_shown("arm and camera are there"))


def test_without_a_graph_keys_are_answered(alone: Rig) -> None:
    alone.press(Button.STOP)
    assert alone.has_shown("arm/hold: no node answers")
    alone.press(Button.RECORD)
    assert alone.has_shown("not begun: no message of the arm node (nothing on /arm/state")
    assert not alone.node.episode


def test_a_camera_of_another_name_is_named(
    ros: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_link, "SILENCE", 0.3)
    with contextlib.closing(Rig(present=False, camera="front")) as rig:
        rig.join()
        rig.until(lambda: rig.has_shown("cameras of this graph: over_shoulder"))
        assert rig.has_shown("waiting for the camera (nothing on /camera/front/camera_info")


def test_a_rejected_command_is_shown_at_once_with_its_reason(rig: Rig) -> None:
    rig.until(rig.log.get_subscription_count)
    rig.log.publish(Log(name="simulation", msg="rejected: command is 0.300 s old"))
    rig.until(lambda: rig.node.link._reason)
    rig.arm_state.rejected = 3
    rig.until(lambda: rig.has_shown("REJECTED"))
    assert "REJECTED, not executed: 3 commands: command is 0.300 s old" in rig.shown, (
        rig.shown
    )


def test_rejections_before_this_session_are_not_shown(ros: None) -> None:
    with contextlib.closing(Rig(present=False)) as rig:
        rig.arm_state.rejected = 7
        rig.join()
        rig.until(lambda: rig.node.link.rejected == 7)
        assert rig.node.link._untold == 0


def test_a_saved_demonstration_says_how_many_of_its_commands_were_rejected(
    rig: Rig,
) -> None:
    rig.record()
    rig.arm_state.rejected = 2
    rig.until(lambda: rig.node.link.rejected == 2)
    rig.press(Button.SAVE)
    text = "saved as demonstration 1; the arm rejected 2 of its commands"
    rig.until(lambda: text in rig.shown)


def test_a_recording_waits_until_the_arm_is_at_its_start_pose(rig: Rig) -> None:
    rig.arm_state.reason = "moving to its start pose"
    rig.until(lambda: rig.node.link.moves)
    rig.press(Button.RECORD)
    assert rig.has_shown("waiting for the arm to be at its start pose")
    rig.press(Button.RECORD)
    assert rig.has_shown("still waiting for the arm to be at its start pose; 4 gives up")
    assert not rig.node.episode
    rig.arm_state.reason = ""
    rig.until(lambda: [event.event for event in rig.events] == [EpisodeEvent.START])


def test_a_recording_waits_for_a_start_pose_that_was_just_asked_for(rig: Rig) -> None:
    rig.press(Button.HOME, Button.RECORD)
    assert not rig.node.episode
    rig.until(lambda: rig.called == ["go_to_start"])
    rig.until(lambda: rig.events)


def test_a_recording_that_waits_is_given_up_by_key_by_a_stop_and_by_a_refusal(
    rig: Rig,
) -> None:
    rig.arm_state.reason = "moving to its start pose"
    rig.until(lambda: rig.node.link.moves)
    rig.press(Button.RECORD, Button.DISCARD)
    assert rig.has_shown("not begun: you gave up")
    rig.press(Button.RECORD, Button.STOP)
    assert rig.has_shown("not begun: you stopped the arm")
    rig.press(Button.RECORD)
    rig.arm_state.status = ArmState.STATUS_HOLDING
    rig.until(lambda: rig.has_shown("not begun: the arm holds: moving"))
    rig.arm_state.status, rig.arm_state.reason = ArmState.STATUS_OK, ""
    rig.until(lambda: not rig.node.link.state.reason)
    rig.refuses = True
    rig.press(Button.AGAIN)
    rig.until(lambda: rig.has_shown("not begun: the arm does not go to its start pose"))
    assert not rig.events


def test_two_arms_get_no_command_and_no_recording(rig: Rig) -> None:
    other = rig.probe.create_publisher(ArmState, "arm/state", qos.STATE)
    rig.until(lambda: rig.has_shown("2 arms hear this teleoperation: /probe, /probe"))
    rig.press(Button.RECORD)
    assert rig.has_shown("not begun: several arms: /probe, /probe")
    rig.probe.destroy_publisher(other)
    rig.until(lambda: len(rig.node.link.arms) == 1)


def test_without_a_recorder_nothing_is_begun(rig: Rig) -> None:
    for subscription in list(rig.probe.subscriptions):
        if subscription.topic_name.endswith("episode/event"):
            rig.probe.destroy_subscription(subscription)
    rig.until(lambda: rig.node.link.obstacle(needs_recorder=True))
    rig.press(Button.RECORD)
    assert rig.has_shown("not begun: no recorder hears episode/event")


def test_a_demonstration_is_not_called_saved_once_the_recorder_is_gone(rig: Rig) -> None:
    rig.record()
    for subscription in list(rig.probe.subscriptions):
        if subscription.topic_name.endswith("episode/event"):
            rig.probe.destroy_subscription(subscription)
    rig.until(lambda: not rig.node.link.has_recorder())
    rig.press(Button.FAIL, Button.SAVE)
    assert rig.has_shown("NOT SAVED: the recorder is gone")
    assert rig.node.demonstrations == []
    assert rig.node.episode
