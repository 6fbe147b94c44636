"""Clocks that jump, disagree or count from another moment: refused by name, others kept."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from scripted_bags import MS, READ, Script, fates, time, write

from ptr_training.bags.episodes_from_bag import BagEpisodes, ReadOptions, read_episodes

BEGIN = 10**18
SECOND = 1000 * MS
YEARS = 2 * 365 * 86_400 * SECOND
ALL = ("image_raw", "command", "executed", "state", "event")


def bend(script: Script, topics: tuple[str, ...], shift: Callable[[int], int]) -> None:
    """Change the stamps of some topics; log times and the order of the file stay."""
    for message in script.messages:
        if message.topic.endswith(topics):
            message.value.header.stamp = time(shift(message.stamp))


def read(path: Path, *topics: str, shift: Callable[[int], int]) -> BagEpisodes:
    """A good episode, and one whose clocks are bent from its begin on."""
    script = Script()
    script.episode(BEGIN, steps=6, name="bent")
    bend(script, topics, shift)
    script.episode(2 * BEGIN, steps=4, name="good")
    return read_episodes(write(path / "bag", script), READ)


def refusal(result: BagEpisodes) -> str:
    """Why the bent episode is refused, while the good one is kept."""
    assert [episode.id for episode in result.episodes] == ["good"]
    return str(result.audit["episodes"][0]["refused"])


@pytest.mark.parametrize("jump", [YEARS, 30 * SECOND, 3 * SECOND])
def test_clocks_that_jump_ahead_refuse_the_episode_and_no_other(
    tmp_path: Path, jump: int
) -> None:
    result = read(tmp_path, *ALL, shift=lambda t: t + jump * (t > BEGIN + 500 * MS))
    assert re.match("commands pause for .* s after command 2", refusal(result))


def test_a_short_jump_ahead_is_a_gap_in_the_observations(tmp_path: Path) -> None:
    result = read(tmp_path, *ALL, shift=lambda t: t + 400 * MS * (t > BEGIN + 500 * MS))
    assert "nothing on /camera/front/image_raw for 0.43 s" in refusal(result)


@pytest.mark.parametrize("step", [500, 120])
def test_clocks_set_back_refuse_the_episode(tmp_path: Path, step: int) -> None:
    result = read(tmp_path, *ALL, shift=lambda t: t - step * MS * (t > BEGIN + 500 * MS))
    assert re.search("image_raw step back by 0.* a clock was set", refusal(result))


def test_clocks_set_back_to_before_the_start_refuse_the_episode(tmp_path: Path) -> None:
    result = read(tmp_path, *ALL, shift=lambda t: t - 9 * SECOND * (t > BEGIN + 500 * MS))
    assert "it ends 7.77 s before it starts: a clock was set back" in refusal(result)


@pytest.mark.parametrize("topic", ["image_raw", "executed"])
@pytest.mark.parametrize("shift", [200 * MS, SECOND, -600 * MS, -SECOND])
def test_a_clock_beside_the_arms_is_refused_with_its_difference(
    tmp_path: Path, topic: str, shift: int
) -> None:
    reason = refusal(read(tmp_path, topic, shift=lambda t: t + shift))
    assert topic in reason
    side = "ahead of" if shift > 0 else "behind"
    assert re.search(rf"stamped \d\.\d+ s {side} the arm states .*chrony", reason)


def test_one_image_of_the_future_refuses_the_episode(tmp_path: Path) -> None:
    odd = BEGIN + 15 * SECOND // 30
    result = read(tmp_path, "image_raw", shift=lambda t: t + 300 * MS * (t == odd))
    assert "message 15 on /camera/front/image_raw is stamped 0.30 s ahead" in refusal(
        result
    )


def test_a_camera_clock_of_another_epoch_is_named_as_such(tmp_path: Path) -> None:
    reason = refusal(read(tmp_path, "image_raw", shift=lambda t: t - BEGIN + SECOND))
    assert "999999999 s behind the arm states that arrived with it" in reason
    assert "a clock of another epoch; have the driver stamp with the computer's" in reason


def test_events_of_a_computer_with_another_clock_refuse_the_episode(tmp_path: Path) -> None:
    reason = refusal(read(tmp_path, "event", shift=lambda t: t + 2 * SECOND))
    assert re.match("its START event is stamped .* s ahead of the arm states", reason)


@pytest.mark.parametrize("speed", [0.2, 1.0, 5.0])
def test_simulated_time_at_any_speed_is_a_clock_like_any_other(
    tmp_path: Path, speed: float
) -> None:
    script = Script()
    script.episode(10 * SECOND, steps=6)
    for message in script.messages:
        message.log_time = BEGIN + int((message.stamp - 10 * SECOND) / speed)
    [episode] = read_episodes(write(tmp_path / "bag", script), READ).episodes
    assert len(episode) == 6


def test_messages_from_before_the_first_clock_are_left_out_by_name(tmp_path: Path) -> None:
    script = Script()
    script.episode(10 * SECOND, steps=6, events=False)
    for message in script.messages:
        message.log_time += BEGIN
    script.command(9, 9 * SECOND)
    for message in script.messages[-2:]:
        message.log_time += BEGIN
        message.value.header.stamp = time(0)
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, ReadOptions(image_size=8, task="fold"))
    assert [len(episode) for episode in result.episodes] == [6]
    assert fates(result, "/arm/command") == {"used": 6, "untimed": 1}
    assert result.audit["topics"]["/arm/command"]["without stamp"] == 1


def test_pause_of_the_operator_is_kept_where_images_show_it(tmp_path: Path) -> None:
    script = Script()
    script.episode(BEGIN, steps=20)
    script.messages = [
        message
        for message in script.messages
        if not message.topic.endswith(("command", "executed"))
        or not BEGIN + 500 * MS < message.stamp < BEGIN + 3500 * MS
    ]
    [episode] = read_episodes(write(tmp_path / "bag", script), READ).episodes
    assert len(episode) == 20
    still = np.abs(episode.executed[:, :6]).sum(1) == 0
    assert still.sum() == 16


@pytest.mark.parametrize("observed", [BEGIN + 900 * MS, BEGIN - 5 * SECOND])
def test_a_command_that_answers_an_impossible_image_refuses_the_episode(
    tmp_path: Path, observed: int
) -> None:
    script = Script()
    script.episode(BEGIN, steps=6)
    script.command(9, BEGIN + 450 * MS, observed=observed)
    result = read_episodes(write(tmp_path / "bag", script), READ)
    assert "command 3 answers an image of" in result.audit["episodes"][0]["refused"]


def test_log_times_that_are_all_equal_accuse_nobody(tmp_path: Path) -> None:
    script = Script()
    script.episode(BEGIN, steps=6)
    for message in script.messages:
        message.log_time = BEGIN
    [episode] = read_episodes(write(tmp_path / "bag", script), READ).episodes
    assert len(episode) == 6


def test_a_set_back_of_all_clocks_is_seen_in_the_order_of_a_database_too(
    tmp_path: Path,
) -> None:
    script = Script()
    script.episode(BEGIN, steps=6)
    bag = write(tmp_path / "bag", script, storage=StoragePlugin.SQLITE3)
    assert read_episodes(bag, READ).episodes
    back = 500 * MS
    bend(script, ALL, lambda t: t - back * (t > BEGIN + 500 * MS))
    bag = write(tmp_path / "back", script, storage=StoragePlugin.SQLITE3)
    with contextlib.closing(sqlite3.connect(bag / "back.db3")) as database, database:
        database.execute(
            "UPDATE messages SET timestamp = timestamp - ? WHERE timestamp > ?",
            (back, BEGIN + 500 * MS),
        )
    result = read_episodes(bag, READ)
    assert "step back by 0.4" in result.audit["episodes"][0]["refused"]
