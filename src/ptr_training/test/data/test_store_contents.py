"""A wrong value in the files of a store is named with its file and its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ptr_common.files import sha256
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter, StoreError
from ptr_training.data.store import EpisodeStore


def _make(path: Path, task: str = "lift it") -> Path:
    with EpisodeWriter(path, DatasetInfo("s", "front", 16, 12, 8, 8)) as writer:
        for number in range(2):
            frames = np.full((4, 8, 8, 3), number, np.uint8)
            commands = np.zeros((3, 7))
            stamps = np.arange(4) * 200_000_000
            writer.add(
                Episode(
                    f"e{number}",
                    task,
                    frames,
                    stamps,
                    np.zeros((4, 7)),
                    commands,
                    commands,
                    "stop",
                )
            )
    return path


def _change_card(path: Path, name: str, value: Any) -> None:
    card = yaml.safe_load((path / "card.yaml").read_text())
    (path / "card.yaml").write_text(yaml.safe_dump({**card, name: value}))


def _change_episodes(path: Path, episodes: Any) -> None:
    (path / "episodes.json").write_text(json.dumps(episodes))
    card = yaml.safe_load((path / "card.yaml").read_text())
    card["sha256"]["episodes"] = sha256(path / "episodes.json")
    (path / "card.yaml").write_text(yaml.safe_dump(card))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 5),
        ("camera_width", "640"),
        ("image_height", 0),
        ("rate", float("inf")),
        ("rate", None),
        ("last_n", 1.5),
        ("command", "wished"),
        ("action_low", [0.0]),
        ("action_high", [float("nan")] * 7),
        ("sources", "bag"),
        ("sources", [5]),
    ],
)
def test_wrong_value_in_the_card_is_named(tmp_path: Path, name: str, value: Any) -> None:
    _change_card(_make(tmp_path / "s"), name, value)
    with pytest.raises(StoreError, match=rf"card\.yaml: {name} is .*; expected"):
        EpisodeStore.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", None),
        ("task", 5),
        ("start", "0"),
        ("length", 3.0),
        ("seed", "x"),
        ("start", True),
    ],
)
def test_wrong_value_of_an_episode_is_named(tmp_path: Path, name: str, value: Any) -> None:
    episodes = json.loads((_make(tmp_path / "s") / "episodes.json").read_text())
    episodes[1][name] = value
    _change_episodes(tmp_path / "s", episodes)
    with pytest.raises(
        StoreError, match=rf"episodes\.json, episode 1: {name} is .*expected"
    ):
        EpisodeStore.open(tmp_path / "s")


@pytest.mark.parametrize("episodes", [{}, "x", [5], [{"id": "a", "colour": 1}]])
def test_episodes_that_are_no_list_of_them_are_refused(
    tmp_path: Path, episodes: Any
) -> None:
    _change_episodes(_make(tmp_path / "s"), episodes)
    with pytest.raises(StoreError, match=r"episodes\.json"):
        EpisodeStore.open(tmp_path / "s")


def test_name_of_a_task_is_stored_as_it_shows(tmp_path: Path) -> None:
    store = EpisodeStore.open(_make(tmp_path / "s", task="\ufefflift\u200b it\r\n"))
    assert store.tasks == ("lift it",)
