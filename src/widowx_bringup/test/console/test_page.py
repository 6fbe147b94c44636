"""The page in a real browser: a demonstration by keys, and what a phone shows."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)

from console_rig import ConsoleRig  # noqa: E402

from ptr_common import qos  # noqa: E402
from ptr_msgs.msg import EpisodeEvent  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"viewport": {"width": 420, "height": 900}, "has_touch": True, "is_mobile": True}
TARGET = 44
"""Smallest height of what a finger presses [pixels]."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Visitor:
    """A person at a browser, in a thread of its own, while the test spins the graph."""

    def __init__(self, rig: ConsoleRig, **options: Any) -> None:
        self._rig = rig
        self._options = options
        self._thread = ThreadPoolExecutor(1)

    def visit(self, act: Callable[[Any], None]) -> None:
        """Open the page and do something there."""
        done = self._thread.submit(self._visit, act)
        self._rig.until(done.done, limit=90.0)
        done.result()

    def _visit(self, act: Callable[[Any], None]) -> None:
        errors: list[str] = []
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(**self._options)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: errors.append(line.text))
            page.goto(f"http://127.0.0.1:{self._rig.node.server.port}/")
            act(page)
            browser.close()
        assert errors == []


def until(page: Any, condition: Callable[[], object]) -> None:
    """Wait, at the browser, until a condition holds."""
    for _ in range(500):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError("the condition was not met in time")


@pytest.fixture
def rig(ros: None) -> Iterator[ConsoleRig]:
    with contextlib.closing(ConsoleRig(simulated=True, task="")) as rig:
        rig.solved = True
        yield rig


def test_a_demonstration_is_driven_by_keys_and_saved(rig: ConsoleRig) -> None:
    def moved() -> bool:
        return bool(rig.commands) and rig.commands[-1].action[0] > 0

    def act(page: Any) -> None:
        expect = playwright.expect
        page.get_by_role("button", name="Drive the arm").click()
        expect(page.locator("#drive-state")).to_contain_text("you drive")
        page.keyboard.press("1")
        expect(page.locator("#episode")).to_contain_text("running")
        page.keyboard.down("w")
        until(page, moved)
        page.keyboard.up("w")
        until(page, lambda: not moved())
        page.keyboard.press("g")
        page.keyboard.press("2")
        expect(page.locator("#meter-label")).to_contain_text("1 of 10 demonstrations")
        page.get_by_role("button", name="Start", exact=False).first.focus()
        page.keyboard.press(" ")
        expect(page.locator("#lines")).to_contain_text("did hold")

    Visitor(rig, viewport={"width": 1280, "height": 850}).visit(act)
    assert [event.event for event in rig.events] == [
        EpisodeEvent.START,
        EpisodeEvent.SUCCESS,
    ]
    assert rig.called == ["hold"]


def test_on_a_phone_nothing_is_cut_off_and_a_finger_holds_a_pad(rig: ConsoleRig) -> None:
    def act(page: Any) -> None:
        page.locator("#drive").tap()
        pad = page.get_by_role("button", name="up")
        pad.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        for button in page.locator("button:visible").all():
            assert button.bounding_box()["height"] >= TARGET, button.inner_text()
        pad.dispatch_event("pointerdown", {"button": 0, "pointerId": 1, "bubbles": True})
        until(page, lambda: rig.commands and rig.commands[-1].action[2] > 0)
        pad.dispatch_event("pointercancel", {"pointerId": 1, "bubbles": True})

    Visitor(rig, **PHONE).visit(act)
    rig.until(lambda: not rig.node._input.held)


def test_a_finger_judges_what_ended_without_a_verdict(rig: ConsoleRig) -> None:
    events = rig.probe.create_publisher(EpisodeEvent, "episode/event", qos.EVENTS)
    rig.until(events.get_subscription_count)
    for event in (EpisodeEvent.START, EpisodeEvent.STOP):
        events.publish(EpisodeEvent(episode_id="trial", event=event, task="stir"))
    rig.until(
        lambda: rig.node.rollouts.other == "trial" and rig.node._rollouts.running is None
    )

    def act(page: Any) -> None:
        playwright.expect(page.locator("#episode")).to_contain_text(
            "without a verdict: trial"
        )
        page.get_by_role("button", name="Failure").tap()
        playwright.expect(page.locator("#episode")).to_contain_text("no episode is running")

    Visitor(rig, **PHONE).visit(act)
    assert rig.events[-1].event == EpisodeEvent.FAILURE
