"""The stores that a command names: the same one twice, and likely mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.errors import TrainingError
from ptr_training.training.sources import (
    is_near_miss,
    open_distinct,
    retarget_ids,
    warn,
    warn_of_similar_tasks,
    warn_of_swapped_stores,
)


def test_stores_are_opened_in_the_order_of_their_options(make_store) -> None:
    paths = [make_store(name) for name in ("one", "two", "three")]
    stores = open_distinct({"--prior": paths[:2], "--target": paths[2:]})
    assert [store.path for store in stores["--prior"]] == paths[:2]
    assert [store.path for store in stores["--target"]] == paths[2:]


def test_the_same_folder_twice_is_refused(make_store) -> None:
    path = make_store("prior")
    message = (
        f"--data {path} holds the same episodes as --data {path}; name every store once"
    )
    with pytest.raises(TrainingError, match=message):
        open_distinct({"--data": [path, path]})


def test_a_copy_of_a_store_is_refused(tmp_path: Path, make_store) -> None:
    path = make_store("prior")
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    with pytest.raises(
        TrainingError, match=r"--target .*copy holds the same .* --prior .*prior"
    ):
        open_distinct({"--prior": [path], "--target": [copy]})


def test_a_target_of_several_tasks_is_taken_for_swapped_stores(make_store, capsys) -> None:
    many = EpisodeStore.open(make_store("many", tasks=("a", "b", "c")))
    one = EpisodeStore.open(make_store("one", tasks=("new",)))
    warn_of_swapped_stores(one, [many])
    assert capsys.readouterr().err == ""
    warn_of_swapped_stores(many, [one])
    assert capsys.readouterr().err == (
        f"warning: --target {many.path} holds 3 tasks (a, b, c) and --prior 1 (new); "
        "a target store usually holds one: are --prior and --target swapped?\n"
    )
    warn_of_swapped_stores(many, [])
    assert "is this the prior data?" in capsys.readouterr().err


def test_many_tasks_are_not_all_named(make_store, capsys) -> None:
    tasks = tuple("abcdefg")
    many = EpisodeStore.open(make_store("many", tasks=tasks, per_task=1))
    warn_of_swapped_stores(many, [])
    assert "7 tasks (a, b, c, d, e and 2 more);" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "Put the red cube on the white plate",
        "put red cube on the white plate",
        "put the  red cube on the white plat",
        "put the red cubes on a white plate",
    ],
)
def test_another_spelling_of_a_task_is_a_near_miss(name: str) -> None:
    assert is_near_miss(name, "put the red cube on the white plate")


@pytest.mark.parametrize(
    "name",
    [
        "put the red cube on the white plate",
        "put the blue cube on the white plate",
        "put the red cube on the white tray",
        "put the red cube in the white plate",
        "put the red cube on the plate",
        "",
    ],
)
def test_another_task_is_no_near_miss(name: str) -> None:
    assert not is_near_miss(name, "put the red cube on the white plate")


def test_a_near_miss_of_a_known_task_is_warned_of(capsys) -> None:
    warn_of_similar_tasks(
        "--target-task", ["open drawer", "close box"], ["open the drawer"]
    )
    assert capsys.readouterr().err == (
        "warning: --target-task: 'open drawer' becomes a new task, beside the known "
        "'open the drawer'; if both are the same task, spell them alike\n"
    )
    warn_of_similar_tasks("--target-task", ["open drawer"], ["open drawer", "Open drawer"])
    assert capsys.readouterr().err == ""


def test_a_name_of_another_case_is_said_to_be_the_known_one(capsys) -> None:
    warn_of_similar_tasks("--target", ["Open  drawer"], ["close box", "open drawer"])
    assert capsys.readouterr().err == (
        "warning: --target: 'Open  drawer' is taken for the known 'open drawer'\n"
    )


def test_an_unknown_task_to_retarget_to_has_a_suggestion(make_store) -> None:
    target = EpisodeStore.open(make_store("target", tasks=("new",)))
    task_ids = TaskIds.for_tasks(["lift the cube", "open"], 1)
    message = (
        "task 'lift the cub'; did you mean 'lift the cube'? Known are: 'lift the cube'"
    )
    with pytest.raises(TrainingError, match=message.replace("?", r"\?")):
        retarget_ids({"new": "lift the cub"}, task_ids, target)


def test_a_task_to_retarget_that_the_target_lacks_is_warned_of(make_store, capsys) -> None:
    target = EpisodeStore.open(make_store("target", tasks=("new",)))
    task_ids = TaskIds.for_tasks(["a"], 1)
    retarget_ids({"new": "a"}, task_ids, target)
    assert capsys.readouterr().err == ""
    retarget_ids({"neww": "a"}, task_ids, target)
    assert (
        "has no task 'neww'; did you mean 'new'? Known are: 'new'"
        in capsys.readouterr().err
    )


def test_of_several_processes_only_the_first_one_warns(monkeypatch, capsys) -> None:
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        warn(f"from {rank}")
    assert capsys.readouterr().err == "warning: from 0\n"
