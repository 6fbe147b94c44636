"""Episodes of a bag by their events, their task and their outcome."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin
from scripted_bags import (
    DISCARD,
    FAILURE,
    MS,
    READ,
    START,
    STOP,
    SUCCESS,
    Script,
    check_sums,
    fates,
    write,
)

from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from ptr_training.bags.errors import BagError


def test_several_episodes_are_split_by_their_events(tmp_path: Path, script: Script) -> None:
    second = 10**9
    script.episode(10 * second, steps=4, name="a")
    script.episode(20 * second, steps=5, name="b", end=DISCARD)
    script.episode(30 * second, steps=6, name="c", end=FAILURE)
    script.episode(
        40 * second, steps=3, name="d", end=0
    )  # no end event; the next START ends it
    script.episode(41 * second, steps=4, name="e", end=STOP)
    script.event(SUCCESS, 60 * second, "unheard of")
    script.episode(
        70 * second, steps=4, name="f", end=0
    )  # the recording ends before it does
    script.command(99, 65 * second)
    bag = write(tmp_path / "bag", script)
    result = read_episodes(bag, READ)
    found = [(episode.id, len(episode), episode.outcome) for episode in result.episodes]
    assert found == [
        ("a", 4, "success"),
        ("c", 6, "failure"),
        ("d", 3, "stop"),
        ("e", 4, "stop"),
        ("f", 4, "interrupted"),
    ]
    assert fates(result, "/arm/command") == {
        "used": 21,
        "discarded": 5,
        "outside episode": 1,
    }
    assert fates(result, "/arm/executed") == {
        "used": 21,
        "discarded": 5,
        "outside episode": 1,
    }
    assert fates(result, "/episode/event") == {"used": 10, "unmatched": 1}
    assert {entry["id"]: entry.get("refused") for entry in result.audit["episodes"]}[
        "b"
    ] == "discarded by the operator"
    check_sums(bag, result)


def test_bag_of_plain_ros2_bag_record_takes_task_and_outcome_from_the_user(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4, events=False)
    bag = write(tmp_path / "mine", script, storage=StoragePlugin.SQLITE3)
    with pytest.raises(BagError, match="does not say what was done; say it with --task"):
        read_episodes(bag, READ)
    [episode] = read_episodes(
        bag, ReadOptions(image_size=8, task="fold", outcome="failure")
    ).episodes
    assert (episode.id, episode.task, episode.outcome) == ("mine", "fold", "failure")


def test_task_of_the_user_does_not_override_the_events(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    bag = write(tmp_path / "bag", script)
    with pytest.raises(
        BagError, match="says its task is 'put red in bowl', --task says 'fold'"
    ):
        read_episodes(bag, ReadOptions(task="fold"))


def test_start_sent_twice_is_one_episode(tmp_path: Path, script: Script) -> None:
    script.episode(10**18, steps=4)
    script.event(START, 10**18 + 300 * MS)
    result = read_episodes(write(tmp_path / "bag", script), READ)
    assert [len(episode) for episode in result.episodes] == [4]
    assert fates(result, "/episode/event") == {"used": 2, "duplicate": 1}


def test_a_bag_whose_start_was_not_recorded_is_named_and_not_guessed(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    script.messages = [message for message in script.messages if message.stamp > 10**18]
    bag = write(tmp_path / "late", script)
    result = read_episodes(bag, ReadOptions(image_size=8, task="fold"))
    assert result.episodes == []
    assert "holds no START" in result.audit["refused"]
    assert "--outcome" in result.audit["refused"]
    check_sums(bag, result)
    options = ReadOptions(image_size=8, task="fold", outcome="failure")
    [episode] = read_episodes(bag, options).episodes
    assert (episode.id, episode.outcome, len(episode)) == ("late", "failure", 3)


def test_a_bag_with_a_topic_of_events_but_none_on_it_is_no_success(
    tmp_path: Path, script: Script
) -> None:
    script.episode(10**18, steps=4)
    [file] = write(tmp_path / "idle", script, storage=StoragePlugin.SQLITE3).glob("*.db3")
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "DELETE FROM messages WHERE topic_id IN "
            "(SELECT id FROM topics WHERE name = '/episode/event')"
        )
    result = read_episodes(file, ReadOptions(task="fold"))
    assert result.episodes == []
    assert "holds no START" in result.audit["refused"]
