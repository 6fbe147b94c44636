"""Stores as LeRobot data sets: the way back without loss, contents, file sizes, and errors."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as parquet
import pytest
from lerobot_episodes import CAMERA, CARD, make_episode

from ptr_common.errors import PtrError
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.importers.base import ImportOptions
from ptr_training.importers.import_store import Request, import_store
from ptr_training.importers.lerobot import files as lerobot_files
from ptr_training.importers.lerobot import writer as lerobot_writer
from ptr_training.importers.lerobot.reader import find, read
from ptr_training.importers.lerobot.writer import write
from ptr_training.importers.to_episode import to_episode


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., EpisodeStore]:
    """Return a function that makes a store of four episodes, one of each outcome."""

    def made(**changes: Any) -> EpisodeStore:
        made_card = DatasetInfo(
            **(
                {name: getattr(CARD, name) for name in DatasetInfo.__dataclass_fields__}
                | changes
            )
        )
        with EpisodeWriter(tmp_path / "toy", made_card) as writer:
            for number, outcome in enumerate(("success", "failure", "stop", "interrupted")):
                writer.add(make_episode(number, 1 + 3 * number, outcome))
        return EpisodeStore.open(tmp_path / "toy")

    return made


def read_back(root: Path, out: Path) -> EpisodeStore:
    import_store(Request("lerobot", (root,), out))
    return EpisodeStore.open(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("command", ["requested", "executed"])
def test_a_store_comes_back_to_the_byte(
    make: Callable, tmp_path: Path, command: str
) -> None:
    store = make(command=command, sources=({"name": "bag", "sha256": "0123"},))
    write(store, tmp_path / "set")
    back = read_back(tmp_path / "set", tmp_path / "back" / "toy")
    for name in ("frames.npy", "steps.npy", "episodes.json"):
        assert (back.path / name).read_bytes() == (store.path / name).read_bytes()
    first, *others = back.info.sources
    assert replace(back.info, sources=(first,)) == store.info
    assert [(each["name"], each["episodes"]) for each in others] == [("set", 4)]


def test_what_is_mended_in_other_data_comes_back_from_a_store_as_it_was(
    tmp_path: Path,
) -> None:
    with EpisodeWriter(tmp_path / "toy", CARD) as writer:
        made = make_episode(0, 3)
        odd = {
            "stamps_ns": np.array([5, 5, 4, 6]),
            "frames": 0 * made.frames,
            "task": "Put_it  There",
        }
        writer.add(replace(made, **odd))
    write(EpisodeStore.open(tmp_path / "toy"), tmp_path / "set")
    (back,) = read_back(tmp_path / "set", tmp_path / "back")
    for name, wanted in odd.items():
        np.testing.assert_array_equal(getattr(back, name), wanted)


def test_with_videos_all_but_the_images_comes_back_and_those_nearly(
    make: Callable, tmp_path: Path
) -> None:
    store = make()
    write(store, tmp_path / "set", video=True)
    back = read_back(tmp_path / "set", tmp_path / "back")
    for name in ("steps.npy", "episodes.json"):
        assert (back.path / name).read_bytes() == (store.path / name).read_bytes()
    assert np.abs(back.frames.astype(int) - store.frames).mean((1, 2, 3)).max() < 3


def test_what_the_user_chooses_counts_more_than_what_the_store_said(
    make: Callable, tmp_path: Path
) -> None:
    write(make(), tmp_path / "set")
    card = {
        "command": "requested",
        "licence": "MIT",
        "camera": "side",
        "image_height": 16,
        "image_width": 16,
    }
    options = ImportOptions(
        task_map={"open c": "shut c"}, drop_zero_first=True, binarize_gripper=True
    )
    import_store(Request("lerobot", (tmp_path / "set",), tmp_path / "back", options, card))
    back = EpisodeStore.open(tmp_path / "back")
    assert {name: getattr(back.info, name) for name in card} == card
    assert (back.info.last_n, back.info.camera_width, back.info.camera_height) == (
        2,
        640,
        480,
    )
    assert back.tasks == ("put ä in b", "shut c")
    for name in ("requested", "executed"):
        assert set(back.steps[name][:, 6]) == {0.0, 1.0}


def test_a_card_that_asks_for_huge_images_is_refused(
    make: Callable, tmp_path: Path
) -> None:
    write(make(), tmp_path / "set")
    file = tmp_path / "set/meta/card.yaml"
    file.write_text(file.read_text().replace("image_width: 48", "image_width: 100000"))
    with pytest.raises(
        PtrError, match="stored images of 100000x32 pixels; allowed are 8 to 1024"
    ):
        read_back(tmp_path / "set", tmp_path / "back")


def test_a_data_set_that_lost_a_part_of_what_it_kept_is_read_as_any_other(
    make: Callable, tmp_path: Path
) -> None:
    write(make(), tmp_path / "set")
    (tmp_path / "set/meta/card.yaml").unlink()
    record = find([tmp_path / "set"])[1]
    with pytest.raises(TrainingError, match="its actions are no steps"):  # made-up actions
        to_episode(read(record, ImportOptions()), ImportOptions(), (32, 48))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"last_n": 3}, "their last_n is 2 and 3"), ({}, "only one of them keeps the card")],
)
def test_stores_with_different_cards_do_not_go_into_one(
    make: Callable, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for name, changes in (("a", {}), ("b", change)):
        write(make(**changes), tmp_path / "sets" / name)
        shutil.rmtree(tmp_path / "toy")
    if not change:
        (tmp_path / "sets/b/meta/card.yaml").unlink()
    with pytest.raises(
        TrainingError, match=f"sets/a and .*sets/b do not go into one store: .*{message}"
    ):
        read_back(tmp_path / "sets", tmp_path / "back")


@pytest.mark.parametrize("video", [False, True])
def test_equal_stores_give_equal_bytes(make: Callable, tmp_path: Path, video: bool) -> None:
    store = make()
    for name in "ab":
        write(store, tmp_path / name, video=video)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_last_frame_says_to_stay_and_ends_like_the_one_before(
    make: Callable, tmp_path: Path
) -> None:
    store = make(command="requested")
    write(store, tmp_path / "set")
    table = parquet.read_table(tmp_path / "set/data/chunk-000/file-000.parquet").to_pydict()
    start = store.entries[1].start
    rows = slice(start, start + 5)
    actions, wanted = (
        np.array(table["action"][rows], np.float32),
        store.steps["requested"][rows],
    )
    np.testing.assert_array_equal(actions[:-1], wanted[:-1])
    np.testing.assert_array_equal(actions[-1], [0, 0, 0, 0, 0, 0, wanted[-2][6]])
    assert table["next.done"][rows] == [False, False, False, True, True]
    assert not any(table["next.success"][rows])
    assert table["next.success"][:2] == [True, True]
    assert table["next.reward"][:2] == [1, 1]
    np.testing.assert_allclose(table["timestamp"][rows], [0, 0.2, 0.4, 0.6, 0.8], atol=1e-6)


def test_the_tables_list_the_contents_and_their_places(
    make: Callable, tmp_path: Path
) -> None:
    store = make()
    write(store, tmp_path / "set")
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    totals = [info[f"total_{name}"] for name in ("episodes", "frames", "tasks")]
    assert (info["codebase_version"], info["fps"], totals) == ("v3.0", 5, [4, 26, 2])
    assert info["features"][CAMERA] == {
        "dtype": "image",
        "shape": [32, 48, 3],
        "names": ["height", "width", "channels"],
    }
    data = parquet.ParquetFile(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert data.num_row_groups == 4
    assert set(data.schema_arrow.names) == set(info["features"])
    episodes = parquet.read_table(
        tmp_path / "set/meta/episodes/chunk-000/file-000.parquet"
    ).to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in episodes] == [
        (0, 2),
        (2, 7),
        (7, 15),
        (15, 26),
    ]
    assert [row["tasks"] for row in episodes] == [["put ä in b"], ["open c"]] * 2


def test_statistics_are_those_of_the_frames(make: Callable, tmp_path: Path) -> None:
    store = make()
    write(store, tmp_path / "set")
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    episodes = parquet.read_table(
        tmp_path / "set/meta/episodes/chunk-000/file-000.parquet"
    ).to_pylist()
    own = {key: {} for key in (CAMERA, "observation.state")}
    for column, value in episodes[2].items():
        if column.startswith(("stats/observation",)):
            _, key, name = column.split("/")
            own[key][name] = value
    for told, rows in ((stats, slice(None)), (own, slice(7, 15))):
        for key, values in (
            ("observation.state", store.steps["proprio"][rows]),
            (CAMERA, store.frames[rows].reshape(-1, 3) / 255),
        ):
            figures = {name: np.squeeze(value) for name, value in told[key].items()}
            np.testing.assert_allclose(figures["min"], values.min(0))
            np.testing.assert_allclose(figures["max"], values.max(0))
            np.testing.assert_allclose(figures["mean"], values.mean(0, float), rtol=1e-6)
            np.testing.assert_allclose(figures["std"], values.std(0, float), rtol=1e-6)
            np.testing.assert_allclose(
                figures["q10"], np.quantile(values, 0.1, axis=0), atol=0.01
            )
            assert figures["count"] == len(store.frames[rows])
    assert np.shape(stats[CAMERA]["q99"]) == (3, 1, 1)
    assert np.shape(stats["next.done"]["mean"]) == (1,)


@pytest.mark.parametrize("video", [False, True])
def test_files_are_begun_anew_at_their_limit_and_chunks_as_well(
    make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: bool
) -> None:
    store = make()
    write(store, tmp_path / "one", video=video)
    monkeypatch.setattr(lerobot_files, "DATA_MEGABYTES", 0.0005)
    monkeypatch.setattr(lerobot_files, "VIDEO_MEGABYTES", 0.0005)
    monkeypatch.setattr(lerobot_writer, "EPISODES_PER_GROUP", 1)
    monkeypatch.setattr(lerobot_files, "FILES_PER_CHUNK", 3)
    write(store, tmp_path / "many", video=video)
    names = [f"chunk-{number // 3:03d}/file-{number % 3:03d}" for number in range(4)]
    for part in ("data", "meta/episodes", *([f"videos/{CAMERA}"] if video else [])):
        assert (
            sorted(name.split(".")[0] for name in contents(tmp_path / "many" / part))
            == names
        )
    options = ImportOptions()
    for one, many in zip(find([tmp_path / "one"]), find([tmp_path / "many"]), strict=True):
        found, wanted = (
            to_episode(read(each, options), options, (32, 48))[0] for each in (many, one)
        )
        assert np.abs(found.frames.astype(float) - wanted.frames).mean() <= (
            3 if video else 0
        )
        np.testing.assert_array_equal(found.proprio, wanted.proprio)
        assert (found.id, found.task, found.outcome) == (
            wanted.id,
            wanted.task,
            wanted.outcome,
        )
    row = parquet.read_table(
        tmp_path / "many/meta/episodes/chunk-001/file-000.parquet"
    ).to_pylist()[0]
    assert (
        row["meta/episodes/chunk_index"],
        row["data/chunk_index"],
        row["data/file_index"],
    ) == (1, 1, 0)


def test_a_full_disk_leaves_nothing(
    make: Callable,
    tmp_path: Path,
    full_disk: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:
    store = make()
    for video in (False, True):
        with pytest.raises(OSError, match="too large"), full_disk():
            write(store, tmp_path / "set", video=video)
        assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_what_exists_is_not_overwritten(make: Callable, tmp_path: Path) -> None:
    store = make()
    (tmp_path / "set").mkdir()
    with pytest.raises(PtrError, match="set exists already"):
        write(store, tmp_path / "set")


@pytest.mark.parametrize(
    ("module", "package"), [("pyarrow.parquet", "pyarrow"), ("av", "av")]
)
def test_what_is_not_installed_is_named(
    make: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    package: str,
) -> None:
    store = make()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PtrError, match=f"pip install {package}$"):
        write(store, tmp_path / "set", video=True)
    assert not (tmp_path / "set").exists()


def test_a_rate_that_is_no_whole_number_is_refused(make: Callable, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the rate is 7\.5 Hz"):
        write(make(rate=7.5), tmp_path / "set")


@pytest.mark.parametrize("camera", ["../side", "a/b", "{camera}", "..", ""])
def test_a_camera_that_cannot_name_a_folder_of_videos_is_refused(
    make: Callable, tmp_path: Path, camera: str
) -> None:
    store = make(camera=camera)
    with pytest.raises(TrainingError, match="a video needs a name for its folder"):
        write(store, tmp_path / "set", video=True)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_images_that_no_video_can_hold_are_refused(
    tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    path = make_store("odd", per_task=1)
    with EpisodeWriter(
        tmp_path / "small",
        DatasetInfo("small", "front", 48, 32, image_height=15, image_width=16),
    ) as writer:
        for episode in EpisodeStore.open(path):
            frames = np.stack([cv2.resize(frame, (16, 15)) for frame in episode.frames])
            writer.add(Episode(**(vars(episode) | {"frames": frames})))
    with pytest.raises(
        TrainingError, match="16x15; a video needs an even width and height"
    ):
        write(EpisodeStore.open(tmp_path / "small"), tmp_path / "set", video=True)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("video", [False, True])
def test_lerobot_itself_reads_what_is_written(
    make: Callable, tmp_path: Path, video: bool
) -> None:
    pytest.importorskip(
        "lerobot", reason="LeRobot is not installed; it needs another torch"
    )
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    store = make(command="requested")
    write(store, tmp_path / "set", video=video)
    dataset = LeRobotDataset("test/set", root=tmp_path / "set", video_backend="pyav")
    assert (len(dataset), dataset.num_episodes) == (26, 4)
    for number, item in enumerate(dataset[index] for index in range(len(dataset))):
        step = store.steps[number]
        image = (item[CAMERA].permute(1, 2, 0) * 255).round().numpy()
        assert np.abs(image - store.frames[number]).mean() < (3 if video else 1e-9)
        np.testing.assert_array_equal(item["observation.state"], step["proprio"])
        if not step["is_last"]:
            np.testing.assert_array_equal(item["action"], step["requested"])
        assert item["task"] == store.entries[step["episode"]].task
    assert dataset.meta.stats[CAMERA]["mean"].shape == (3, 1, 1)
