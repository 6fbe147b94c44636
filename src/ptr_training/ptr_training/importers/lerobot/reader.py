"""Data sets in the LeRobot format, version v3.0: finds their episodes and reads them.

Files, features and what `ptr convert` adds to them (writer.py): `docs/design.md`,
"LeRobot data sets".

How frames become steps:

- *Steps.* L frames are L observations and the L - 1 actions between them. The action of the
  last frame is left out: no observation follows it.
- *Time.* Only data sets of the control rate are read, because a step of the arm has another
  meaning at another rate. `timestamp` says when a frame was made, and which image of a video
  is its own; times that are not one period apart refuse the episode.
- *Outcome.* Success if `next.success` is ever true; without it, where `next.reward` has only
  the values 0 and 1, success if it is ever 1; without both, the outcome of the options.
- A data set that `ptr convert` wrote gives back the store it was made of.

A data set may come from anybody: no file outside its folder is opened, even if it names
one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.action_space import CONTROL_RATE
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
from ptr_training.importers.video import VideoImages

from .columns import commands, one_task, outcome, scalars, store_stamps, vectors
from .data_set import (
    ACTION,
    COMMANDS,
    EPISODES,
    REWARD,
    STAMP,
    STATE,
    STORE_KEYS,
    STORE_PREFIX,
    SUCCESS,
    TASKS,
    TIME,
    DataSet,
    camera_name,
    common_fields,
)
from .files import digest, import_parquet, reading
from .meta import find_roots, open_data_set

if TYPE_CHECKING:
    import pyarrow

ROWS_PER_BATCH = 100
"""Rows of a table in memory at a time, for any size that its file claims to have."""


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of data sets, and of those in folders of data sets, by name.

    Raises:
        TrainingError: If a path holds no data set, or one is damaged in `meta/`, of another
            version or of another rate.
    """
    records = []
    for path in paths:
        for root in find_roots(path):
            data_set = open_data_set(root)
            for number in sorted(data_set.episodes):
                records.append(Record(root, f"{data_set.name}/{number:06d}", number))

    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return one episode.

    Raises:
        RecordError: If its files are missing, damaged or contradictory.
        TrainingError: If the data set does not have the features needed.
        SkipRecord: If a filter excludes the episode or it has no step.
    """
    data_set = open_data_set(record.path)
    options.check_wanted(data_set.name)
    camera = data_set.camera(options.camera)
    state = data_set.pick(STATE, options.state)
    action = data_set.pick(ACTION, options.action)
    table = _rows(data_set, record.number, camera)
    times = frame_times(scalars(table, TIME), f"{TIME} of {data_set.name}")
    task = _task(data_set, table)
    actions = vectors(table, ACTION, action)
    episode = SourceEpisode(
        id=record.label,
        bridge_path=BridgePath(record.label, data_set.name, task=task),
        sha256=digest(data_set.root, _files(data_set, record.number, camera)),
        images=_images(data_set, record.number, camera, table, times),
        states=vectors(table, STATE, state),
        actions=actions[:-1],
        language=(task,),
        outcome=outcome(table),
        stamps_ns=np.rint(times * 1e6).astype(np.int64) * 1000,  # float32 is no finer
    )
    if data_set.info:
        return _as_in_store(episode, actions, table, data_set.episodes[record.number])
    return episode


# Metadata of the store
# ---------------------------------------------------------------------------------------


def info_fields(records: Sequence[Record], options: ImportOptions) -> dict[str, Any]:
    """Return the fields of `DatasetInfo` that data sets contain.

    These are all of them where `ptr convert` kept them, otherwise the camera.

    Raises:
        TrainingError: If the data sets contradict each other.
    """
    by_root: dict[Path, dict[str, Any]] = {}
    for record in records:
        if record.path not in by_root:
            by_root[record.path] = _fields_of(open_data_set(record.path), options)

    return common_fields(by_root)


def _fields_of(data_set: DataSet, options: ImportOptions) -> dict[str, Any]:
    """Return the fields of `DatasetInfo` that a data set contains."""
    if not data_set.info:
        return {"camera": camera_name(data_set.camera(options.camera))}
    fields = dict(vars(data_set.info))
    del fields["name"]
    return fields


# Table of frames
# ---------------------------------------------------------------------------------------


def _rows(data_set: DataSet, episode: int, camera: str) -> pyarrow.Table:
    """Return the frames of an episode, in order, with the columns that are needed."""
    columns = [STATE, ACTION, TIME, "frame_index", "task_index", "episode_index"]
    for key in (REWARD, SUCCESS, STAMP, *COMMANDS.values()):
        if key in data_set.features:
            columns.append(key)

    if not data_set.is_video(camera):
        columns.append(camera)
    name = data_set.data_file(episode)
    length = data_set.number(episode, "length")
    table = _read_episode(data_set.root, name, episode, columns, int(length))
    numbers = scalars(table, "frame_index")
    if len(table) != length or not np.array_equal(numbers, np.arange(len(table))):
        raise RecordError(
            f"{name} has {len(table)} frames of it, {EPISODES} says {length:g}, "
            "numbered from 0"
        )

    if length < 2:
        raise SkipRecord(RecordStatus.TOO_SHORT)
    return table


def _read_episode(
    root: Path, name: str, episode: int, columns: Sequence[str], length: int
) -> pyarrow.Table:
    """Return the rows of an episode.

    A file may claim any number of rows, so reading stops soon after `length` of them.

    Args:
        root: Folder of the data set.
        name: Path of the table below it.
        episode: Number of the episode.
        columns: To read.
        length: Rows that the episode should have.
    """
    with reading(name) as parquet:
        import pyarrow

        footer, first, last = _row_groups(root, name, (root / name).stat().st_mtime_ns)
        groups = np.flatnonzero((first <= episode) & (episode <= last)).tolist()
        parts: list[pyarrow.RecordBatch] = []
        rows = 0
        with parquet.ParquetFile(root / name, metadata=footer) as file:
            missing = set(columns) - set(file.schema_arrow.names)
            if missing:
                raise RecordError(f"{name} lacks the columns {', '.join(sorted(missing))}")
            batches = file.iter_batches(ROWS_PER_BATCH, groups, columns, use_threads=False)
            for batch in batches:
                is_wanted = np.equal(batch["episode_index"], episode)
                part = batch.filter(pyarrow.array(is_wanted))
                parts.append(part)
                rows += len(part)
                if rows > length:
                    break
            if not parts:
                return file.read_row_groups([], columns)
            return pyarrow.Table.from_batches(parts)


@functools.lru_cache(maxsize=4)
def _row_groups(
    root: Path, name: str, _changed_ns: int
) -> tuple[pyarrow.parquet.FileMetaData, np.ndarray, np.ndarray]:
    """Return the footer of a file and the first and last episode of each group of rows.

    LeRobot makes a group for each episode; to read the footer for each episode would take
    longer than the episode. It is kept until the file changes.
    """
    footer = import_parquet().read_metadata(root / name)
    paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
    if "episode_index" not in paths:
        raise RecordError(f"{name} lacks the columns episode_index")
    column = paths.index("episode_index")
    bounds = np.zeros((footer.num_row_groups, 2), int)
    bounds[:, 1] = np.iinfo(int).max  # for groups without statistics
    for number in range(footer.num_row_groups):
        statistics = footer.row_group(number).column(column).statistics
        if statistics and statistics.has_min_max:
            bounds[number] = statistics.min, statistics.max

    first, last = bounds.T
    return footer, first, last


# Contents of an episode
# ---------------------------------------------------------------------------------------


def _as_in_store(
    episode: SourceEpisode,
    actions: np.ndarray,
    table: pyarrow.Table,
    row: Mapping[str, Any],
) -> SourceEpisode:
    """Return an episode as it was in the store that `ptr convert` read.

    Args:
        episode: As the data set holds it.
        actions: Those of all its frames, shape (rows, 7).
        table: Its frames.
        row: Its row in the table of episodes.
    """
    given = commands(table, actions)
    original = {key: row[STORE_PREFIX + key] for key in STORE_KEYS}
    return replace(
        episode,
        id=original.pop("id"),
        actions=given["requested"][:-1],
        executed=given["executed"][:-1],
        stamps_ns=store_stamps(table),
        original=original | {"task": episode.bridge_path.task},
    )


def _task(data_set: DataSet, table: pyarrow.Table) -> str:
    """Return the one task of an episode."""
    numbers = dict.fromkeys(scalars(table, "task_index").tolist())
    names = []
    for number in numbers:
        if number not in data_set.tasks:
            raise RecordError(
                f"task_index is {number}, {TASKS} lists {len(data_set.tasks)} tasks"
            )
        names.append(data_set.tasks[number])
    return one_task(names)


def _images(
    data_set: DataSet, episode: int, camera: str, table: pyarrow.Table, times: np.ndarray
) -> Sequence[Any]:
    """Return the images, still encoded; `times` are those of the frames [s], shape (n,)."""
    if data_set.is_video(camera):
        file = data_set.root / data_set.video_file(episode, camera)
        prefix = f"videos/{camera}"
        start = data_set.number(episode, f"{prefix}/from_timestamp")
        end = data_set.number(episode, f"{prefix}/to_timestamp")
        if times[0] < -0.5 / CONTROL_RATE or start + times[-1] > end + 0.5 / CONTROL_RATE:
            raise RecordError(
                f"{TIME} of its frames is {times[0]:g} to {times[-1]:g} s, its part of the "
                f"video {end - start:g} s long; they must be counted from its begin"
            )
        return VideoImages(file, (start + times).tolist(), CONTROL_RATE)
    try:
        return [cell["bytes"] or b"" for cell in table[camera].to_pylist()]
    except (TypeError, KeyError) as error:
        raise RecordError(f"{camera} holds no encoded images") from error


def _files(data_set: DataSet, episode: int, camera: str) -> list[str]:
    """Return the files that an episode is read from."""
    files = [*data_set.files, data_set.data_file(episode)]
    if data_set.is_video(camera):
        files.append(data_set.video_file(episode, camera))
    return files
