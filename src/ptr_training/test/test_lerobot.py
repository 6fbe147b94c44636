"""Reading LeRobot data sets: one that LeRobot wrote itself, the same one written otherwise, damaged, or unsuitable."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lerobot_reference as reference
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from ptr_policy_node.images import resize_area
from ptr_policy_node.spec import PtrError
from ptr_training.episodes import EpisodeStore, EpisodeWriter, StoreError
from ptr_training.lerobot import ReadOptions, card, find, read

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.side/chunk-000/file-000.mp4"
PICTURES = "observation.images.image_0"
FRONT = ReadOptions(camera="image_0")
SIDE = ReadOptions(camera="side")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the data set that LeRobot wrote, to be altered."""
    return Path(shutil.copytree(reference.FOLDER, tmp_path / "reference"))


def retell(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Alter what meta/info.json says."""
    file = root / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


def set_column(file: Path, name: str, values: list) -> None:
    table = parquet.read_table(file)
    index = table.column_names.index(name)
    parquet.write_table(table.set_column(index, name, pyarrow.array(values, table.schema.field(name).type)), file)


def add_feature(root: Path, name: str, values: list) -> None:
    file = root / DATA
    parquet.write_table(parquet.read_table(file).append_column(name, pyarrow.array(values)), file)
    retell(root, lambda info: info["features"].update({name: {"dtype": "float32", "shape": [1], "names": None}}))


def drop(root: Path, name: str) -> None:
    retell(root, lambda info: info["features"].pop(name))


def test_data_set_of_lerobot_is_read_as_it_was_given() -> None:
    records = find([reference.FOLDER])
    assert [record.length for record in records] == reference.LENGTHS
    for number, record in enumerate(records):
        episode = read(record, FRONT)
        assert (episode.id, episode.task) == (f"lerobot_0.6.1/00000{number}", reference.TASKS[number])
        assert episode.success is reference.SUCCESS[number]
        assert (episode.source, episode.operator, episode.seed) == ("lerobot_0.6.1", "", None)
        np.testing.assert_array_equal(episode.frames, reference.pictures(number))
        np.testing.assert_array_equal(episode.proprio, reference.states(number)[:, [0, 1, 2, 3, 4, 5, 7]])
        np.testing.assert_array_equal(episode.requested, reference.actions(number)[:-1])
        np.testing.assert_array_equal(episode.executed, episode.requested)
        np.testing.assert_array_equal(np.diff(episode.stamps_ns), 200_000_000)


def test_videos_of_lerobot_show_each_episodes_pictures_in_order() -> None:
    for number, record in enumerate(find([reference.FOLDER])):
        found, wanted = read(record, SIDE).frames.astype(int), reference.pictures(number)
        differences = np.abs(found[:, None] - wanted[None]).mean((2, 3, 4))
        np.testing.assert_array_equal(differences.argmin(1), np.arange(len(wanted)))
        assert differences.diagonal().max() < 3


def test_a_store_can_be_made_of_it(tmp_path: Path) -> None:
    options = ReadOptions(image_size=16, camera=PICTURES)
    records = find([reference.FOLDER])
    with EpisodeWriter(tmp_path / "store", card(records[0], options, "store")) as writer:
        for record in records:
            writer.add(read(record, options))
    store = EpisodeStore.open(tmp_path / "store")
    made = store.card
    assert (made.camera, made.camera_width, made.camera_height, made.image_width) == ("image_0", 64, 48, 16)
    assert store.steps["reward"].sum() == 6
    np.testing.assert_array_equal(store.frames[5], resize_area(reference.pictures(1)[0], (16, 16)))


def test_a_record_is_small_and_can_be_sent_to_another_process() -> None:
    record = find([reference.FOLDER])[1]
    sent = pickle.dumps(record)
    assert len(sent) < 1000
    assert read(pickle.loads(sent), FRONT).task == "open c"


def test_data_sets_in_a_folder_come_by_name(root: Path) -> None:
    shutil.copytree(root, root.with_name("another"))
    assert [record.root.name for record in find([root.parent])] == ["another"] * 3 + ["reference"] * 3


@pytest.mark.parametrize("options", [ReadOptions(tasks={"open c": "shut c"}, camera="side"), FRONT])
def test_tasks_are_renamed_by_the_map_and_stay_otherwise(options: ReadOptions) -> None:
    names = [read(record, options).task for record in find([reference.FOLDER])]
    assert names == ["put a in b", options.tasks.get("open c", "open c"), "put a in b"]


@pytest.mark.parametrize(
    "names",
    [
        {"motors": reference.STATE_NAMES},
        {"pose": reference.STATE_NAMES[:6], "rest": reference.STATE_NAMES[6:]},
        reference.STATE_NAMES,
        {name: number for number, name in enumerate(reference.STATE_NAMES)},
        [reference.STATE_NAMES],
    ],
)
def test_names_are_found_in_every_form_in_use(root: Path, names: Any) -> None:
    retell(root, lambda info: info["features"]["observation.state"].update(names=names))
    np.testing.assert_array_equal(read(find([root])[0], FRONT).proprio[:, 6], reference.states(0)[:, 7])


@pytest.mark.parametrize("chosen", ["a,b,c,d,e,f,h", "0,1,2,3,4,5,7", "a,1,2,3,4,5,h"])
def test_other_names_are_chosen_by_name_or_index(root: Path, chosen: str) -> None:
    retell(root, lambda info: info["features"]["observation.state"].update(names=list("abcdefgh")))
    episode = read(find([root])[0], ReadOptions(camera="side", state=tuple(chosen.split(","))))
    np.testing.assert_array_equal(episode.proprio[:, 6], reference.states(0)[:, 7])


@pytest.mark.parametrize(
    ("names", "chosen", "message"),
    [
        (list("abcdefgh"), "", "has 8 dimensions, a, b, c, d, e, f, g, h; --state must say which are x, y, z, roll"),
        (None, "", "without names; --state must say which"),
        (["x", "y", "z", "roll", "pitch", "yaw", "gripper", "gripper"], "", "--state must say which"),
        (reference.STATE_NAMES, "x,y", "--state x,y does not name seven of them"),
        (reference.STATE_NAMES, "0,1,2,3,4,5,8", "--state 0,1,2,3,4,5,8 does not name seven of them"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_its_names(root: Path, names: Any, chosen: str, message: str) -> None:
    retell(root, lambda info: info["features"]["observation.state"].update(names=names))
    with pytest.raises(StoreError, match=message):
        read(find([root])[0], ReadOptions(camera="side", state=tuple(filter(None, chosen.split(",")))))


def test_missing_features_are_named_with_those_there_are(root: Path) -> None:
    drop(root, "action")
    with pytest.raises(StoreError, match=r"no feature 'action'; there are: observation\.images\.image_0, observation"):
        read(find([root])[0], FRONT)


def test_a_camera_that_is_missing_or_ambiguous_is_refused_with_those_there_are() -> None:
    record = find([reference.FOLDER])[0]
    with pytest.raises(StoreError, match="no camera 'wrist'; there are: image_0, side"):
        read(record, ReadOptions(camera="wrist"))
    with pytest.raises(StoreError, match="cameras are: image_0, side; choose one with --camera"):
        read(record, ReadOptions())


def test_depth_is_no_camera_and_the_only_camera_needs_no_name(root: Path) -> None:
    retell(root, lambda info: info["features"]["observation.images.side"].update(info={"is_depth_map": True}))
    np.testing.assert_array_equal(read(find([root])[0], ReadOptions()).frames, reference.pictures(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v2.1"}, r"codebase_version is v2\.1, this version reads v3\.0; convert it .* --root="),
        ({"codebase_version": "v4.0"}, r"codebase_version is v4\.0, this version reads v3\.0$"),
        ({"fps": 30}, r"info\.json: fps is 30; only 5 can be read"),
        ({"total_episodes": 4}, "there are 4 episodes, but meta/episodes lists 3"),
        ({"data_path": "../{chunk_index}{file_index}"}, "leads out of the data set"),
        ({"data_path": "/etc/{chunk_index}{file_index}"}, "leads out of the data set"),
        ({"data_path": "{episode_chunk}"}, r"path '\{episode_chunk\}' cannot be filled in"),
        ({"features": {"action": {"dtype": "float32"}}}, "feature 'action' has no dtype or no shape"),
        ({"features": {"i": {"dtype": "image", "shape": [None, 8, 3]}}}, "feature 'i' has shape"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    retell(root, lambda info: info.update(changes))
    with pytest.raises(StoreError, match=message):
        find([root])


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("[]", "cannot be read"), ('{"codebase_version": "v3.0"}', "lacks 'features'")],
)
def test_a_damaged_description_is_refused(root: Path, text: str, message: str) -> None:
    (root / "meta/info.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        find([root])


def test_a_folder_without_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"neither a LeRobot data set nor a folder of them: it holds no meta/info\.json"
    ):
        find([tmp_path])


@pytest.mark.parametrize("name", [DATA, EPISODES, "meta/tasks.parquet", VIDEO])
@pytest.mark.parametrize("size", [0, -40])
def test_truncated_files_are_named(root: Path, name: str, size: int) -> None:
    file = root / name
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(PtrError, match=f"{file.name} "):
        [read(record, SIDE) for record in find([root])]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (DATA, "file-000.parquet is missing; copy or download"),
        ("meta/tasks.parquet", "tasks.parquet is missing"),
        (EPISODES, "meta/episodes lists 0"),
        (VIDEO, r"file-000\.mp4 does not exist"),
    ],
)
def test_missing_files_are_named(root: Path, name: str, message: str) -> None:
    (root / name).unlink()
    with pytest.raises(PtrError, match=message):
        read(find([root])[0], SIDE)


@pytest.mark.parametrize("statistics", [False, True])
def test_the_same_tables_written_otherwise_are_read_alike(root: Path, statistics: bool) -> None:
    table = parquet.read_table(root / DATA)
    for name in ("action", "observation.state"):
        loose = pyarrow.array(table[name].to_pylist(), pyarrow.list_(pyarrow.float64()))
        table = table.set_column(table.column_names.index(name), name, loose)
    parquet.write_table(table, root / DATA, write_statistics=statistics)  # one group of rows for all episodes
    tasks = pyarrow.table({"task": ["put a in b", "open c"], "task_index": [0, 1]})
    parquet.write_table(tasks, root / "meta/tasks.parquet")
    for found, wanted in zip(find([root]), find([reference.FOLDER]), strict=True):
        one, other = read(found, FRONT), read(wanted, FRONT)
        np.testing.assert_array_equal(one.requested, other.requested)
        np.testing.assert_array_equal(one.proprio, other.proprio)
        np.testing.assert_array_equal(one.frames, other.frames)
        assert one.task == other.task


@pytest.mark.parametrize(("name", "size"), [("observation.state", 8), ("action", 7)])
def test_values_that_are_not_finite_are_refused_with_their_frame(root: Path, name: str, size: int) -> None:
    values = parquet.read_table(root / DATA)[name].to_pylist()
    values[5 + 3] = [float("nan")] * size
    set_column(root / DATA, name, values)
    records = find([root])
    read(records[0], FRONT)
    with pytest.raises(StoreError, match=rf"episode 1: {name} is not finite in frame 3"):
        read(records[1], FRONT)


def test_the_last_action_is_not_read(root: Path) -> None:
    values = parquet.read_table(root / DATA)["action"].to_pylist()
    values[4] = [float("nan")] * 7
    set_column(root / DATA, "action", values)
    assert len(read(find([root])[0], FRONT)) == 4


@pytest.mark.parametrize(
    ("scale", "gripper", "message"), [(10, 0.0, "are longer than"), (1, -1.0, r"the gripper's are -1 … 1")]
)
def test_actions_that_are_no_steps_are_refused(root: Path, scale: float, gripper: float, message: str) -> None:
    values = np.concatenate([reference.actions(number) for number in range(3)])
    values[:, :6] *= scale
    values[values[:, 6] == 0, 6] = gripper
    set_column(root / DATA, "action", values.tolist())
    with pytest.raises(StoreError, match=message):
        [read(record, FRONT) for record in find([root])]


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
def test_the_outcome_is_told_by_success_else_by_rewards_else_by_the_options(
    root: Path, success: list[float] | None, reward: list[float] | None, wanted: str
) -> None:
    if reward is None:
        drop(root, "next.reward")
    else:
        set_column(root / DATA, "next.reward", reward + [0] * 13)
    if success:
        add_feature(root, "next.success", [bool(value) for value in success] + [True] * 13)
    assert read(find([root])[0], ReadOptions(camera="image_0", outcome="stop")).outcome == wanted


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("task_index", [0, 0, 1, 1, 1], "has several tasks, 'put a in b', 'open c'; split it"),
        ("task_index", [7] * 5, "task_index is 7, meta/tasks.parquet lists 2 tasks"),
        ("frame_index", [0, 1, 2, 4, 3], "numbered from 0"),
        ("episode_index", [0, 0, 0, 1, 1], "episode 0 has 3 frames, meta/episodes says 5"),
    ],
)
def test_contradictory_columns_are_refused(root: Path, column: str, values: list[int], message: str) -> None:
    rest = parquet.read_table(root / DATA)[column].to_pylist()[5:]
    set_column(root / DATA, column, values + rest)
    with pytest.raises(StoreError, match=message):
        read(find([root])[0], FRONT)


@pytest.mark.parametrize("name", ["episode_index", "action"])
def test_missing_columns_are_named(root: Path, name: str) -> None:
    parquet.write_table(parquet.read_table(root / DATA).drop_columns(name), root / DATA)
    with pytest.raises(StoreError, match=rf"file-000\.parquet lacks the columns {name}"):
        read(find([root])[0], FRONT)


def test_a_file_that_changes_is_read_anew(root: Path) -> None:
    record = find([root])[0]
    before = read(record, FRONT).requested
    set_column(root / DATA, "action", parquet.read_table(root / DATA)["action"].to_pylist()[::-1])
    assert (read(record, FRONT).requested != before).any()


def test_an_episode_of_one_frame_is_refused(root: Path) -> None:
    table = parquet.read_table(root / DATA)
    parquet.write_table(table.slice(4), root / DATA)
    set_column(root / DATA, "frame_index", list(range(14)))
    set_column(root / EPISODES, "length", [1, 6, 7])
    with pytest.raises(StoreError, match="has 1 frame; a step needs two"):
        read(find([root])[0], FRONT)


def test_a_task_without_name_is_refused_unless_the_map_names_it(root: Path) -> None:
    tasks = pyarrow.table({"task": ["", "open c"], "task_index": [0, 1]})
    parquet.write_table(tasks, root / "meta/tasks.parquet")
    record = find([root])[0]
    with pytest.raises(StoreError, match="task without name"):
        read(record, FRONT)
    assert read(record, ReadOptions(camera="image_0", tasks={"": "play"})).task == "play"


def test_a_missing_number_in_the_table_of_episodes_is_named(root: Path) -> None:
    set_column(root / EPISODES, "data/file_index", [0, None, 0])
    with pytest.raises(StoreError, match=r"file-000\.parquet does not tell data/file_index of episode 1"):
        find([root])


def test_a_damaged_picture_is_named_with_its_frame(root: Path) -> None:
    cells = parquet.read_table(root / DATA)[PICTURES].to_pylist()
    cells[2]["bytes"] = cells[2]["bytes"][:40]
    cells[5 + 1]["bytes"] = None
    set_column(root / DATA, PICTURES, cells)
    records = find([root])
    for record, frame in zip(records, (2, 1), strict=False):
        with pytest.raises(StoreError, match=f"{PICTURES} has no picture in frame {frame}"):
            read(record, FRONT)


def test_a_camera_that_was_not_recorded_is_refused(root: Path) -> None:
    black = reference.pictures(0)[0] * 0
    cells = parquet.read_table(root / DATA)[PICTURES].to_pylist()
    cells[:5] = [{"bytes": cv2.imencode(".jpg", black)[1].tobytes(), "path": None}] * 5
    set_column(root / DATA, PICTURES, cells)
    with pytest.raises(StoreError, match="black throughout: this camera was not recorded"):
        read(find([root])[0], FRONT)


def test_without_pyarrow_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(StoreError, match="pip install pyarrow"):
        find([reference.FOLDER])
