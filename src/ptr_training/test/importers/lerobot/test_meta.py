"""The description of a LeRobot data set in `meta/`: what is read, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
from altered_lerobot import (
    EPISODES,
    FRONT,
    imported,
    read_first,
    retell,
    set_column,
)

from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError
from ptr_training.importers.lerobot.reader import find


def test_data_sets_in_a_folder_come_by_name(root: Path) -> None:
    shutil.copytree(root, root.with_name("another"))
    assert [record.path.name for record in find([root.parent])] == ["another"] * 3 + [
        "reference"
    ] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"codebase_version": "v2.1"},
            r"codebase_version is v2\.1, this version reads v3\.0; convert it .* --root=",
        ),
        (
            {"codebase_version": "v4.0"},
            r"codebase_version is v4\.0, this version reads v3\.0$",
        ),
        ({"fps": 30}, r"info\.json: fps is 30; only 5 can be read"),
        ({"total_episodes": 4}, "there are 4 episodes, but meta/episodes lists 3"),
        ({"total_episodes": 0}, "total_episodes is 0; record some"),
        ({"data_path": None}, "data_path and video_path text"),
        (
            {"features": {"action": {"dtype": "float32"}}},
            "feature 'action' has no dtype or no shape",
        ),
        (
            {"features": {"i": {"dtype": "image", "shape": [None, 8, 3]}}},
            "feature 'i' has shape",
        ),
        (
            {"features": {"i": {"dtype": "image", "shape": [8, 8, 3], "info": [1]}}},
            "cannot be read",
        ),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    root: Path, changes: dict[str, Any], message: str
) -> None:
    retell(root, lambda info: info.update(changes))
    with pytest.raises(TrainingError, match=message):
        find([root])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"codebase_version": "v3.0"}', "lacks 'features'"),
    ],
)
def test_a_damaged_description_is_refused(root: Path, text: str, message: str) -> None:
    (root / "meta/info.json").write_text(text)
    with pytest.raises(TrainingError, match=message):
        find([root])


def test_a_folder_without_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError,
        match=r"neither a LeRobot data set nor a folder of them: it holds no meta/info\.json",
    ):
        find([tmp_path])


def test_a_task_without_name_is_refused_unless_the_map_names_it(root: Path) -> None:
    tasks = pyarrow.table({"task": ["", "open c"], "task_index": [0, 1]})
    parquet.write_table(tasks, root / "meta/tasks.parquet")
    with pytest.raises(RecordError, match="names the task"):
        imported(read_first(root))
    assert imported(read_first(root), replace(FRONT, task_map={"": "play"})).task == "play"


@pytest.mark.parametrize(
    ("values", "message"),
    [([0, 1, 1], "lists an episode twice"), ([0, 1, None], "twice, or one")],
)
def test_a_table_of_episodes_that_contradicts_itself_is_refused(
    root: Path, values: list, message: str
) -> None:
    set_column(root / EPISODES, "episode_index", values)
    with pytest.raises(TrainingError, match=message):
        find([root])
