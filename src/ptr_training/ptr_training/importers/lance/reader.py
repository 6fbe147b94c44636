"""Robot episodes in Lance tables: finds them and reads them.

Lance has no schema for robots, so the columns are those of LeRobot, one row a frame, in any
order: `docs/design.md`, "Lance tables". What differs from a data set of LeRobot:

- *Names.* The dimensions of state and action have none, so they are chosen by their numbers.
- *Episodes.* The column `episode_index` is read once; the rows of an episode are then taken
  by their numbers, and ordered by `frame_index`.
- *Version.* A table may change while it is read: every record names the version that it was
  found in, and is read from that.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_training.errors import TrainingError
from ptr_training.importers.base import (
    BridgePath,
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    frame_times,
)
from ptr_training.importers.lerobot.columns import (
    commands,
    one_task,
    outcome,
    scalars,
    store_stamps,
    vectors,
)
from ptr_training.importers.lerobot.data_set import (
    ACTION,
    COMMANDS,
    DONE,
    IMAGES,
    REWARD,
    STAMP,
    STATE,
    SUCCESS,
    TIME,
    camera_name,
    choose_camera,
    common_fields,
    pick_dimensions,
)

from .table import Column, Table, open_table, open_version, tensor_shape

if TYPE_CHECKING:
    import pyarrow

EPISODE, FRAME = "episode_index", "frame_index"
TASK, TASK_NUMBER = "task", "task_index"

IMAGES_AT_A_TIME = 64
"""Rows whose images are taken in one call."""


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of tables, by number.

    Raises:
        TrainingError: If a path is no table, or one lacks a column or holds no row.
    """
    records = []
    for path in paths:
        table = open_table(path)
        _check_columns(table)
        try:
            numbers, _, _ = _episodes(table.root, table.version)
        except RecordError as error:
            raise TrainingError(str(error)) from error
        if not len(numbers):
            raise TrainingError(f"{table.place} has no rows; record some, or leave it out")
        for number in numbers.tolist():
            label = f"{table.name}@{table.version}/{number:06d}"
            records.append(Record(table.root, label, number, version=table.version))
    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return one episode.

    Raises:
        RecordError: If its rows are damaged or contradictory.
        TrainingError: If state, action or camera are not as chosen.
        SkipRecord: If a filter excludes the episode or it has no step.
    """
    table = open_version(record.path, record.version)
    options.check_wanted(table.name)
    camera = _cameras(table)[_camera(table, options)]
    rows, frames = _frames(table, record.number)
    times = frame_times(scalars(frames, TIME), f"{TIME} of {record.label}")
    state = _dimensions(table, frames, STATE, options.state)
    actions = vectors(frames, ACTION, _dimensions(table, frames, ACTION, options.action))
    task, language = _task(frames, options)
    given = commands(frames, actions)
    has_both = any(key in frames.column_names for key in COMMANDS.values())
    stamps = np.rint(times * 1e6).astype(np.int64) * 1000  # float32 is no finer
    if STAMP in frames.column_names:
        stamps = store_stamps(frames)
    images = list(_images(table, rows, camera))
    return SourceEpisode(
        id=f"{table.name}/{record.number:06d}",
        bridge_path=BridgePath(record.label, f"{table.name}@{table.version}", task=task),
        sha256=_digest(frames, images),
        images=images,
        states=vectors(frames, STATE, state),
        actions=given["requested"][:-1],
        executed=given["executed"][:-1] if has_both else None,
        stamps_ns=stamps,
        language=language,
        outcome=outcome(frames),
    )


def info_fields(records: Sequence[Record], options: ImportOptions) -> dict[str, Any]:
    """Return the field of `DatasetInfo` that tables contain: the camera.

    Raises:
        TrainingError: If the tables contradict each other.
    """
    by_root: dict[Path, dict[str, Any]] = {}
    for record in records:
        if record.path not in by_root:
            table = open_version(record.path, record.version)
            by_root[record.path] = {"camera": camera_name(_camera(table, options))}
    return common_fields(by_root)


# Columns
# ---------------------------------------------------------------------------------------


def _check_columns(table: Table) -> None:
    """Refuse a table without the columns of an episode, naming those it has."""
    missing = []
    for key in (EPISODE, FRAME, TIME, STATE, ACTION):
        if table.find(key) is None:
            missing.append(key)
    if table.find(TASK) is None and table.find(TASK_NUMBER) is None:
        missing.append(f"{TASK} or {TASK_NUMBER}")
    if not _cameras(table):
        missing.append(f"{IMAGES}NAME with images (another name: --camera)")
    if missing:
        raise TrainingError(
            f"{table.place} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(table.columns)}. A dot may be a field of a structure, or an "
            "underscore; rename the columns that have other names"
        )


def _cameras(table: Table) -> dict[str, Column]:
    """Return the columns that can hold images, by LeRobot's names of them."""
    cameras = {}
    flat = IMAGES.replace(".", "_")
    for name, column in table.columns.items():
        if column.is_images:
            key = name
            if name.startswith(flat):
                key = IMAGES + name.removeprefix(flat)
            cameras[key] = column
    return cameras


def _camera(table: Table, options: ImportOptions) -> str:
    """Return the key of the chosen camera; raises TrainingError if there is none or several."""
    cameras = _cameras(table)
    for key, column in cameras.items():
        if column.name == options.camera:
            return key
    return choose_camera(table.root, list(cameras), options.camera)


def _dimensions(
    table: Table, frames: pyarrow.Table, key: str, chosen: Sequence[str]
) -> list[int]:
    """Return which dimensions of the state or the action are the seven."""
    sizes = [len(row) for row in frames[key].to_pylist() if isinstance(row, list)]
    size = max(sizes, default=0)  # rows of another size are refused with their values
    return pick_dimensions(f"{table.place}: {key}", key, size, (), chosen)


