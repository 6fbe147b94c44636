"""Which browser moves the arm, and for how long. No ROS, no network."""

from __future__ import annotations

import time

import numpy as np
import pytest

from widowx_bringup.console.browsers import REST_TIME, VIEW_LIMIT, Browsers
from widowx_bringup.teleop.devices import SILENCE_TIMEOUT
from widowx_bringup.teleop.mapping import TAP_TIME, Button

FORWARD = [1.0, 0, 0, 0, 0, 0]
NOTHING = [0.0] * 6


@pytest.fixture
def browsers() -> Browsers:
    browsers = Browsers()
    assert not browsers.take("a", time.monotonic())
    return browsers


def test_motion_lasts_as_long_as_its_heartbeats(browsers: Browsers) -> None:
    browsers.hold("a", FORWARD, 0.0)
    now = time.monotonic()
    np.testing.assert_array_equal(browsers.read(now).motion, FORWARD)
    assert browsers.read(now).held
    assert not browsers.read(now + SILENCE_TIMEOUT + 0.01).held


def test_a_released_key_ends_the_motion_and_a_tap_is_one_step(browsers: Browsers) -> None:
    begin = time.monotonic()
    browsers.hold("a", FORWARD, 0.0)
    browsers.hold("a", NOTHING, 0.0)
    assert browsers.read(begin + TAP_TIME / 2).held
    assert not browsers.read(time.monotonic() + TAP_TIME).held


def test_the_stop_ends_the_motion_at_once(browsers: Browsers) -> None:
    browsers.hold("a", FORWARD, 0.0)
    browsers.press(Button.STOP)
    assert not browsers.read(time.monotonic()).held


@pytest.mark.parametrize("age", [VIEW_LIMIT + 0.01, float("inf"), float("nan")])
def test_a_heartbeat_that_answers_an_old_view_ends_the_motion(
    browsers: Browsers, age: float
) -> None:
    browsers.hold("a", FORWARD, 0.0)
    browsers.hold("a", FORWARD, age)
    assert not browsers.read(time.monotonic()).held


def test_only_the_browser_that_drives_moves_the_arm(browsers: Browsers) -> None:
    browsers.hold("b", FORWARD, 0.0)
    assert not browsers.read(time.monotonic()).held


def test_another_browser_takes_over_only_while_nothing_moves(browsers: Browsers) -> None:
    browsers.hold("a", FORWARD, 0.0)
    browsers.hold("a", NOTHING, 0.0)
    now = time.monotonic()
    assert "a moves the arm" in browsers.take("b", now)
    assert browsers.driver == "a"
    assert not browsers.take("b", now + REST_TIME)
    browsers.hold("a", FORWARD, 0.0)
    assert not browsers.read(time.monotonic()).held


def test_a_browser_that_is_gone_drives_no_longer(browsers: Browsers) -> None:
    browsers.hold("a", FORWARD, 0.0)
    browsers.leave("b")
    assert browsers.driver == "a"
    browsers.leave("a")
    assert browsers.driver == ""
    assert not browsers.read(time.monotonic()).held


def test_a_button_is_pressed_once(browsers: Browsers) -> None:
    browsers.press(Button.STOP)
    assert browsers.read(0.0).buttons == (Button.STOP,)
    assert browsers.read(0.0).buttons == ()


def test_the_gripper_acts_while_nothing_is_held(browsers: Browsers) -> None:
    browsers.press(Button.GRIPPER)
    pressed = browsers.read(time.monotonic())
    assert pressed.held
    assert not pressed.motion.any()
