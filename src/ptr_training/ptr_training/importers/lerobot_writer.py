"""Episode stores as LeRobot data sets, version v3.0; lerobot.py reads them back without loss.

What LeRobot's own tools need and what is added for the way back: `docs/design.md`, "LeRobot
data sets".
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from ptr_common.action_space import ACTION_NAMES, PROPRIO_NAMES
from ptr_common.files import atomic_folder
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError

from .lerobot_meta import (
    ACTION,
    CARD,
    COMMANDS,
    DONE,
    IMAGES,
    INFO,
    OWN,
    OWN_KEYS,
    REWARD,
    STAMP,
    STATE,
    SUCCESS,
    TASKS,
    VERSION,
    import_parquet,
)
from .video import VideoWriter

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE}.mp4"
EPISODES_PATH = f"meta/episodes/{FILE}.parquet"
FILES_PER_CHUNK = 1000
DATA_MEGABYTES, VIDEO_MEGABYTES = 100, 200  # largest files
EPISODES_PER_GROUP = 1000  # rows of meta/episodes written at a time
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
LEVELS = np.arange(256) / 255  # statistics of pictures are told on a scale of 0 to 1

Columns = dict[
    str, np.ndarray
]  # feature -> (N,) or (N, 7): its values in every row of the store


def write(store: EpisodeStore, out: Path, *, video: bool = False) -> None:
    """Write a store as a LeRobot data set.

    Equal stores give equal bytes with equal versions of PyArrow, OpenCV and PyAV.

    Args:
        store: What to write; every observation becomes a frame.
        out: Folder to make; it appears only once complete.
        video: Put the pictures into mp4 files, which alters them, instead of PNG inside the
            tables.

    Raises:
        TrainingError: If the control rate is not a whole number, pyarrow is not installed,
            or `video` is wanted and the pictures' width or height is odd or PyAV is not
            installed.
        PtrError: If `out` exists.
    """
    import_parquet()  # or say how to install it
    if store.card.rate != int(store.card.rate):
        raise TrainingError(
            f"{store.path}: the rate is {store.card.rate} Hz; LeRobot data sets need a whole number"
        )
    with atomic_folder(out) as folder:
        (folder / "meta").mkdir()
        tasks = {
            task: number
            for number, task in enumerate(
                dict.fromkeys(entry.task for entry in store.entries)
            )
        }
        _write_tasks(folder / TASKS, list(tasks))
        columns = _columns(store, tasks)
        shades = np.zeros((3, 256), np.int64)
        _write_rows(folder, _write_episodes(store, folder, columns, shades, video=video))
        stats = {_camera(store): _picture_stats(shades, len(store.frames))}
        stats |= {key: _stats(values) for key, values in columns.items()}
        _write_json(folder / "meta/stats.json", stats)
        features = _features(store, columns, video=video)
        _write_json(folder / INFO, _info(store, features, len(tasks), video=video))
        shutil.copyfile(store.path / "card.yaml", folder / CARD)


def _columns(store: EpisodeStore, tasks: dict[str, int]) -> Columns:
    """Return all features but the pictures, one row for each frame.

    The last frame of an episode has no action. Its row says to stay: no motion, gripper as
    before; the outcome is told in the row before and again there, as LeRobot's own
    recordings of episodes with a last observation do.
    """
    steps = store.steps
    last = np.flatnonzero(steps["is_last"])
    per_frame = np.repeat(
        np.arange(len(store)), [entry.length + 1 for entry in store.entries]
    )
    done = steps["is_last"].copy()
    done[last - 1] = True
    reward = steps["reward"].copy()
    reward[last] = reward[last - 1]
    other = "requested" if store.card.command == "executed" else "executed"
    return {
        STATE: np.ascontiguousarray(steps["proprio"]),
        ACTION: _staying_at(last, store.actions),
        COMMANDS[other]: _staying_at(last, steps[other]),
        REWARD: reward,
        DONE: done,
        SUCCESS: done
        & np.array([entry.outcome == "success" for entry in store.entries])[per_frame],
        STAMP: steps["stamp_ns"].copy(),
        "timestamp": (steps["step"] / store.card.rate).astype(np.float32),
        "frame_index": steps["step"].astype(np.int64),
        "episode_index": steps["episode"].astype(np.int64),
        "index": np.arange(len(steps)),
        "task_index": np.array([tasks[entry.task] for entry in store.entries])[per_frame],
    }


def _staying_at(last: np.ndarray, actions: np.ndarray) -> np.ndarray:
    actions = actions.copy()
    actions[last, :6] = 0
    actions[last, 6] = actions[last - 1, 6]
    return actions


def _features(store: EpisodeStore, columns: Columns, *, video: bool) -> dict[str, Any]:
    names = {STATE: PROPRIO_NAMES, ACTION: ACTION_NAMES} | dict.fromkeys(
        COMMANDS.values(), ACTION_NAMES
    )
    features = {
        key: {
            "dtype": str(values.dtype),
            "shape": [*values.shape[1:]] or [1],
            "names": names.get(key),
        }
        for key, values in columns.items()
    }
    height, width = store.card.image_height, store.card.image_width
    picture: dict[str, Any] = {
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
    }
    if video:
        facts = {
            "height": height,
            "width": width,
            "codec": "h264",
            "pix_fmt": "yuv420p",
            "is_depth_map": False,
        }
        facts |= {"fps": int(store.card.rate), "channels": 3}
        picture["info"] = {f"video.{key}": value for key, value in facts.items()} | {
            "has_audio": False
        }
    return {_camera(store): {"dtype": "video" if video else "image", **picture}, **features}


def _info(
    store: EpisodeStore, features: dict[str, Any], tasks: int, *, video: bool
) -> dict[str, Any]:
    return {
        "codebase_version": VERSION,
        "robot_type": "widowx",
        "total_episodes": len(store),
        "total_frames": len(store.steps),
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_MEGABYTES,
        "video_files_size_in_mb": VIDEO_MEGABYTES,
        "fps": int(store.card.rate),
        "splits": {"train": f"0:{len(store)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if video else None,
        "features": features,
    }


def _write_episodes(
    store: EpisodeStore, folder: Path, columns: Columns, shades: np.ndarray, *, video: bool
) -> Iterator[dict[str, Any]]:
    """Write the frames of all episodes, adding to `shades` (3, 256); yield the row of each in the table of episodes."""
    camera = _camera(store)
    with (
        _TableFiles(folder, DATA_PATH) as data,
        _VideoFiles(folder, camera, int(store.card.rate)) as videos,
    ):
        for number, episode in enumerate(
            tqdm(store, total=len(store), unit="episode", desc="convert")
        ):
            start, length = store.entries[number].start, len(episode.frames)
            values = {
                key: column[start : start + length] for key, column in columns.items()
            }
            table, row = (
                _table(values),
                {"episode_index": number, "tasks": [episode.task], "length": length},
            )
            if video:
                row |= videos.add(episode.frames)
            else:
                table = table.add_column(0, camera, [_encoded(episode.frames)])
            row |= {f"data/{key}": place for key, place in data.add(table).items()}
            row |= {"dataset_from_index": start, "dataset_to_index": start + length}
            row |= {OWN + key: getattr(episode, key) for key in OWN_KEYS}
            counted = _shades(episode.frames)
            shades += counted
            stats = {camera: _picture_stats(counted, length)} | {
                key: _stats(column) for key, column in values.items()
            }
            row |= {
                f"stats/{key}/{name}": figure
                for key, figures in stats.items()
                for name, figure in figures.items()
            }
            yield row


def _write_rows(folder: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write the table of episodes."""
    import pyarrow

    schema = None
    with _TableFiles(folder, EPISODES_PATH) as files:
        while group := list(itertools.islice(rows, EPISODES_PER_GROUP)):
            schema = (
                schema or pyarrow.Table.from_pylist([group[0] | {f"{OWN}seed": 0}]).schema
            )
            files.add(pyarrow.Table.from_pylist(group, schema), told_as="meta/episodes/")


