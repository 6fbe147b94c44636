"""Data sets in the LeRobot format, version v3.0: finding their episodes and reading them.

Files, features and what `ptr convert` adds to them (lerobot_writer.py): `docs/design.md`,
"LeRobot data sets".

How frames become steps:

- *Steps.* L frames are L observations and the L - 1 actions between them. The action of the
  last frame is left out: where it led to was not recorded.
- *Time.* Data sets have a constant rate; only the control rate is read, because a step of
  the arm means something else at another.
- *Outcome.* Success if `next.success` is ever true; else, where `next.reward` is nothing
  but 0 and 1, success if it is ever 1; else what the options say.
- A data set that `ptr convert` wrote gives back the store it was made of.

A data set may come from anybody: whatever it names, no file outside its folder is opened.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.action_space import ACTION_HIGH, CONTROL_RATE
from ptr_training.errors import TrainingError

from .base import (
    BridgePath,
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    numbers,
    seven,
)
from .lerobot_meta import (
    ACTION,
    CARD,
    COMMANDS,
    EPISODES,
    INFO,
    OWN,
    OWN_KEYS,
    REWARD,
    STAMP,
    STATE,
    SUCCESS,
    TASKS,
    DataSet,
    camera_name,
    digest,
    find_roots,
    import_parquet,
    open_data_set,
    reading,
)
from .video import VideoPictures

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_A_TIME = 100
"""Rows of a table that are in memory at a time, whatever its file says of its size."""


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of data sets, and of those in folders of data sets, the latter by name.

    Raises:
        TrainingError: If a path holds no data set, or one is damaged in `meta/`, of another
        version or of another rate.
    """
    data_sets = [open_data_set(root) for path in paths for root in find_roots(path)]
    return [
        Record(each.root, f"{each.name}/{number:06d}", number)
        for each in data_sets
        for number in sorted(each.episodes)
    ]


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return one episode.

    Raises:
        RecordError: If its files are missing, damaged or contradictory, or its actions
            cannot be steps.
        TrainingError: If the data set does not have the features needed.
        SkipRecord: If a filter excludes it or it has no step.
    """
    data_set = open_data_set(record.path)
    options.check_wanted(data_set.name)
    camera = data_set.camera(options.camera)
    state, action = (
        data_set.pick(STATE, options.state),
        data_set.pick(ACTION, options.action),
    )
    table = _rows(data_set, record.number, camera)
    task = _task(data_set, table)
    episode = SourceEpisode(
        id=record.label,
        place=BridgePath(record.label, data_set.name, task=task),
        sha256=digest(data_set.root, _files(data_set, record.number, camera)),
        pictures=_pictures(data_set, record.number, camera, table),
        states=_vectors(table, STATE, state),
        actions=_vectors(table, ACTION, action)[:-1],
        language=(task,),
        outcome=_outcome(table),
    )
    if data_set.card:
        return _as_it_was(episode, table, data_set.episodes[record.number])
    _check_steps(episode.actions)
    return episode


def card(records: Sequence[Record], options: ImportOptions) -> dict[str, Any]:
    """Return what data sets tell of the card of their store: all of it where `ptr convert` kept it, else the camera.

    Raises:
        TrainingError: If they do not tell the same.
    """
    told = {
        root: _told(open_data_set(root), options)
        for root in dict.fromkeys(record.path for record in records)
    }
    (first, wanted), *others = told.items()
    for root, other in others:
        problem = ", ".join(
            f"their {key} is {value!r} and {other[key]!r}"
            for key, value in wanted.items()
            if key != "sources" and other.get(key, value) != value
        )
        if wanted.keys() != other.keys():
            problem = f"only one of them keeps the card of a store ({CARD})"
        if problem:
            raise TrainingError(
                f"{first} and {root} do not go into one store: {problem}; import them one by one"
            )
    return wanted | {
        "sources": tuple(
            source for each in told.values() for source in each.get("sources", ())
        )
    }


def _told(data_set: DataSet, options: ImportOptions) -> dict[str, Any]:
    """Return what a data set tells of the card of its store."""
    if data_set.card:
        return {key: value for key, value in vars(data_set.card).items() if key != "name"}
    return {"camera": camera_name(data_set.camera(options.camera))}


def _rows(data_set: DataSet, episode: int, camera: str) -> pyarrow.Table:
    """Return the frames of an episode, in order, with the columns that are needed."""
    wanted = [STATE, ACTION, "frame_index", "task_index", "episode_index"]
    wanted += [
        key
        for key in (REWARD, SUCCESS, STAMP, *COMMANDS.values())
        if key in data_set.features
    ]
    wanted += [] if data_set.is_video(camera) else [camera]
    name, length = data_set.data_file(episode), data_set.number(episode, "length")
    table = _read_episode(data_set.root, name, episode, wanted, int(length))
    if len(table) != length or not np.array_equal(
        _scalars(table, "frame_index"), np.arange(len(table))
    ):
        raise RecordError(
            f"{name} has {len(table)} frames of it, {EPISODES} says {length:g}, numbered from 0"
        )
    if length < 2:
        raise SkipRecord(RecordStatus.TOO_SHORT)
    return table


def _read_episode(
    root: Path, name: str, episode: int, wanted: Sequence[str], length: int
) -> pyarrow.Table:
    """Return the rows of an episode, at most some more than `length` of them: what a file holds may have no end."""
    with reading(name) as parquet:
        import pyarrow

        footer, first, last = _groups(root, name, (root / name).stat().st_mtime_ns)
        groups = np.flatnonzero((first <= episode) & (episode <= last)).tolist()
        parts: list[pyarrow.RecordBatch] = []
        with parquet.ParquetFile(root / name, metadata=footer) as file:
            if missing := set(wanted) - set(file.schema_arrow.names):
                raise RecordError(f"{name} lacks the columns {', '.join(sorted(missing))}")
            for batch in file.iter_batches(
                ROWS_AT_A_TIME, groups, wanted, use_threads=False
            ):
                parts.append(
                    batch.filter(pyarrow.array(np.equal(batch["episode_index"], episode)))
                )
                if sum(map(len, parts)) > length:
                    break
            return (
                pyarrow.Table.from_batches(parts)
                if parts
                else file.read_row_groups([], wanted)
            )


@functools.lru_cache(maxsize=4)
def _groups(
    root: Path, name: str, _: int
) -> tuple[pyarrow.parquet.FileMetaData, np.ndarray, np.ndarray]:
    """Return a file's footer and the first and last episode of each group of rows; kept until the file changes.

    LeRobot makes a group for each episode; reading the footer anew each time would take
    longer than the episode.
    """
    footer = import_parquet().read_metadata(root / name)
    paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
    if "episode_index" not in paths:
        raise RecordError(f"{name} lacks the columns episode_index")
    column = paths.index("episode_index")
    told = [
        footer.row_group(number).column(column).statistics
        for number in range(footer.num_row_groups)
    ]
    bounds = [
        (each.min, each.max) if each and each.has_min_max else (0, np.iinfo(int).max)
        for each in told
    ]
    return footer, *np.array(bounds, int).reshape(-1, 2).T


def _vectors(table: pyarrow.Table, key: str, indices: Sequence[int]) -> np.ndarray:
    """Return some dimensions of a feature, shape (rows, len(indices)), float32."""
    values = numbers(table[key].to_pylist(), f"values of {key}")
    if values.ndim != 2 or values.shape[1] <= max(indices):
        raise RecordError(
            f"the values of {key} have shape {values.shape}, which is not as {INFO} says"
        )
    return seven(values[:, list(indices)], f"values of {key}")


def _scalars(table: pyarrow.Table, key: str) -> np.ndarray:
    """Return a feature of one number or of a list of one, shape (rows,)."""
    return np.array(
        [
            [*value, None][0] if isinstance(value, list) else value
            for value in table[key].to_pylist()
        ]
    )


def _as_it_was(
    episode: SourceEpisode, table: pyarrow.Table, row: Mapping[str, Any]
) -> SourceEpisode:
    """Return an episode as it was in the store that `ptr convert` read, from its row in the table of episodes."""
    told = {
        name: _vectors(table, key, range(7))[:-1]
        for name, key in COMMANDS.items()
        if key in table.column_names
    }
    stamps = _scalars(table, STAMP)
    if stamps.dtype != np.int64:
        raise RecordError(f"{STAMP} holds {stamps.dtype}, expected int64")
    return replace(
        episode,
        id=row[f"{OWN}id"],
        actions=told.get("requested", episode.actions),
        executed=told.get("executed", episode.actions),
        stamps_ns=stamps,
        original={key: row[OWN + key] for key in OWN_KEYS if key != "id"}
        | {"task": episode.place.task},
    )


def _check_steps(actions: np.ndarray) -> None:
    """Refuse actions that cannot be what they are taken for: poses, or steps scaled to -1 … 1."""
    usual = float(np.median(np.abs(actions[:, :3]), axis=0).max())
    low, high = float(actions[:, 6].min()), float(actions[:, 6].max())
    if usual > ACTION_HIGH[:3].max() or low < -0.1 or high > 1.1:
        raise RecordError(
            f"half of the actions are longer than {usual:.3g} m, the gripper's are {low:.3g} … {high:.3g}; "
            f"they are poses, or scaled. An action must be a step in the base frame of at most {ACTION_HIGH[0]} m "
            "and a gripper of 0 (closed) to 1 (open)"
        )


def _task(data_set: DataSet, table: pyarrow.Table) -> str:
    numbers = dict.fromkeys(_scalars(table, "task_index").tolist())
    if missing := [number for number in numbers if number not in data_set.tasks]:
        raise RecordError(
            f"task_index is {missing[0]}, {TASKS} lists {len(data_set.tasks)} tasks"
        )
    names = [data_set.tasks[number] for number in numbers]
    if len(names) > 1:
        raise RecordError(f"it has several tasks, {', '.join(map(repr, names))}; split it")
    return names[0]


def _outcome(table: pyarrow.Table) -> str:
    """Return the outcome, "" if the frames do not tell it."""
    if SUCCESS in table.column_names:
        return "success" if _scalars(table, SUCCESS).any() else "failure"
    if REWARD in table.column_names:
        rewards = set(_scalars(table, REWARD).tolist())
        if rewards <= {0.0, 1.0}:
            return "success" if 1.0 in rewards else "failure"
    return ""


def _pictures(
    data_set: DataSet, episode: int, camera: str, table: pyarrow.Table
) -> Sequence[Any]:
    """Return the pictures, still encoded."""
    if data_set.is_video(camera):
        file = data_set.root / data_set.video_file(episode, camera)
        start = data_set.number(episode, f"videos/{camera}/from_timestamp")
        return VideoPictures(
            file,
            [start + number / CONTROL_RATE for number in range(len(table))],
            CONTROL_RATE,
        )
    try:
        return [cell["bytes"] or b"" for cell in table[camera].to_pylist()]
    except (TypeError, KeyError) as error:
        raise RecordError(f"{camera} holds no encoded pictures") from error


def _files(data_set: DataSet, episode: int, camera: str) -> list[str]:
    """Return the files that tell of an episode."""
    files = [*data_set.files, data_set.data_file(episode)]
    return (
        [*files, data_set.video_file(episode, camera)]
        if data_set.is_video(camera)
        else files
    )
