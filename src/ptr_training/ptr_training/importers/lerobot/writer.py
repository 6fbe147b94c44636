"""Episode stores as LeRobot data sets, version v3.0; lerobot.py reads them without loss.

What LeRobot's own tools need, and what is added for the way back: `docs/design.md`,
"LeRobot data sets".
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from ptr_common.action_space import ACTION_NAMES, PROPRIO_NAMES
from ptr_common.files import atomic_folder
from ptr_training.data.episode import Episode
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError

from .data_set import (
    ACTION,
    CARD,
    COMMANDS,
    DONE,
    IMAGES,
    INFO,
    REWARD,
    STAMP,
    STATE,
    STORE_KEYS,
    STORE_PREFIX,
    SUCCESS,
    TASKS,
    VERSION,
)
from .files import (
    DATA_MEGABYTES,
    DATA_PATH,
    EPISODES_PATH,
    FILES_PER_CHUNK,
    VIDEO_MEGABYTES,
    VIDEO_PATH,
    TableFiles,
    VideoFiles,
    import_parquet,
)
from .stats import feature_stats, image_stats, level_counts

if TYPE_CHECKING:
    import pyarrow

EPISODES_PER_GROUP = 1000
"""Rows of the table of episodes that are written at a time."""

Columns = dict[str, np.ndarray]
"""Features by name, (N,) or (N, 7): their values in every row of the store."""

_FOLDER_NAME = re.compile(r"(?!\.)[^/{}\0]+")


def write(store: EpisodeStore, out: Path, *, video: bool = False) -> None:
    """Write a store as a LeRobot data set.

    Equal stores give equal bytes with equal versions of PyArrow, OpenCV and PyAV.

    Args:
        store: To write; every observation becomes a frame.
        out: Folder to make; it appears only once complete.
        video: Put the images into mp4 files, which alters them, instead of PNG inside the
            tables.

    Raises:
        TrainingError: If the control rate is not a whole number, pyarrow is not installed,
            or with `video` if the width or height of the images is odd, the camera cannot
            name a folder, or PyAV is not installed.
        PtrError: If `out` exists.
    """
    import_parquet()  # or say how to install it
    if store.info.rate != int(store.info.rate):
        raise TrainingError(
            f"{store.path}: the rate is {store.info.rate} Hz; "
            "LeRobot data sets need a whole number"
        )

    if video and not _FOLDER_NAME.fullmatch(store.info.camera):
        raise TrainingError(
            f"{store.path}: the camera is {store.info.camera!r}; a video needs a name for "
            "its folder, without / { } and not beginning with a dot"
        )

    with atomic_folder(out) as folder:
        (folder / "meta").mkdir()
        tasks = _task_numbers(store)
        _write_tasks(folder / TASKS, list(tasks))
        columns = _columns(store, tasks)
        counts = np.zeros((3, 256), np.int64)
        _write_rows(folder, _write_episodes(store, folder, columns, counts, video=video))
        stats = {_camera(store): image_stats(counts, len(store.frames))}
        for key, values in columns.items():
            stats[key] = feature_stats(values)
        _write_json(folder / "meta/stats.json", stats)
        features = _features(store, columns, video=video)
        _write_json(folder / INFO, _info(store, features, len(tasks), video=video))
        shutil.copyfile(store.path / "card.yaml", folder / CARD)


def _camera(store: EpisodeStore) -> str:
    """Return the feature of the images."""
    return IMAGES + store.info.camera


def _task_numbers(store: EpisodeStore) -> dict[str, int]:
    """Return the tasks with their numbers, in the order in which they occur."""
    numbers: dict[str, int] = {}
    for entry in store.entries:
        numbers.setdefault(entry.task, len(numbers))
    return numbers


# Features
# ---------------------------------------------------------------------------------------


def _columns(store: EpisodeStore, tasks: Mapping[str, int]) -> Columns:
    """Return all features except the images, one row for each frame.

    The last frame of an episode has no action. Its row repeats the pose: no motion, gripper
    as before; the outcome is in the row before and again there, as in LeRobot's own
    recordings of episodes with a last observation.
    """
    steps = store.steps
    last = np.flatnonzero(steps["is_last"])
    done = steps["is_last"].copy()
    done[last - 1] = True
    reward = steps["reward"].copy()
    reward[last] = reward[last - 1]
    lengths, successes, numbers = [], [], []
    for entry in store.entries:
        lengths.append(entry.length + 1)
        successes.append(entry.outcome == "success")
        numbers.append(tasks[entry.task])

    other = "requested" if store.info.command == "executed" else "executed"
    return {
        STATE: np.ascontiguousarray(steps["proprio"]),
        ACTION: _with_last(last, store.actions),
        COMMANDS[other]: _with_last(last, steps[other]),
        REWARD: reward,
        DONE: done,
        SUCCESS: done & np.repeat(successes, lengths),
        STAMP: steps["stamp_ns"].copy(),
        "timestamp": (steps["step"] / store.info.rate).astype(np.float32),
        "frame_index": steps["step"].astype(np.int64),
        "episode_index": steps["episode"].astype(np.int64),
        "index": np.arange(len(steps)),
        "task_index": np.repeat(numbers, lengths),
    }


def _with_last(last: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return actions (N, 7) in which the rows `last` do not move the arm or the gripper."""
    actions = actions.copy()
    actions[last, :6] = 0
    actions[last, 6] = actions[last - 1, 6]
    return actions


