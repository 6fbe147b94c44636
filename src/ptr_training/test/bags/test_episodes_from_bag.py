"""Bags to episodes: clocks, observations, and the status of every message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scripted_bags import (
    FAILURE,
    MS,
    READ,
    START,
    Script,
    check_sums,
    fates,
    make,
    write,
)

from ptr_training.bags.episodes_from_bag import read_episodes


def test_header_stamps_count_and_not_the_time_of_arrival(tmp_path: Path) -> None:
    delays = {"image_raw": 200, "command": 100, "executed": 150, "state": 30, "event": 0}
    results = []
    for name, scale in (("prompt", 0), ("late", MS)):
        script = Script()
        script.episode(10**18, steps=8)
        rng = np.random.default_rng(3)
        for message in script.messages:
            delay = delays[message.topic.rpartition("/")[2]] + int(rng.integers(0, 30))
            message.log_time += delay * scale
        results.append(read_episodes(write(tmp_path / name, script), READ).episodes[0])
    for name in ("frames", "stamps_ns", "proprio", "requested", "executed"):
        np.testing.assert_array_equal(getattr(results[0], name), getattr(results[1], name))


def test_command_that_answers_an_image_gets_that_image(
    tmp_path: Path, script: Script
) -> None:
    begin = 10**18
    script.event(START, begin)
    stamps = [begin + number * 1000 * MS // 30 for number in range(40)]
    for number, stamp in enumerate(stamps):
        script.image(number, stamp)
        script.state(number, stamp)
    for number, answered in enumerate((2, 8, 14, 20)):
        script.command(number, stamps[answered] + 90 * MS, observed=stamps[answered])
    script.event(FAILURE, begin + 1200 * MS)
    [episode] = read_episodes(write(tmp_path / "bag", script), READ).episodes
    assert episode.stamps_ns[:-1].tolist() == [stamps[number] for number in (2, 8, 14, 20)]
    np.testing.assert_allclose(episode.executed[:, 0], np.arange(4) / 2000)
    assert episode.outcome == "failure"


def test_hole_in_the_images_refuses_the_episode_and_says_so(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=10, name="holed")
    script.messages = [
        message
        for message in script.messages
        if not (
            message.topic.endswith("image_raw")
            and 600 * MS < message.stamp - 10**18 < 1400 * MS
        )
    ]
    script.episode(2 * 10**18, steps=4, name="good")
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    assert [episode.id for episode in result.episodes] == ["good"]
    assert "the newest image is" in result.audit["episodes"][0]["refused"]
    assert fates(result, "/arm/command") == {"used": 4, "refused": 10}
    check_sums(bag, result)


def test_topics_that_say_nothing_are_accounted_for(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    text = make("std_msgs/msg/String", "hello")
    for topic in ("joint_states", "sim/world", "chatter"):
        script.add(topic, 10**18, text)
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    assert (
        fates(result, "/joint_states") == fates(result, "/sim/world") == {"not needed": 1}
    )
    assert fates(result, "/chatter") == {"unknown topic": 1}
    check_sums(bag, result)


def test_commands_that_the_arm_rejected_are_counted_as_not_executed(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=8)
    executed = [each for each in script.messages if each.topic.endswith("executed")]
    script.messages.remove(executed[2])  # refused at once: no answer
    executed[5].value.action[:6] = 0  # no joint target exists: a step without motion
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    assert result.audit["episodes"][0]["not executed"] == 2
    [episode] = result.episodes
    assert not episode.executed[[2, 5], :6].any()
    check_sums(bag, result)
