"""A LeRobot data set: names of dimensions, cameras, paths of files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lerobot_reference as reference
import numpy as np
import pyarrow.parquet as parquet
import pytest
from altered_lerobot import (
    DATA,
    EPISODES,
    FRONT,
    SIDE,
    VIDEO,
    drop,
    imported,
    read_first,
    retell,
    set_column,
)

from ptr_training.errors import TrainingError
from ptr_training.importers.base import ImportOptions, RecordError
from ptr_training.importers.lerobot.reader import find, read


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
    np.testing.assert_array_equal(read_first(root).states[:, 6], reference.states(0)[:, 7])


@pytest.mark.parametrize("chosen", ["a,b,c,d,e,f,h", "0,1,2,3,4,5,7", "a,1,2,3,4,5,h"])
def test_other_names_are_chosen_by_name_or_index(root: Path, chosen: str) -> None:
    retell(
        root,
        lambda info: info["features"]["observation.state"].update(names=list("abcdefgh")),
    )
    episode = read_first(root, state=tuple(chosen.split(",")))
    np.testing.assert_array_equal(episode.states[:, 6], reference.states(0)[:, 7])


@pytest.mark.parametrize(
    ("names", "chosen", "message"),
    [
        (
            list("abcdefgh"),
            "",
            "has 8 dimensions, a, b, c, d, e, f, g, h; --state must say which are x, y, z, roll",
        ),
        (None, "", "without names; --state must say which"),
        (
            ["x", "y", "z", "roll", "pitch", "yaw", "gripper", "gripper"],
            "",
            "--state must say which",
        ),
        (reference.STATE_NAMES, "x,y", "--state x,y does not name seven of them"),
        (
            reference.STATE_NAMES,
            "0,1,2,3,4,5,8",
            "--state 0,1,2,3,4,5,8 does not name seven of them",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_its_names(
    root: Path, names: Any, chosen: str, message: str
) -> None:
    retell(root, lambda info: info["features"]["observation.state"].update(names=names))
    with pytest.raises(TrainingError, match=message):
        read_first(root, state=tuple(filter(None, chosen.split(","))))


def test_missing_features_are_named_with_those_there_are(root: Path) -> None:
    drop(root, "action")
    with pytest.raises(
        TrainingError,
        match=r"no feature 'action'; there are: observation\.images\.image_0, observation",
    ):
        read(find([root])[0], FRONT)


def test_a_camera_that_is_missing_or_ambiguous_is_refused_with_those_there_are() -> None:
    record = find([reference.FOLDER])[0]
    with pytest.raises(TrainingError, match="no camera 'wrist'; there are: image_0, side"):
        read(record, ImportOptions(camera="wrist"))
    with pytest.raises(
        TrainingError, match="cameras are: image_0, side; choose one with --camera"
    ):
        read(record, ImportOptions())


def test_depth_is_no_camera_and_the_only_camera_needs_no_name(root: Path) -> None:
    retell(
        root,
        lambda info: info["features"]["observation.images.side"].update(
            info={"is_depth_map": True}
        ),
    )
    np.testing.assert_array_equal(
        imported(read_first(root, camera="")).frames, reference.images(0)
    )


@pytest.mark.parametrize("key", ["data_path", "video_path"])
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("../x{chunk_index}", "leads out of the data set"),
        ("/etc/passwd", "leads out of the data set"),
        ("data/../../x", "leads out of the data set"),
        ("elsewhere/x", "leads out of the data set"),
        ("{episode_chunk}", r"path '\{episode_chunk\}' cannot be filled in"),
        ("{chunk_index:>9999999999}", "cannot be filled in"),
        ("{chunk_index.real}", "cannot be filled in"),
        ("data\0", "cannot be filled in"),
    ],
)
def test_a_path_that_leads_out_or_is_none_is_refused(
    root: Path, key: str, pattern: str, message: str
) -> None:
    (root / "elsewhere").symlink_to(root.parent)
    retell(root, lambda info: info.update({key: pattern}))
    with pytest.raises(TrainingError, match=message):
        read_first(root, camera="side")


@pytest.mark.parametrize(
    "name", [DATA, EPISODES, "meta/tasks.parquet", "meta/info.json", VIDEO]
)
def test_links_are_followed_within_the_cache_of_a_hub_only(root: Path, name: str) -> None:
    blob = root.parent / "datasets--x--y/blobs/0123"
    snapshot = root.parent / "datasets--x--y/snapshots/89ab"
    for folder in (blob, snapshot):
        folder.parent.mkdir(parents=True)
    (root / name).rename(blob)
    (root / name).symlink_to(blob)
    with pytest.raises(TrainingError, match=f"path '{name}' leads out of the data set"):
        read_first(root, camera="side")
    root.rename(snapshot)
    assert imported(read_first(snapshot, camera="side")).id == "datasets--x--y/000000"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("data/file_index", None),
        ("length", None),
        ("length", 10**15),
        ("videos/observation.images.side/from_timestamp", float("nan")),
        ("videos/observation.images.side/from_timestamp", -1.0),
    ],
)
def test_a_number_that_the_table_of_episodes_lacks_is_named(
    root: Path, column: str, value: float | None
) -> None:
    values = parquet.read_table(root / EPISODES)[column].to_pylist()
    set_column(root / EPISODES, column, [values[0], value, values[2]])
    with pytest.raises(
        RecordError,
        match=f"meta/episodes: {column} is {value}, expected a number from 0 to 1e9",
    ):
        [read(record, SIDE) for record in find([root])]


def test_each_frame_of_a_trimmed_table_has_the_image_of_its_time(root: Path) -> None:
    whole = imported(read_first(reference.FOLDER, camera="side"), SIDE)
    table = parquet.read_table(root / DATA)
    kept = [row for row in range(len(table)) if row not in (0, 1)]
    parquet.write_table(table.take(kept), root / DATA)
    later = table["frame_index"].to_pylist()[5:]
    set_column(root / DATA, "frame_index", [0, 1, 2, *later])
    lengths = parquet.read_table(root / EPISODES)["length"].to_pylist()
    set_column(root / EPISODES, "length", [3, *lengths[1:]])
    cut = imported(read_first(root, camera="side"), SIDE)
    np.testing.assert_array_equal(cut.frames, whole.frames[2:])
    np.testing.assert_array_equal(cut.stamps_ns, whole.stamps_ns[2:])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            [0.0] * 5,
            "frame 1 is at 0 s, the one before it at 0 s; frames must be 0.2 s apart",
        ),
        ([0.0, 0.2, 0.8, 1.0, 1.2], "frame 2 is at 0.8 s, the one before it at 0.2 s"),
        ([0.0, 0.2, 0.4, 0.3, 0.5], "frame 3 is at 0.3 s, the one before it at 0.4 s"),
        ([0.0, 0.2, float("nan"), 0.6, 0.8], "frame 2 is at nan s"),
        ([40.0, 40.2, 40.4, 40.6, 40.8], "is 40 to 40.8 s, its part of the video 1 s long"),
        ([None] * 5, "timestamp"),
    ],
)
def test_times_that_are_not_those_of_the_frames_are_refused(
    root: Path, times: list[float | None], message: str
) -> None:
    rest = parquet.read_table(root / DATA)["timestamp"].to_pylist()[5:]
    set_column(root / DATA, "timestamp", [*times, *rest])
    with pytest.raises(RecordError, match=message):
        read(find([root])[0], SIDE)


@pytest.mark.parametrize("name", [DATA, EPISODES, VIDEO])
def test_a_git_lfs_pointer_is_named_as_such(root: Path, name: str) -> None:
    (root / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(TrainingError, match=f"{Path(name).name} is a Git LFS pointer"):
        [read(record, SIDE) for record in find([root])]


def test_sidecars_of_other_systems_are_no_tables(root: Path) -> None:
    (root / EPISODES).with_name("._file-000.parquet").write_bytes(b"\0\5\x16\7")
    assert imported(read_first(root)).id