def _table(columns: Columns) -> pyarrow.Table:
    import pyarrow

    return pyarrow.table(
        {
            key: pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
            if values.ndim > 1
            else values
            for key, values in columns.items()
        }
    )


def _encoded(frames: np.ndarray) -> pyarrow.Array:
    """Return pictures as PNG, in the form of the `datasets` library."""
    import pyarrow

    pictures = (
        cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].tobytes()
        for frame in frames
    )
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    return pyarrow.array([{"bytes": picture, "path": None} for picture in pictures], kind)


class _Files(ExitStack):
    """Files of limited size, numbered as the format has it; one is open at a time."""

    def __init__(self, folder: Path, pattern: str, megabytes: int) -> None:
        super().__init__()
        self._folder = folder
        self._pattern = pattern
        self._limit = megabytes * 2**20
        self._number = -1
        self._used = 0  # bytes in the open file

    @property
    def place(self) -> dict[str, int]:
        """Numbers of the open file."""
        return {
            "chunk_index": self._number // FILES_PER_CHUNK,
            "file_index": self._number % FILES_PER_CHUNK,
        }

    def _begin_for(self, size: int) -> Path | None:
        """Return the file to open before `size` more bytes are written; None if the open one has room."""
        if self._number >= 0 and (not self._used or self._used + size <= self._limit):
            return None
        self.close()
        self._number += 1
        self._used = 0
        file = self._folder / self._pattern.format(**self.place)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


