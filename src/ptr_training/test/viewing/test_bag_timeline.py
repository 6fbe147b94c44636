"""Bags on a time axis: each stamp in its place, holds and clips as the arm counted them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scripted_bags import MS, START, SUCCESS, Script, header, make, pixels_of, write

from ptr_common.errors import PtrError
from ptr_training.viewing.bag_timeline import read_bag
from ptr_training.viewing.timeline import ViewError

POLICY = "ptr_msgs/msg/PolicyState"
S = 1000 * MS


def policy(
    script: Script, stamp: int, q: tuple[float, float], status: int = 1, reason: str = ""
) -> None:
    """Add a state of a policy whose command came 30 ms after its image."""
    names = make(
        POLICY,
        header(stamp),
        np.array(q),
        np.full(7, np.nan),
        0.03,
        "b",
        "x",
        "t",
        status,
        reason,
        "e",
        header(stamp - 30 * MS).stamp,
        header(stamp - 30 * MS).stamp,
        np.full(7, np.nan),
    )
    script.add("policy/state", stamp, names)


def arm(
    script: Script, stamp: int, status: int = 0, reason: str = "", clipped: int = 0
) -> None:
    """Add a state of the arm."""
    script.state(1, stamp)
    state = script.messages[-1].value
    state.status, state.reason, state.clipped = status, reason, clipped


@pytest.fixture
def bag(script: Script, tmp_path: Path) -> Path:
    """Six images, 200 ms apart; a command answers each from the second on."""
    script.event(START, 10 * S - 50 * MS, text="seed 3")
    for number in range(6):
        stamp = 10 * S + number * 200 * MS
        script.image(number, stamp)
        arm(
            script,
            stamp,
            *((1, "no image") if number in (2, 3) else (0, "")),
            clipped=number // 2,
        )
        if number:
            script.command(number, stamp + 30 * MS, observed=stamp)
            policy(script, stamp + 30 * MS, (number / 10, number / 5))
    policy(script, 11 * S + 20 * MS, (np.nan, np.nan), 2, "the image is late")
    script.event(SUCCESS, 11 * S + 10 * MS)
    return write(tmp_path / "bag", script)


def test_commands_and_values_stand_at_the_images_that_they_answer(bag: Path) -> None:
    timeline = read_bag(bag)
    np.testing.assert_allclose(timeline.cameras[0].times, np.arange(6) * 0.2, atol=1e-6)
    expected = np.arange(1, 6) * 0.2
    np.testing.assert_allclose(timeline.requested.times, expected, atol=1e-6)
    np.testing.assert_allclose(timeline.executed.times, expected, atol=1e-6)
    np.testing.assert_allclose(timeline.q.times, expected, atol=1e-6)
    np.testing.assert_allclose(timeline.q.values[:, 1], np.arange(1, 6) / 5)
    assert timeline.steps().tolist() == [0, 1, 2, 3, 4, 5]
    assert (timeline.task, timeline.unread) == ("put red in bowl", 0)


def test_holds_clips_and_events_are_found(bag: Path) -> None:
    timeline = read_bag(bag)
    (hold,) = timeline.holds
    assert (round(hold.start, 3), round(hold.end, 3), hold.text) == (0.4, 0.8, "no image")
    np.testing.assert_allclose(timeline.clips, [0.4, 0.8], atol=1e-6)
    assert [mark.text for mark in timeline.marks] == [
        *("START seed 3", "SUCCESS", "the policy waits: the image is late"),
    ]
    assert timeline.marks[0].time == pytest.approx(-0.05)


def test_images_are_read_by_their_place_even_twice(bag: Path) -> None:
    images = list(read_bag(bag).cameras[0].read([0, 2, 2, 5]))
    for image, number in zip(images, (0, 2, 2, 5), strict=True):
        np.testing.assert_array_equal(image, pixels_of(number))


def test_images_out_of_order_are_put_in_the_order_of_their_stamps(
    script: Script, tmp_path: Path
) -> None:
    for number, stamp in ((0, 10), (2, 12), (1, 11)):
        script.image(number, stamp * S)
    script.messages[-1].log_time = 13 * S
    camera = read_bag(write(tmp_path / "bag", script)).cameras[0]
    np.testing.assert_allclose(camera.times, [0, 1, 2])


def test_a_damaged_message_is_counted_and_the_rest_is_shown(
    script: Script, tmp_path: Path
) -> None:
    script.image(0, 10 * S)
    script.state(1, 10 * S)
    script.messages[-1].raw = b"\0\1\0\0\1\2"
    script.state(2, 10 * S + MS)
    timeline = read_bag(write(tmp_path / "bag", script))
    assert (timeline.unread, len(timeline.proprio)) == (1, 1)


def test_a_bag_of_something_else_and_one_of_two_arms_are_refused(
    script: Script, tmp_path: Path
) -> None:
    script.add("chatter", S, make("std_msgs/msg/String", "hello"))
    with pytest.raises(ViewError, match="holds no images, commands or states"):
        read_bag(write(tmp_path / "other", script))
    for namespace in ("/left", "/right"):
        script.namespace = namespace
        script.command(1, S)
    with pytest.raises(ViewError, match=r"several arms: /left/arm/command, /right/arm"):
        read_bag(write(tmp_path / "two", script))


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PtrError):
        read_bag(tmp_path / "missing")