# Rows
# ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _episodes(root: Path, version: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of a table's episodes, where each begins, and the rows in their order.

    Returns:
        Numbers (n,), increasing; begin of each in the rows, and their end (n + 1,); rows (N,).
    """
    episodes = open_version(root, version).column_of_integers(EPISODE)
    rows = np.argsort(episodes, kind="stable")
    numbers, starts = np.unique(episodes[rows], return_index=True)
    if len(numbers) and numbers[0] < 0:
        raise RecordError(f"{root}: {EPISODE} is {numbers[0]}; expected numbers from 0")
    return numbers, np.append(starts, len(rows)), rows


def _frames(table: Table, episode: int) -> tuple[np.ndarray, pyarrow.Table]:
    """Return an episode's rows in the order of its frames, and all of them but the images.

    Raises:
        RecordError: If frames are missing, or there twice.
        SkipRecord: If there is but one.
    """
    numbers, starts, rows = _episodes(table.root, table.version)
    place = int(np.searchsorted(numbers, episode))
    rows = rows[starts[place] : starts[place + 1]]
    wanted = {}
    optional = (TASK, TASK_NUMBER, REWARD, DONE, SUCCESS, STAMP, *COMMANDS.values())
    for key in (FRAME, TIME, STATE, ACTION, *optional):
        if column := table.find(key):
            wanted[key] = column
    frames = table.take(rows, wanted)
    order = np.argsort(_checked_numbers(scalars(frames, FRAME)), kind="stable")
    frames = frames.take(order)
    if len(frames) < 2:
        raise SkipRecord(RecordStatus.TOO_SHORT)
    _check_done(frames)
    return rows[order], frames


def _checked_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return the numbers of frames; raises RecordError unless they are 0 to n - 1, each once."""
    if numbers.dtype.kind not in "iu":
        raise RecordError(f"{FRAME} holds {numbers.dtype}, expected an integer in each row")
    expected = np.arange(len(numbers))
    found = np.sort(numbers)
    if not np.array_equal(found, expected):
        wrong = int(np.argmax(found != expected))
        problem = f"{wrong} is missing"
        if wrong and found[wrong] == found[wrong - 1]:
            problem = f"{found[wrong]} is there twice"
        raise RecordError(
            f"{FRAME} of its {len(numbers)} rows must be 0 to {len(numbers) - 1}, each once; "
            f"{problem}"
        )
    return numbers


def _check_done(frames: pyarrow.Table) -> None:
    """Refuse an episode that goes on after it says that it is done.

    The last frame but one may say so too: `ptr convert` writes it there.
    """
    if DONE not in frames.column_names:
        return
    done = np.flatnonzero(scalars(frames, DONE))
    if len(done) and done[0] < len(frames) - 2:
        raise RecordError(
            f"{DONE} is true in frame {done[0]} of 0 to {len(frames) - 1}; end the episode "
            f"there, and give what follows another {EPISODE}"
        )


# Contents of an episode
# ---------------------------------------------------------------------------------------


def _task(frames: pyarrow.Table, options: ImportOptions) -> tuple[str, tuple[str, ...]]:
    """Return the one task of an episode, and its instruction if the table has it as text.

    A table that only numbers its tasks names them by `--task-map`.
    """
    if TASK in frames.column_names:
        texts = scalars(frames, TASK).tolist()
        if not all(isinstance(text, str) for text in texts):
            raise RecordError(f"{TASK} is no text in each of its rows")
        return one_task(texts), (one_task(texts),)
    number = one_task([str(each) for each in scalars(frames, TASK_NUMBER).tolist()])
    if number not in options.task_map:
        raise RecordError(
            f"{TASK_NUMBER} is {number}, and the table has no column {TASK}; a line "
            f"'\"{number}\": NAME' in --task-map names it"
        )
    return number, ()


def _images(table: Table, rows: np.ndarray, camera: Column) -> Iterator[bytes | np.ndarray]:
    """Yield the images in some rows: encoded, or (H, W, 3) uint8.

    Raises:
        RecordError: If they are damaged or lie outside the table.
    """
    for start in range(0, len(rows), IMAGES_AT_A_TIME):
        part = rows[start : start + IMAGES_AT_A_TIME]
        if camera.is_blob:
            yield from (content or b"" for content in table.blobs(part, camera))
            continue
        cells = table.take(part, {"image": camera})["image"]
        if shape := tensor_shape(camera.type):
            yield from _tensors(cells, shape, camera.name)
            continue
        for cell in cells.to_pylist():
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            yield content or b""


def _tensors(cells: pyarrow.ChunkedArray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return tensors of uint8 as one array, shape (rows, *shape).

    Raises:
        RecordError: If one is missing.
    """
    values = cells.combine_chunks()
    values = getattr(values, "storage", values)
    while hasattr(values.type, "list_size"):
        values = values.flatten()  # leaves out rows that are missing
    if values.null_count or len(values) != len(cells) * np.prod(shape):
        raise RecordError(f"{name} holds no image in one of its rows")
    return values.to_numpy().reshape(len(cells), *shape)


def _digest(frames: pyarrow.Table, images: Sequence[bytes | np.ndarray]) -> str:
    """Return the SHA-256 of everything that was read of an episode, in the order of frames."""
    digest = hashlib.sha256()
    for key in frames.column_names:
        digest.update(json.dumps([key, frames[key].to_pylist()], default=str).encode())
    for image in images:
        content = image if isinstance(image, bytes) else image.tobytes()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