class _TableFiles(_Files):
    """Parquet files; each table added is a row group of its own, so that one can be read without the others."""

    def __init__(self, folder: Path, pattern: str) -> None:
        super().__init__(folder, pattern, DATA_MEGABYTES)
        self._writer: ParquetWriter

    def add(self, table: pyarrow.Table, told_as: str = "") -> dict[str, int]:
        """Write a table, with columns of that prefix that say in which file, if there is one; return its numbers."""
        file = self._begin_for(table.nbytes)
        for key, number in self.place.items() if told_as else ():
            table = table.append_column(told_as + key, [np.full(len(table), number)])
        if file:
            options = {
                "use_dictionary": False,
                "write_statistics": ["episode_index"],
            }  # of pictures: only ballast
            self._writer = self.enter_context(
                import_parquet().ParquetWriter(file, table.schema, **options)
            )
        self._writer.write_table(table)
        self._used += table.nbytes
        return self.place


class _VideoFiles(_Files):
    """Videos of one camera, each of many episodes."""

    def __init__(self, folder: Path, camera: str, rate: int) -> None:
        super().__init__(folder, VIDEO_PATH.replace("{video_key}", camera), VIDEO_MEGABYTES)
        self._camera = camera
        self._rate = rate
        self._writer: VideoWriter

    def add(self, frames: np.ndarray) -> dict[str, Any]:
        """Append the pictures of an episode; return where they are, for the table of episodes."""
        if file := self._begin_for(frames.nbytes):  # encoded, they are smaller than that
            self._writer = self.enter_context(
                VideoWriter(file, self._rate, *frames.shape[1:3])
            )
        start = self._writer.pictures
        for frame in frames:
            self._writer.add(frame)
        self._used = self._writer.size
        times = {
            "from_timestamp": start / self._rate,
            "to_timestamp": self._writer.pictures / self._rate,
        }
        return {
            f"videos/{self._camera}/{key}": value
            for key, value in (self.place | times).items()
        }


def _stats(values: np.ndarray) -> dict[str, list]:
    """Return the figures of a feature over frames.

    Args:
        values: Shape (n,) or (n, d).

    Returns:
        Lists of d figures each, in double precision; `count` is [n].
    """
    values = values.reshape(len(values), -1).astype(float)
    figures = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
    }
    figures |= dict(
        zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True)
    )
    return {name: figure.tolist() for name, figure in figures.items()} | {
        "count": [len(values)]
    }


def _shades(frames: np.ndarray) -> np.ndarray:
    """Return how often each shade occurs in each channel, shape (3, 256)."""
    return np.stack(
        [np.bincount(frames[..., channel].ravel(), minlength=256) for channel in range(3)]
    )


def _picture_stats(shades: np.ndarray, count: int) -> dict[str, list]:
    """Return the figures of `count` pictures from their shades: lists of shape (3, 1, 1), on a scale of 0 to 1."""
    share = shades / shades.sum(1, keepdims=True)
    mean = share @ LEVELS
    figures = {
        "min": LEVELS[(shades > 0).argmax(1)],
        "max": LEVELS[255 - (shades[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": np.sqrt((share * (LEVELS - mean[:, None]) ** 2).sum(1)),
    }
    up_to = share.cumsum(1)
    figures |= {
        name: LEVELS[(up_to >= quantile - 1e-9).argmax(1)]
        for name, quantile in QUANTILES.items()
    }
    return {name: figure.reshape(3, 1, 1).tolist() for name, figure in figures.items()} | {
        "count": [count]
    }


def _write_tasks(file: Path, tasks: list[str]) -> None:
    """Write the table of tasks; pandas, with which LeRobot reads it, must find the names as its index."""
    import pyarrow

    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": kind,
            "numpy_type": stored,
            "metadata": None,
        }
        for name, (kind, stored) in kinds.items()
    ]
    described = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    table = pyarrow.table({"task_index": np.arange(len(tasks)), "task": tasks})
    import_parquet().write_table(
        table.replace_schema_metadata({"pandas": json.dumps(described)}), file
    )


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")


def _camera(store: EpisodeStore) -> str:
    return IMAGES + store.card.camera
