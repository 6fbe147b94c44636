"""Reading LeRobot data sets: one of LeRobot itself, the same in other tables, and damaged ones.

Data sets that `ptr convert` wrote are read in test_lerobot_writer.py.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import lerobot_reference as reference
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from altered_lerobot import (
    DATA,
    EPISODES,
    FRONT,
    IMAGES,
    SIDE,
    VIDEO,
    add_feature,
    drop,
    imported,
    read_first,
    retell,
    set_column,
)

from ptr_common.images import resize_area
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.importers.base import (
    ImportOptions,
    RecordError,
    RecordStatus,
    SkipRecord,
)
from ptr_training.importers.import_store import Request, import_store
from ptr_training.importers.lerobot.reader import find, info_fields, read
from ptr_training.importers.to_episode import to_episode


def test_data_set_of_lerobot_is_read_as_it_was_given() -> None:
    records = find([reference.FOLDER])
    assert [record.label for record in records] == [
        f"lerobot_0.6.1/00000{number}" for number in range(3)
    ]
    for number, record in enumerate(records):
        episode = imported(read(record, FRONT))
        assert (episode.id, episode.task) == (record.label, reference.TASKS[number])
        assert episode.success is reference.SUCCESS[number]
        assert (episode.source, episode.operator, episode.seed) == (
            "lerobot_0.6.1",
            "",
            None,
        )
        np.testing.assert_array_equal(episode.frames, reference.images(number))
        np.testing.assert_array_equal(
            episode.proprio, reference.states(number)[:, [0, 1, 2, 3, 4, 5, 7]]
        )
        np.testing.assert_array_equal(episode.requested, reference.actions(number)[:-1])
        np.testing.assert_array_equal(episode.executed, episode.requested)
        np.testing.assert_array_equal(
            episode.stamps_ns, np.arange(reference.LENGTHS[number]) * 200_000_000
        )


def test_videos_of_lerobot_show_each_episodes_images_in_order() -> None:
    for number, record in enumerate(find([reference.FOLDER])):
        found, wanted = (
            imported(read(record, SIDE)).frames.astype(int),
            reference.images(number),
        )
        differences = np.abs(found[:, None] - wanted[None]).mean((2, 3, 4))
        np.testing.assert_array_equal(differences.argmin(1), np.arange(len(wanted)))
        assert differences.diagonal().max() < 3


def test_a_store_is_made_of_it_and_names_its_camera(tmp_path: Path) -> None:
    options = ImportOptions(camera=IMAGES)
    audit = import_store(
        Request(
            "lerobot", (reference.FOLDER,), tmp_path / "store", options, {"image_width": 16}
        )
    )
    assert audit["fates"] == {"used": 3}
    assert (audit["notes"], audit["clipped"]) == ({"pictures enlarged": 3}, 0)
    store = EpisodeStore.open(tmp_path / "store")
    made = store.info
    assert (made.camera, made.camera_width, made.camera_height) == ("image_0", 64, 48)
    assert (made.image_height, made.image_width, made.command) == (128, 16, "requested")
    assert store.steps["reward"].sum() == 6
    np.testing.assert_array_equal(
        store.frames[5], resize_area(reference.images(1)[0], (128, 16))
    )


def test_a_store_of_videos_is_the_same_with_any_number_of_processes(root: Path) -> None:
    stores = [root.with_name(name) / "store" for name in "ab"]
    for workers, store in enumerate(stores, 1):
        import_store(Request("lerobot", (root,), store, SIDE, workers=workers))
    one, other = (
        {file.name: file.read_bytes() for file in store.iterdir()} for store in stores
    )
    assert one == other


def test_a_repeated_data_set_is_a_duplicate_and_a_changed_file_another_source(
    root: Path, tmp_path: Path
) -> None:
    def made(name: str, *sources: Path) -> list[dict[str, Any]]:
        audit = import_store(Request("lerobot", sources, tmp_path / name, FRONT))
        assert audit["fates"] == {"used": 3} | (
            {"duplicate": 3} if len(sources) > 1 else {}
        )
        return list(EpisodeStore.open(tmp_path / name).info.sources)

    (first,) = made("one", root)
    assert (first["name"], first["episodes"]) == ("reference", 3)
    copy = Path(shutil.copytree(root, tmp_path / "copy" / root.name))
    assert made("two", root, copy) == [
        first,
        first | {"episodes": 0, "sha256": hashlib.sha256().hexdigest()},
    ]
    retell(root, lambda info: info.update(robot_type="another"))
    assert made("three", root)[0]["sha256"] != first["sha256"]


@pytest.mark.parametrize("task_from", ["folder", "language"])
def test_tasks_are_named_by_the_data_set_and_renamed_by_the_map(task_from: str) -> None:
    options = ImportOptions(
        camera="image_0", task_from=task_from, task_map={"open c": "shut c"}
    )
    entries = [
        to_episode(read(record, options), options, (8, 8))[1]
        for record in find([reference.FOLDER])
    ]
    assert [entry["task"] for entry in entries] == ["put a in b", "shut c", "put a in b"]
    assert [entry["notes"] for entry in entries] == [[], [], []]


def test_data_sets_are_filtered_by_name(root: Path) -> None:
    assert read_first(root, include=("ref",))
    with pytest.raises(SkipRecord) as skipped:
        read_first(root, exclude=("ref",))
    assert skipped.value.status == RecordStatus.EXCLUDED


@pytest.mark.parametrize("name", [DATA, EPISODES, "meta/tasks.parquet", VIDEO])
@pytest.mark.parametrize("size", [0, -40])
def test_truncated_files_are_named(root: Path, name: str, size: int) -> None:
    file = root / name
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(TrainingError, match=f"{file.name} "):
        [imported(read(record, SIDE)) for record in find([root])]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (DATA, "file-000.parquet is missing; copy or download"),
        ("meta/tasks.parquet", "tasks.parquet is missing"),
        (EPISODES, "meta/episodes lists 0"),
        (VIDEO, r"file-000\.mp4 is missing"),
    ],
)
def test_missing_files_are_named(root: Path, name: str, message: str) -> None:
    (root / name).unlink()
    with pytest.raises(TrainingError, match=message):
        imported(read_first(root, camera="side"))


def test_a_damaged_file_makes_its_episodes_bad_records(root: Path) -> None:
    shutil.copytree(root, root.with_name("whole"))
    (root / DATA).write_bytes(b"")
    request = Request("lerobot", (root.parent,), root.parent / "store", FRONT)
    with pytest.raises(
        TrainingError,
        match=r"reference: record 0: data/chunk-000/file-000\.parquet cannot be read",
    ):
        import_store(request)
    audit = import_store(replace(request, skip_bad=True))
    assert audit["fates"] == {"bad": 3, "used": 3}


@pytest.mark.parametrize("statistics", [False, True])
def test_the_same_tables_written_otherwise_are_read_alike(
    root: Path, statistics: bool
) -> None:
    table = parquet.read_table(root / DATA)
    for name in ("action", "observation.state"):
        loose = pyarrow.array(table[name].to_pylist(), pyarrow.list_(pyarrow.float64()))
        table = table.set_column(table.column_names.index(name), name, loose)
    parquet.write_table(
        table, root / DATA, write_statistics=statistics
    )  # one group of rows for all episodes
    tasks = pyarrow.table({"task": ["put a in b", "open c"], "task_index": [0, 1]})
    parquet.write_table(tasks, root / "meta/tasks.parquet")
    for found, wanted in zip(find([root]), find([reference.FOLDER]), strict=True):
        one, other = read(found, FRONT), read(wanted, FRONT)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.states, other.states)
        assert (one.images, one.language) == (other.images, other.language)


@pytest.mark.parametrize(
    ("name", "what", "size"), [("observation.state", "states", 8), ("action", "actions", 7)]
)
def test_values_that_are_not_finite_are_refused_with_their_row(
    root: Path, name: str, what: str, size: int
) -> None:
    values = parquet.read_table(root / DATA)[name].to_pylist()
    values[5 + 3] = [float("nan")] * size
    set_column(root / DATA, name, values)
    records = find([root])
    read(records[0], FRONT)
    with pytest.raises(
        RecordError, match=rf"the {what} hold values that are not finite, first in row 3"
    ):
        read(records[1], FRONT)


@pytest.mark.parametrize("value", [None, [0.0] * 3])
def test_values_that_are_not_as_described_are_refused(
    root: Path, value: list[float] | None
) -> None:
    table = parquet.read_table(root / DATA)
    values = pyarrow.array([value] * len(table), pyarrow.list_(pyarrow.float32()))
    index = table.column_names.index("action")
    parquet.write_table(table.set_column(index, "action", values), root / DATA)
    with pytest.raises(
        RecordError,
        match=r"the values of action have shape \(5,(?: 3)?\), expected \(frames, 7",
    ):
        read_first(root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("episode_index", "file-000.parquet cannot be read"),
        ("frame_index", "numbered from 0"),
        ("task_index", "task_index is x"),
        ("action", "values of action are no numbers"),
        (IMAGES, f"{IMAGES} holds no encoded images"),
    ],
)
def test_text_in_the_place_of_another_type_is_refused(
    root: Path, name: str, message: str
) -> None:
    table = parquet.read_table(root / DATA)
    text = pyarrow.array(["x"] * len(table))
    parquet.write_table(
        table.set_column(table.column_names.index(name), name, text), root / DATA
    )
    with pytest.raises(RecordError, match=message):
        read_first(root)


def test_the_last_action_is_not_read(root: Path) -> None:
    values = parquet.read_table(root / DATA)["action"].to_pylist()
    values[4] = [float("nan")] * 7
    set_column(root / DATA, "action", values)
    assert len(read_first(root).actions) == 4


@pytest.mark.parametrize(
    ("success", "reward", "wanted"),
    [
        ([0, 0, 1, 0, 0], [0, 0, 0, 0, 0], "success"),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 1], "failure"),
        (None, [0, 0, 0, 0, 1], "success"),
        (None, [0, 0, 0, 0, 0], "failure"),
        (None, [0.1, 0.2, 0.5, 0.7, 0.9], "stop"),
        (None, None, "stop"),
    ],
)
def test_the_outcome_comes_from_success_then_rewards_then_the_options(
    root: Path, success: list[float] | None, reward: list[float] | None, wanted: str
) -> None:
    if reward is None:
        drop(root, "next.reward")
    else:
        set_column(root / DATA, "next.reward", reward + [0] * 13)
    if success:
        add_feature(root, "next.success", [bool(value) for value in success] + [True] * 13)
    options = replace(FRONT, outcome="stop")
    assert imported(read_first(root), options).outcome == wanted


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "task_index",
            [0, 0, 1, 1, 1],
            "has several tasks, 'put a in b', 'open c'; split it",
        ),
        ("task_index", [7] * 5, "task_index is 7, meta/tasks.parquet lists 2 tasks"),
        ("frame_index", [0, 1, 2, 4, 3], "numbered from 0"),
        ("frame_index", [None] * 5, "numbered from 0"),
        ("task_index", [None] * 5, "task_index is None"),
        ("episode_index", [0, 0, 0, 1, 1], "has 3 frames of it, meta/episodes says 5"),
        ("episode_index", [1] * 5, "has 0 frames of it"),
    ],
)
def test_contradictory_columns_are_refused(
    root: Path, column: str, values: list[int], message: str
) -> None:
    rest = parquet.read_table(root / DATA)[column].to_pylist()[5:]
    set_column(root / DATA, column, values + rest)
    with pytest.raises(TrainingError, match=message):
        read(find([root])[0], FRONT)


@pytest.mark.parametrize("name", ["episode_index", "action"])
def test_missing_columns_are_named(root: Path, name: str) -> None:
    parquet.write_table(parquet.read_table(root / DATA).drop_columns(name), root / DATA)
    with pytest.raises(TrainingError, match=rf"file-000\.parquet lacks the columns {name}"):
        read(find([root])[0], FRONT)


def test_a_file_that_changes_is_read_anew(root: Path) -> None:
    record = find([root])[0]
    before = read(record, FRONT).actions
    set_column(
        root / DATA, "action", parquet.read_table(root / DATA)["action"].to_pylist()[::-1]
    )
    assert (read(record, FRONT).actions != before).any()


def test_an_episode_of_one_frame_is_left_out(root: Path) -> None:
    table = parquet.read_table(root / DATA)
    parquet.write_table(table.slice(4), root / DATA)
    set_column(root / DATA, "frame_index", list(range(14)))
    set_column(root / EPISODES, "length", [1, 6, 7])
    with pytest.raises(SkipRecord) as skipped:
        read_first(root)
    assert skipped.value.status == RecordStatus.TOO_SHORT


def test_a_damaged_image_is_named_with_its_frame(root: Path) -> None:
    cells = parquet.read_table(root / DATA)[IMAGES].to_pylist()
    cells[2]["bytes"] = cells[2]["bytes"][:40]
    cells[5 + 1] = {"bytes": None, "path": str(root / "meta/info.json")}
    set_column(root / DATA, IMAGES, cells)
    records = find([root])
    for record, message in zip(
        records, ("image 2: compressed image", "image 1 is empty"), strict=False
    ):
        with pytest.raises(RecordError, match=message):
            imported(read(record, FRONT))


def test_a_camera_that_was_not_recorded_is_left_out(root: Path) -> None:
    black = reference.images(0)[0] * 0
    cells = parquet.read_table(root / DATA)[IMAGES].to_pylist()
    cells[:5] = [{"bytes": cv2.imencode(".jpg", black)[1].tobytes(), "path": None}] * 5
    set_column(root / DATA, IMAGES, cells)
    with pytest.raises(SkipRecord, match="all its images are black") as skipped:
        imported(read_first(root))
    assert skipped.value.status == RecordStatus.NO_CAMERA


def test_data_sets_with_different_cameras_do_not_go_into_one_store(root: Path) -> None:
    other = Path(shutil.copytree(root, root.with_name("other")))
    for folder, camera in ((root, "side"), (other, "image_0")):
        drop(folder, f"observation.images.{camera}")
    with pytest.raises(
        TrainingError, match="their camera is 'image_0' and 'side'; import them one by one"
    ):
        info_fields(find([root, other]), ImportOptions())


def test_without_pyarrow_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(TrainingError, match="pip install pyarrow"):
        find([reference.FOLDER])
