"""The console over real DDS: browsers speak with it, a probe plays arm, camera and simulation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from console_rig import Browser, ConsoleRig  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_common.managed_node import to_ns  # noqa: E402
from ptr_msgs.msg import ArmState, EefCommand, EpisodeEvent, PolicyState  # noqa: E402
from widowx_bringup.console.node import ConsoleNode  # noqa: E402

FORWARD = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def rig(ros: None) -> Iterator[ConsoleRig]:
    with contextlib.closing(ConsoleRig()) as rig:
        yield rig


@pytest.fixture
def browser(rig: ConsoleRig) -> Iterator[Browser]:
    with contextlib.closing(rig.browse()) as browser:
        yield browser


def test_a_held_pad_moves_the_arm_and_its_commands_have_the_nodes_time(
    rig: ConsoleRig, browser: Browser
) -> None:
    rig.drive(browser)
    browser.motion = FORWARD
    rig.until(lambda: len(rig.commands) > 2)
    command = rig.commands[-1]
    np.testing.assert_allclose(command.action, [0.02, 0, 0, 0, 0, 0, 1])
    assert command.source == EefCommand.SOURCE_TELEOP
    assert 0 <= time.time_ns() - to_ns(command.header.stamp) < 5_000_000_000


def test_without_heartbeats_the_motion_ends(rig: ConsoleRig, browser: Browser) -> None:
    rig.drive(browser)
    rig.record_by(browser)
    browser.motion = FORWARD
    rig.until(lambda: rig.commands and rig.commands[-1].action[0] > 0)
    browser.asleep = True
    rig.until(lambda: rig.commands[-1].action[0] == 0)


def test_a_closed_page_ends_the_motion_and_gives_the_arm_free(rig: ConsoleRig) -> None:
    browser = rig.browse()
    rig.drive(browser)
    browser.motion = FORWARD
    rig.until(lambda: rig.commands)
    browser.close()
    rig.until(lambda: not rig.node._input.held)
    rig.until(lambda: rig.probe.count_publishers("arm/command") == 0)


def test_a_console_is_no_sender_until_somebody_drives(
    rig: ConsoleRig, browser: Browser
) -> None:
    assert rig.probe.count_publishers("arm/command") == 0
    browser.motion = FORWARD
    seen = browser.view["view"]
    rig.until(lambda: browser.view["view"] > seen + 3)
    assert not rig.commands
    rig.drive(browser)
    rig.until(lambda: rig.probe.count_publishers("arm/command") == 1)


def test_a_second_browser_watches_until_the_arm_rests(
    rig: ConsoleRig, browser: Browser
) -> None:
    rig.drive(browser)
    browser.motion = FORWARD
    rig.until(lambda: rig.commands)
    with contextlib.closing(rig.browse()) as second:
        second.send(drive=True)
        rig.until(lambda: second.has_shown(f"{browser.name} moves the arm"))
        assert not second.drives
        second.send(press="home")
        rig.until(lambda: second.has_shown("take over first"))
        assert rig.called == []
        second.send(press="stop")
        rig.until(lambda: rig.called == ["hold"])
        browser.motion = ()

        def second_drives() -> bool:
            second.send(drive=True)
            return second.drives

        rig.until(second_drives)
        rig.until(lambda: not browser.drives)


def test_a_second_console_refuses_to_drive_and_names_the_first(
    rig: ConsoleRig, browser: Browser
) -> None:
    rig.drive(browser)
    other = ConsoleNode(
        parameter_overrides=[Parameter("task", value="stir"), Parameter("port", value=0)]
    )
    rig.executor.add_node(other)
    with contextlib.closing(Browser(other.server.port)) as second:
        rig.until(lambda: second.view and second.view["drive"]["others"])
        second.send(drive=True)
        rig.until(lambda: second.has_shown("not driven from here: /console_node commands"))
        assert not second.drives
    rig.executor.remove_node(other)
    other.destroy_node()


def test_beside_a_policy_nobody_drives_and_the_rollouts_are_judged(
    rig: ConsoleRig, browser: Browser
) -> None:
    rig.probe.create_publisher(EefCommand, "arm/command", qos.COMMANDS)
    rig.until(lambda: browser.view["drive"]["others"] == ["/probe"])
    browser.send(drive=True)
    rig.until(lambda: browser.has_shown("/probe commands the arm"))
    rig.record_by(browser)
    browser.send(press="fail", reason="missed  the object")
    rig.until(lambda: len(rig.events) == 2)
    assert rig.events[1].event == EpisodeEvent.FAILURE
    assert rig.events[1].text == "teleoperation: missed the object"
    rig.until(lambda: browser.view["set"]["rollouts"] == [0, 1])


def test_an_episode_begun_here_is_saved_and_counted(
    rig: ConsoleRig, browser: Browser
) -> None:
    rig.drive(browser)
    rig.record_by(browser)
    rig.until(lambda: rig.commands)
    browser.send(press="save")
    rig.until(lambda: len(rig.events) == 2)
    begin, end = rig.events
    assert (begin.event, end.event) == (EpisodeEvent.START, EpisodeEvent.SUCCESS)
    assert begin.episode_id == end.episode_id
    rig.until(lambda: browser.view["set"]["count"] == 1)


def test_nothing_begins_while_nothing_would_move_the_arm(
    rig: ConsoleRig, browser: Browser
) -> None:
    browser.send(press="record")
    rig.until(lambda: browser.has_shown("not begun: nothing would move the arm"))


@pytest.mark.parametrize(
    ("button", "event"),
    [
        ("save", EpisodeEvent.SUCCESS),
        ("fail", EpisodeEvent.FAILURE),
        ("discard", EpisodeEvent.DISCARD),
    ],
)
def test_an_episode_of_another_node_is_judged_with_a_reason(
    rig: ConsoleRig, browser: Browser, button: str, event: int
) -> None:
    events = rig.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
    rig.until(events.get_subscription_count)
    start = EpisodeEvent(episode_id="trial", event=EpisodeEvent.START, task="stir")
    events.publish(start)
    rig.until(lambda: browser.view["episode"])
    browser.send(press="home")
    rig.until(lambda: browser.has_shown("not now: trial of another node is running"))
    browser.send(press=button, reason="hit something")
    rig.until(lambda: rig.events[-1].event == event)
    assert rig.events[-1].episode_id == "trial"
    assert rig.events[-1].text == "hit something"
    rig.until(lambda: browser.view["episode"] is None)


def test_an_episode_that_ended_without_a_verdict_waits_for_one(
    rig: ConsoleRig, browser: Browser
) -> None:
    events = rig.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
    rig.until(events.get_subscription_count)
    events.publish(EpisodeEvent(episode_id="trial", event=EpisodeEvent.START, task="stir"))
    rig.until(lambda: browser.view["episode"])
    events.publish(EpisodeEvent(episode_id="trial", event=EpisodeEvent.STOP))
    over = {"name": "trial", "own": False, "over": True}
    rig.until(lambda: browser.view["episode"] == over)
    browser.send(press="fail", reason="out of time")
    rig.until(lambda: rig.events[-1].event == EpisodeEvent.FAILURE)
    assert rig.events[-1].episode_id == "trial"
    rig.until(lambda: browser.view["episode"] is None)


def test_an_episode_that_another_node_ends_is_over_here_too(
    rig: ConsoleRig, browser: Browser
) -> None:
    rig.drive(browser)
    rig.record_by(browser)
    events = rig.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
    rig.until(events.get_subscription_count)
    end = EpisodeEvent(episode_id=rig.events[0].episode_id, event=EpisodeEvent.DISCARD)
    events.publish(end)
    rig.until(lambda: browser.has_shown("discarded, by another node"))
    assert rig.node.episode == ""


def test_images_arrive_as_jpeg_and_only_while_somebody_looks(
    rig: ConsoleRig, browser: Browser
) -> None:
    topic = "camera/front/image_raw"
    publisher = rig.probe.create_publisher(Image, topic, qos.IMAGES)
    rig.until(publisher.get_subscription_count)
    image = Image(height=24, width=32, encoding="rgb8", step=96)
    image.data = np.full((24, 32, 3), (255, 0, 0), np.uint8).tobytes()
    publisher.publish(image)
    rig.until(lambda: "front" in browser.images)
    decoded = cv2.imdecode(
        np.frombuffer(browser.images["front"], np.uint8), cv2.IMREAD_COLOR
    )
    assert decoded.shape == (24, 32, 3)
    np.testing.assert_allclose(decoded[12, 16], [0, 0, 255], atol=8)
    browser.close()
    rig.until(lambda: publisher.get_subscription_count() == 0)


def test_a_viewer_that_shows_nothing_gets_nothing_more(
    rig: ConsoleRig, browser: Browser
) -> None:
    with contextlib.closing(rig.browse()) as slow:
        slow.asleep = True
        rig.until(lambda: slow.view["view"] >= 1)
        seen = browser.view["view"]
        last = slow.view["view"]
        rig.until(lambda: browser.view["view"] > seen + 5)
        assert slow.view["view"] <= last + 1


def test_the_state_of_arm_and_policy_is_on_the_page(
    rig: ConsoleRig, browser: Browser
) -> None:
    policies = rig.probe.create_publisher(PolicyState, "policy/state", qos.STATE)
    rig.until(policies.get_subscription_count)
    state = PolicyState(status=PolicyState.STATUS_ACTING, q_values=[0.5, 0.25], task="stir")
    state.episode_id = "trial"
    policies.publish(state)
    rig.until(lambda: browser.view["policy"] and browser.view["policy"]["q"] == [0.25])
    assert browser.view["episode"]["name"] == "trial"
    rig.arm_state.status = ArmState.STATUS_HOLDING
    rig.arm_state.reason = "stopped"
    rig.until(lambda: browser.view["arm"]["status"] == "holding")
    assert browser.view["arm"]["reason"] == "stopped"


def test_a_simulated_graph_keeps_the_scene_it_has_until_somebody_wants_another(
    ros: None,
) -> None:
    with contextlib.closing(ConsoleRig(simulated=True, task="")) as rig:
        assert rig.scenes == []
        with contextlib.closing(rig.browse()) as browser:
            rig.until(lambda: browser.view["simulated"])
            task = browser.view["tasks"][0]
            browser.send(task=task.upper())
            rig.until(lambda: rig.scenes)
            assert rig.scenes[0][0] == task
            browser.send(task="wash the car")
            rig.until(lambda: browser.has_shown("wash the car"))
            assert browser.view["task"] == task


@pytest.mark.parametrize(
    "message",
    [
        {"motion": [1.0, 0, 0]},
        {"motion": [1.0, 0, 0, 0, 0, float("nan")]},
        {"motion": "forward"},
        {"motion": [None] * 6},
        {"motion": [10**400, 0, 0, 0, 0, 0]},
        {"press": []},
        {"press": "explode"},
        {"press": "fail", "reason": "x" * 300},
        {"drive": 1},
        {"shown": -1},
        {"launch": True},
    ],
)
def test_a_message_of_no_page_ends_its_connection_and_nothing_else(
    rig: ConsoleRig, browser: Browser, message: dict[str, object]
) -> None:
    with contextlib.closing(rig.browse()) as foreign:
        foreign.send(**message)
        rig.until(lambda: foreign.close_code == 1008)
    seen = browser.view["view"]
    rig.until(lambda: browser.view["view"] > seen)
