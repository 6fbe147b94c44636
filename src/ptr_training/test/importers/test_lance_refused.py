"""What `ptr import lance` refuses: no table, no package, contradictory rows, foreign files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance_tables
import numpy as np
import pyarrow
import pytest
from lance_tables import CAMERA, SEVEN, in_structures, with_underscores

from ptr_common import cli
from ptr_training.errors import TrainingError
from ptr_training.importers.base import ImportOptions, RecordError, RecordStatus, SkipRecord
from ptr_training.importers.formats import RecordReader
from ptr_training.importers.lance.reader import find, info_fields, read

OPTIONS = ImportOptions(state=tuple(SEVEN.split(",")), action=tuple(SEVEN.split(",")))
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the frames of the export of a store: four episodes of 4, 6, 3 and 5."""
    return lance_tables.frames_of(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes frames as a Lance table, and returns its folder."""
    lance = pytest.importorskip(
        "lance",
        reason="pylance is optional: pip install -r requirements/optional/lance.txt",
    )

    def table(frames: Any, name: str = "toy.lance", **options: Any) -> Path:
        lance.write_dataset(frames, str(tmp_path / name), **options)
        return tmp_path / name

    return table


# Without the package
# ---------------------------------------------------------------------------------------


def test_without_the_package_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.lance/_versions").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "lance", None)
    words = ["import", "lance", str(tmp_path / "toy.lance"), "--out", str(tmp_path / "s")]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert "not installed: pip install -r requirements/optional/lance.txt" in error


@pytest.mark.parametrize(
    "address", ["s3://bucket/toy.lance", "hf://datasets/a/toy.lance", "file:///a.lance"]
)
def test_addresses_are_not_opened(address: str) -> None:
    with pytest.raises(TrainingError, match="only tables on this computer are opened"):
        find([Path(address)])


@pytest.mark.parametrize(
    "name", ["missing.lance", "empty", "file.lance", "missing.lance@3"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.lance").write_text("")
    with pytest.raises(
        TrainingError, match="is no Lance table: it has no folder _versions"
    ):
        find([tmp_path / name])


def test_a_folder_of_tables_is_refused_with_their_names(tmp_path: Path) -> None:
    for name in ("frames.lance", "videos.lance"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        TrainingError, match=r"it holds frames.lance, videos.lance: give one"
    ):
        find([tmp_path])


def test_a_manifest_that_was_not_downloaded_is_named(tmp_path: Path) -> None:
    pytest.importorskip("lance", reason="pylance is optional")
    folder = tmp_path / "toy.lance/_versions"
    folder.mkdir(parents=True)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
    (folder / "1.manifest").write_text(pointer)
    with pytest.raises(TrainingError, match="is a Git LFS pointer"):
        find([tmp_path / "toy.lance"])


# Columns
# ---------------------------------------------------------------------------------------


def test_missing_columns_are_named_with_those_there_are(write: Write, frames: Any) -> None:
    less = frames.drop_columns(["timestamp", "action", "task", "task_index", CAMERA])
    with pytest.raises(
        TrainingError,
        match=r"lacks the columns timestamp, action, task or task_index, "
        r"observation\.images\.NAME .*--camera\); it has .*observation\.state",
    ):
        find([write(in_structures(less))])


def test_dimensions_must_be_chosen(write: Write, frames: Any) -> None:
    record = find([write(in_structures(frames))])[0]
    with pytest.raises(
        TrainingError, match="7 dimensions, without names; --state must say"
    ):
        read(record, ImportOptions())


def test_a_number_beyond_the_dimensions_is_refused(write: Write, frames: Any) -> None:
    record = find([write(in_structures(frames))])[0]
    eighth = ImportOptions(state=OPTIONS.state, action=tuple("1234567"))
    with pytest.raises(TrainingError, match="--action 1,2,3,4,5,6,7 does not name seven"):
        read(record, eighth)


def test_an_unknown_camera_is_refused_with_those_there_are(
    write: Write, frames: Any
) -> None:
    records = find([write(with_underscores(frames))])
    with pytest.raises(TrainingError, match="no camera 'wrist'; there are: front"):
        info_fields(records, ImportOptions(camera="wrist"))


def test_tables_of_different_cameras_do_not_go_into_one_store(
    write: Write, frames: Any
) -> None:
    names = [
        "observation.images.wrist" if name == CAMERA else name
        for name in frames.column_names
    ]
    other = write(with_underscores(frames.rename_columns(names), "bytes"), "b.lance")
    records = find([write(in_structures(frames)), other])
    with pytest.raises(TrainingError, match="their camera is 'front' and 'wrist'"):
        info_fields(records, OPTIONS)


# Rows
# ---------------------------------------------------------------------------------------


def changed(frames: Any, key: str, row: int, value: Any) -> Any:
    """Return frames with another value in one row of a column."""
    values = frames[key].to_pylist()
    values[row] = value
    array = pyarrow.array(values, frames[key].type)
    return frames.set_column(frames.column_names.index(key), key, array)


@pytest.mark.parametrize(
    ("key", "row", "value", "problem"),
    [
        ("frame_index", 1, 0, "0 is there twice"),
        ("frame_index", 3, 4, "0 to 3, each once; 3 is missing"),
        ("frame_index", 0, -1, "0 is missing"),
        ("frame_index", 2, None, "expected an integer in each row"),
        ("timestamp", 2, 0.7, r"frame 2 is at 0.7 s, the one before it at 0.2 s"),
        ("timestamp", 2, None, "timestamp of toy@1/000000: frame 2 is at nan s"),
        ("task", 1, "put b in c", "several tasks, 'put a in b', 'put b in c'; split it"),
        ("task", 1, None, "task is no text in each of its rows"),
        ("next.done", 1, True, "next.done is true in frame 1 of 0 to 3; end the episode"),
        ("action", 1, [float("inf")] * 7, "actions hold values that are not finite"),
        ("observation.state", 0, None, "values of observation.state are no numbers"),
    ],
)
def test_contradictory_rows_are_refused(
    write: Write, frames: Any, key: str, row: int, value: Any, problem: str
) -> None:
    if key == "action" and value:
        frames = changed(frames, "command.requested", row, value)
    record = find([write(in_structures(changed(frames, key, row, value)))])[0]
    with pytest.raises(RecordError, match=problem):
        read(record, OPTIONS)


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "int64 with 1 missing values"), (-3, "episode_index is -3")],
)
def test_an_episode_without_a_number_refuses_the_table(
    write: Write, frames: Any, value: int | None, problem: str
) -> None:
    with pytest.raises(TrainingError, match=problem):
        find([write(in_structures(changed(frames, "episode_index", 2, value)))])


def test_a_table_without_rows_is_refused(write: Write, frames: Any) -> None:
    with pytest.raises(TrainingError, match="version 1 has no rows"):
        find([write(in_structures(frames).slice(0, 0))])


def test_an_episode_of_one_frame_is_left_out(write: Write, frames: Any) -> None:
    records = find([write(in_structures(frames.slice(0, 5)))])
    with pytest.raises(SkipRecord) as skipped:
        read(records[1], OPTIONS)
    assert skipped.value.status == RecordStatus.TOO_SHORT


def test_equal_rows_in_another_order_have_the_same_digest(
    write: Write, frames: Any
) -> None:
    table = in_structures(frames)
    turned = table.take(np.arange(len(table))[::-1])
    one, other = find([write(table), write(turned, "other.lance")])[::4]
    assert read(one, OPTIONS).sha256 == read(other, OPTIONS).sha256


@pytest.mark.parametrize("key", ["timestamp", "task", CAMERA, "next.success", "action"])
def test_the_digest_tells_a_change_of_any_column(
    write: Write, frames: Any, key: str
) -> None:
    value = {
        "timestamp": 0.21,
        "task": "open c",
        CAMERA: frames[CAMERA][2].as_py(),
        "next.success": True,
        "action": [0.0] * 7,
    }[key]
    altered = changed(frames, key, 1, value)
    if key == "task":
        for row in (0, 2, 3):
            altered = changed(altered, key, row, value)
    one = find([write(in_structures(frames))])[0]
    other = find([write(in_structures(altered), "other.lance")])[0]
    assert read(one, OPTIONS).sha256 != read(other, OPTIONS).sha256


# Images and files
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"bytes": b"not an image", "path": None}, "image 2: "),
        ({"bytes": None, "path": "/etc/passwd"}, "image 2 is empty"),
        (None, "image 2 is empty"),
        ({"bytes": b"\xff\xd8 cut off", "path": None}, "image 2 is truncated"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named_with_its_frame(
    write: Write, frames: Any, value: Any, problem: str
) -> None:
    record = find([write(in_structures(changed(frames, CAMERA, 2, value)))])[0]
    entry, episode = RecordReader("lance", OPTIONS, (16, 16)).read(record)
    assert episode is None
    assert entry["fate"] == "bad"
    assert problem in entry["reason"]


def test_a_blob_outside_the_table_is_not_opened(
    write: Write, frames: Any, tmp_path: Path
) -> None:
    from lance.blob import Blob, blob_array, blob_field

    secret = tmp_path / "secret.png"
    secret.write_bytes(frames[CAMERA][0].as_py()["bytes"])
    cells = blob_array([Blob.from_uri(secret.as_uri())] * len(frames))
    table = with_underscores(frames.drop_columns(CAMERA))
    table = table.append_column(blob_field("observation_images_front"), cells)
    path = write(table, data_storage_version="2.2", allow_external_blob_outside_bases=True)
    with pytest.raises(RecordError, match=r"secret.png' outside the table, which is not"):
        read(find([path])[0], OPTIONS)


def test_rows_in_another_folder_are_not_opened(
    write: Write, frames: Any, tmp_path: Path
) -> None:
    import lance

    path = write(in_structures(frames))
    lance.dataset(str(path)).shallow_clone(str(tmp_path / "clone.lance"), 1)
    with pytest.raises(TrainingError, match="rows in other folders, which are not opened"):
        find([tmp_path / "clone.lance"])


def test_a_link_out_of_the_table_is_refused(
    write: Write, frames: Any, tmp_path: Path
) -> None:
    path = write(in_structures(frames))
    (file,) = (path / "data").iterdir()
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match="leads out of the data set"):
        find([path])


def test_a_manifest_of_an_unknown_type_is_refused(write: Write, frames: Any) -> None:
    path = write(in_structures(frames))
    manifest = next((path / "_versions").glob("*.manifest"))
    data = manifest.read_bytes()
    assert b"int64" in data
    manifest.write_bytes(data.replace(b"int64", b"ynt64"))
    with pytest.raises(TrainingError, match=r"cannot be read: .*ynt64"):
        find([path])


@pytest.mark.parametrize("part", ["data", "_versions"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_damaged_files_are_refused(
    write: Write, frames: Any, part: str, keep: float
) -> None:
    path = write(in_structures(frames))
    file = next(each for each in (path / part).iterdir() if "hint" not in each.name)
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(TrainingError, match=r"toy.lance.* cannot be read: "):
        read(find([path])[0], OPTIONS)
