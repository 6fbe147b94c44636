"""Teleoperation over real DDS: the test plays device, arm and camera; keys come from a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from scripted_bags import Script, write  # noqa: E402
from teleop_rig import Rig  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.errors import PtrError  # noqa: E402
from ptr_common.managed_node import to_ns  # noqa: E402
from ptr_msgs.msg import EefCommand, EpisodeEvent  # noqa: E402
from widowx_bringup.sim.tasks import TARGET_TASK  # noqa: E402
from widowx_bringup.teleop.devices import Keyboard  # noqa: E402
from widowx_bringup.teleop.mapping import Button, TeleopInput  # noqa: E402

FORWARD = np.array([1.0, 0, 0, 0, 0, 0])


@pytest.fixture
def rig(ros: None) -> Iterator[Rig]:
    with contextlib.closing(Rig()) as rig:
        yield rig


def test_a_held_switch_sends_steps_that_answer_images(rig: Rig) -> None:
    rig.hands.input = TeleopInput(FORWARD, held=True)
    rig.until(lambda: len(rig.commands) > 2)
    assert rig.commands[-1].source == EefCommand.SOURCE_TELEOP
    np.testing.assert_allclose(rig.commands[-1].action, [0.02, 0, 0, 0, 0, 0, 1])
    assert (
        to_ns(rig.commands[-1].header.stamp) - to_ns(rig.commands[-1].observation_stamp) > 0
    )
    gap = to_ns(rig.commands[-1].observation_stamp) - to_ns(
        rig.commands[-2].observation_stamp
    )
    assert gap > 100_000_000


def test_outside_of_an_episode_a_released_switch_sends_nothing(rig: Rig) -> None:
    rig.hands.input = TeleopInput(FORWARD, held=True)
    rig.until(lambda: rig.commands)
    rig.hands.input = TeleopInput(FORWARD, held=False)
    rig.until(lambda: not rig.node._input.held)
    sent, since = len(rig.commands), rig.node._schedule._step_ns
    rig.until(lambda: rig.node._schedule._step_ns > since + 500_000_000)
    assert len(rig.commands) <= sent + 1  # one may have been on its way


def test_in_an_episode_a_released_switch_sends_no_motion(rig: Rig) -> None:
    rig.press(Button.RECORD)
    rig.until(lambda: len(rig.commands) > 2)
    np.testing.assert_allclose(rig.commands[-1].action, [0, 0, 0, 0, 0, 0, 1])


def test_each_change_of_speed_is_said(rig: Rig) -> None:
    rig.press(Button.FASTER)
    rig.until(lambda: rig.has_shown("speed: 50% of the longest step"))
    rig.press(Button.SLOWER)
    rig.until(lambda: rig.has_shown("speed: 40% of the longest step"))


def test_a_recording_begins_and_is_saved_with_one_key_each_and_the_coverage_is_reported(
    rig: Rig,
) -> None:
    rig.press(Button.RECORD)
    rig.until(lambda: len(rig.commands) > 1)
    rig.press(Button.SAVE)
    rig.until(lambda: len(rig.events) == 2)
    begin, end = rig.events
    assert (begin.event, end.event) == (EpisodeEvent.START, EpisodeEvent.SUCCESS)
    assert begin.episode_id == end.episode_id
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_stir_001_[0-9a-f]{4}", begin.episode_id)
    assert begin.task == "stir"
    assert "  note: 1 of 10 demonstrations are recorded" in rig.shown
    assert any("the gripper neither opens nor closes" in line for line in rig.shown)


def test_discarded_demonstrations_do_not_count(rig: Rig) -> None:
    rig.press(Button.RECORD)
    rig.until(lambda: rig.commands)
    rig.press(Button.DISCARD)
    rig.until(lambda: len(rig.events) == 2)
    assert rig.events[1].event == EpisodeEvent.DISCARD
    assert rig.node.demonstrations == []


def test_recording_anew_begins_once_the_arm_is_back_at_its_start(rig: Rig) -> None:
    rig.press(Button.RECORD)
    rig.until(lambda: rig.events)
    rig.press(Button.AGAIN)
    rig.until(lambda: rig.called == ["go_to_start"])
    rig.arm_state.reason = "moving to its start pose"
    rig.until(lambda: rig.node.link.state.reason)
    assert [event.event for event in rig.events] == [
        EpisodeEvent.START,
        EpisodeEvent.DISCARD,
    ]
    rig.arm_state.reason = ""
    rig.until(lambda: len(rig.events) == 3)
    assert rig.events[2].event == EpisodeEvent.START
    assert rig.events[2].episode_id != rig.events[0].episode_id


def test_one_key_stops_the_arm(rig: Rig) -> None:
    rig.press(Button.STOP)
    rig.until(lambda: rig.called == ["hold"])
    rig.until(lambda: "did hold" in rig.shown)


def test_a_running_recording_is_discarded_when_teleoperation_ends(rig: Rig) -> None:
    rig.press(Button.RECORD)
    rig.until(lambda: len(rig.commands) > 1)
    rig.executor.remove_node(rig.node)
    rig.node.destroy_node()
    rig.until(lambda: len(rig.events) == 2)
    assert rig.events[1].event == EpisodeEvent.DISCARD
    assert rig.shown[-1].startswith("thrown away, not saved: the running recording of 0.")
    assert rig.hands.closed


def test_keys_come_from_the_terminal_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    person, terminal = pty.openpty()
    with os.fdopen(terminal, closefd=False) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        keyboard = Keyboard()
        os.write(person, b"w ")
        teleop_input = keyboard.read(0.0)
        assert teleop_input.buttons == (Button.STOP,)
        assert teleop_input.motion[0] == 1.0
        os.close(person)
        assert keyboard.read(1.0).buttons == (Button.STOP, Button.QUIT)
        keyboard.close()


def test_without_a_terminal_the_keyboard_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(PtrError, match="run `ptr teleop` in one"):
            Keyboard()


def test_demonstrations_of_earlier_days_count_for_the_coverage(
    rig: Rig, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        script = Script()
        script.event(1, 0, name, task="stir")
        script.episode(0, 4, events=False)
        script.event(2, 900_000_000, name, task="stir")
        write(tmp_path / name, script)
    directory = [KeyValue(key="directory", value=str(tmp_path))]
    message = DiagnosticArray(
        status=[DiagnosticStatus(name="/recorder_node", values=directory)]
    )
    publisher = rig.probe.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
    rig.until(publisher.get_subscription_count)
    publisher.publish(message)
    rig.until(lambda: f"2 demonstrations were already in {tmp_path}" in rig.shown)
    rig.press(Button.RECORD)
    rig.until(lambda: "demonstration 3: stir" in rig.shown)


def test_what_the_recorder_warns_of_during_an_episode_is_said_once(rig: Rig) -> None:
    rig.record()
    status = DiagnosticStatus(
        name="/recorder_node", level=DiagnosticStatus.ERROR, message="2 nodes publish x"
    )
    publisher = rig.probe.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
    rig.until(publisher.get_subscription_count)
    for _ in range(2):
        publisher.publish(DiagnosticArray(status=[status]))
    rig.until(lambda: "the recorder warns: 2 nodes publish x" in rig.shown)
    status.level, status.message = DiagnosticStatus.OK, "idle"
    publisher.publish(DiagnosticArray(status=[status]))
    rig.until(lambda: not rig.node._set._warning)
    assert sum("the recorder warns" in line for line in rig.shown) == 1


def test_a_person_who_watches_a_policy_begins_judges_and_stops_and_never_commands(
    ros: None,
) -> None:
    with contextlib.closing(Rig(watch=True)) as rig:
        assert rig.probe.count_publishers("arm/command") == 0
        for button, event in (
            (Button.SAVE, EpisodeEvent.SUCCESS),
            (Button.FAIL, EpisodeEvent.FAILURE),
        ):
            rig.press(Button.RECORD)
            rig.until(lambda: rig.events and rig.events[-1].event == EpisodeEvent.START)
            rig.press(button)
            rig.until(lambda event=event: rig.events[-1].event == event)
        assert rig.shown[-2:] == ["rollout 2: stir", "failure: 1 of 2 rollouts succeeded"]
        rig.press(Button.SAVE)
        rig.until(lambda: rig.shown[-1] == "no episode is running; 1 begins one")
        assert rig.node.rollouts.verdicts == [True, False]
        rig.press(Button.STOP)
        rig.until(lambda: "hold" in rig.called)


def test_a_person_who_watches_judges_the_rollout_of_somebody_else_once(
    ros: None, tmp_path: Path
) -> None:
    """Also after it has ended without a verdict, as a trial of a session whose time is over."""
    with contextlib.closing(Rig(watch=True, out=str(tmp_path))) as rig:
        events = rig.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        rig.until(lambda: events.get_subscription_count() == 2)
        for event in (EpisodeEvent.START, EpisodeEvent.STOP):
            events.publish(EpisodeEvent(episode_id="trial", event=event, task="stir"))
        rig.until(lambda: rig.has_shown("ended without a verdict"))
        rig.press(Button.RECORD)
        rig.until(lambda: rig.has_shown("not begun: an episode is running"))
        rig.press(Button.FAIL)
        rig.until(lambda: rig.events[-1].event == EpisodeEvent.FAILURE)
        assert (rig.events[-1].episode_id, rig.events[-1].text) == ("trial", "")
        rig.press(Button.FAIL)
        rig.until(lambda: rig.shown[-1] == "no episode is running; 1 begins one")
        (line,) = (tmp_path / "verdicts.jsonl").read_text().splitlines()
        assert (
            json.loads(line).items()
            >= {
                "episode": "trial",
                "task": "stir",
                "verdict": "failure",
            }.items()
        )


def test_what_somebody_else_has_judged_is_not_judged_again(ros: None) -> None:
    with contextlib.closing(Rig(watch=True)) as rig:
        events = rig.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
        rig.until(lambda: events.get_subscription_count() == 2)
        for event in (EpisodeEvent.START, EpisodeEvent.SUCCESS):
            events.publish(EpisodeEvent(episode_id="trial", event=event, task="stir"))
        rig.until(lambda: len(rig.events) == 2 and not rig.node.rollouts.other)
        rig.press(Button.SAVE)
        rig.until(lambda: rig.shown[-1] == "no episode is running; 1 begins one")
        assert len(rig.events) == 2


def test_a_watching_person_sets_no_scene_before_a_rollout_begins(ros: None) -> None:
    with contextlib.closing(Rig(simulated=True, watch=True, task=TARGET_TASK)) as rig:
        assert rig.scenes == []
        rig.record()
        assert len(rig.scenes) == 1