def _features(store: EpisodeStore, columns: Columns, *, video: bool) -> dict[str, Any]:
    """Return the descriptions of all features, the images first."""
    names = {STATE: PROPRIO_NAMES, ACTION: ACTION_NAMES}
    for key in COMMANDS.values():
        names[key] = ACTION_NAMES
    features = {_camera(store): _image_feature(store, video=video)}
    for key, values in columns.items():
        features[key] = {
            "dtype": str(values.dtype),
            "shape": [*values.shape[1:]] or [1],
            "names": names.get(key),
        }
    return features


def _image_feature(store: EpisodeStore, *, video: bool) -> dict[str, Any]:
    """Return the description of the images."""
    height, width = store.info.image_height, store.info.image_width
    feature: dict[str, Any] = {
        "dtype": "video" if video else "image",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
    }
    if video:
        feature["info"] = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": int(store.info.rate),
            "video.channels": 3,
            "has_audio": False,
        }

    return feature


def _info(
    store: EpisodeStore, features: dict[str, Any], tasks: int, *, video: bool
) -> dict[str, Any]:
    """Return the contents of `INFO`.

    Args:
        store: To write.
        features: Their descriptions.
        tasks: Number of tasks.
        video: Whether the images are in videos.
    """
    return {
        "codebase_version": VERSION,
        "robot_type": "widowx",
        "total_episodes": len(store),
        "total_frames": len(store.steps),
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_MEGABYTES,
        "video_files_size_in_mb": VIDEO_MEGABYTES,
        "fps": int(store.info.rate),
        "splits": {"train": f"0:{len(store)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if video else None,
        "features": features,
    }


# Episodes
# ---------------------------------------------------------------------------------------


def _write_episodes(
    store: EpisodeStore, folder: Path, columns: Columns, counts: np.ndarray, *, video: bool
) -> Iterator[dict[str, Any]]:
    """Write the frames of all episodes; yield the row of each in the table of episodes.

    Args:
        store: To write.
        folder: Of the data set.
        columns: All features except the images.
        counts: Occurrences of the levels, shape (3, 256), to which the images are added.
        video: Put the images into videos.
    """
    camera = _camera(store)
    rate = int(store.info.rate)
    bar = tqdm(store, total=len(store), unit="episode", desc="convert")
    with (
        TableFiles(folder, DATA_PATH) as data,
        VideoFiles(folder, camera, rate) as videos,
    ):
        for number, episode in enumerate(bar):
            start, length = store.entries[number].start, len(episode.frames)
            values: Columns = {}
            for key, column in columns.items():
                values[key] = column[start : start + length]
            table = _table(values)
            row = {"episode_index": number, "tasks": [episode.task], "length": length}
            if video:
                row |= videos.add(episode.frames)
            else:
                table = table.add_column(0, camera, [_encoded(episode.frames)])
            for key, file_number in data.add(table).items():
                row[f"data/{key}"] = file_number
            row |= {"dataset_from_index": start, "dataset_to_index": start + length}
            row |= _store_fields(episode)
            episode_counts = level_counts(episode.frames)
            counts += episode_counts
            yield row | _stats_columns(camera, episode_counts, values)


def _store_fields(episode: Episode) -> dict[str, Any]:
    """Return the columns that keep the fields of an episode for the way back."""
    return {STORE_PREFIX + key: getattr(episode, key) for key in STORE_KEYS}


def _stats_columns(camera: str, counts: np.ndarray, values: Columns) -> dict[str, Any]:
    """Return the statistics of an episode as columns of the table of episodes.

    Args:
        camera: Feature of the images.
        counts: Occurrences of their levels, shape (3, 256).
        values: The other features.
    """
    stats = {camera: image_stats(counts, len(values[STATE]))}
    for key, column in values.items():
        stats[key] = feature_stats(column)

    row = {}
    for key, figures in stats.items():
        for name, figure in figures.items():
            row[f"stats/{key}/{name}"] = figure

    return row


def _write_rows(folder: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write the table of episodes."""
    import pyarrow

    schema = None
    with TableFiles(folder, EPISODES_PATH) as files:
        while group := list(itertools.islice(rows, EPISODES_PER_GROUP)):
            if schema is None:
                # the seed of the first episode may be missing
                with_seed = group[0] | {f"{STORE_PREFIX}seed": 0}
                schema = pyarrow.Table.from_pylist([with_seed]).schema
            table = pyarrow.Table.from_pylist(group, schema)
            files.add(table, numbers_prefix="meta/episodes/")


def _table(columns: Columns) -> pyarrow.Table:
    """Return features as a table."""
    import pyarrow

    arrays: dict[str, Any] = {}
    for key, values in columns.items():
        arrays[key] = values
        if values.ndim > 1:
            arrays[key] = pyarrow.FixedSizeListArray.from_arrays(
                values.ravel(), values.shape[1]
            )
    return pyarrow.table(arrays)


def _encoded(frames: np.ndarray) -> pyarrow.Array:
    """Return images as PNG, in the form of the `datasets` library."""
    import pyarrow

    cells = []
    for frame in frames:
        _, png = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        cells.append({"bytes": png.tobytes(), "path": None})
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    return pyarrow.array(cells, kind)


def _write_tasks(file: Path, tasks: list[str]) -> None:
    """Write the table of tasks; pandas, which LeRobot reads it with, needs the names as index."""
    import pyarrow

    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "int64", "int64"),
            _pandas_column("task", "unicode", "object"),
        ],
    }
    table = pyarrow.table({"task_index": np.arange(len(tasks)), "task": tasks})
    table = table.replace_schema_metadata({"pandas": json.dumps(described)})
    import_parquet().write_table(table, file)


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    """Return the description of a column in pandas' metadata of a table."""
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that a person can read."""
    file.write_text(json.dumps(content, indent=2) + "\n")
