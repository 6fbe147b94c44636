"""What a data set in the LeRobot format, version v3.0, says of itself in `meta/`.

A data set may come from anybody: whatever it names, no file outside its folder is opened.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ptr_common.action_space import ACTION_NAMES, CONTROL_RATE, PROPRIO_NAMES
from ptr_common.files import sha256
from ptr_training.data.episode import DatasetInfo
from ptr_training.data.store import read_info
from ptr_training.errors import TrainingError

from .base import RecordError

VERSION = "v3.0"
INFO = "meta/info.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
CARD = "meta/card.yaml"  # of the store, from `ptr convert`
IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
STAMP = "stamp_ns"
COMMANDS = {name: f"command.{name}" for name in ("requested", "executed")}
OWN = "ptr/"
OWN_KEYS = (
    "id",
    "outcome",
    "operator",
    "source",
    "seed",
)  # columns of the table of episodes, after OWN

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
KNOWN_NAMES = {STATE: (PROPRIO_NAMES,), ACTION: (ACTION_NAMES, AXES)}
"""Names of the seven dimensions wanted; other data sets call the steps by their axes."""

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(0?\dd))?\}|[{}\0]")


@dataclass(frozen=True)
class DataSet:
    """What a data set says of itself in `meta/`; paths are relative to its root."""

    root: Path
    features: dict[str, dict[str, Any]]
    data_path: str
    video_path: str
    episodes: dict[int, dict[str, Any]]  # rows of the table of episodes
    tasks: dict[int, str]
    card: DatasetInfo | None  # of the store that `ptr convert` made it of
    files: tuple[str, ...]  # that say all that

    @property
    def info(self) -> Path:
        return self.root / INFO

    @property
    def name(self) -> str:
        """Its folder's name; of a snapshot in the cache of a hub, which is named by a hash, the repository's."""
        return (
            self.root.parents[1].name
            if self.root.parent.name == "snapshots"
            else self.root.name
        )

    @property
    def cameras(self) -> list[str]:
        """Features that hold colour pictures."""
        return [
            key
            for key, feature in self.features.items()
            if feature["dtype"] in ("image", "video") and not _is_depth(feature)
        ]

    def is_video(self, camera: str) -> bool:
        """Return whether the pictures of a camera are in videos, instead of the tables."""
        return self.features[camera]["dtype"] == "video"

    def camera(self, wanted: str) -> str:
        """Return the feature of a camera; raises TrainingError naming those there are."""
        found = [key for key in self.cameras if wanted in ("", key, camera_name(key))]
        if len(found) == 1:
            return found[0]
        names = ", ".join(map(camera_name, self.cameras)) or "none"
        if wanted:
            raise TrainingError(f"{self.info}: no camera {wanted!r}; there are: {names}")
        raise TrainingError(f"{self.info}: cameras are: {names}; choose one with --camera")

    def pick(self, key: str, chosen: Sequence[str]) -> list[int]:
        """Return where the seven dimensions of the state or the action lie in a feature.

        Args:
            key: STATE or ACTION.
            chosen: Their names or indices; empty: the names that are known.

        Raises:
            TrainingError: If the feature is missing, or a name is missing or ambiguous.
        """
        if key not in self.features:
            raise TrainingError(
                f"{self.info}: no feature {key!r}; there are: {', '.join(self.features)}"
            )
        size, names = (
            self.features[key]["shape"][0],
            _flat_names(self.features[key].get("names")),
        )
        for wanted in (chosen,) if chosen else KNOWN_NAMES[key]:
            indices = [_index_of(name, names, size) for name in wanted]
            if len(indices) == 7 and None not in indices:
                return [index for index in indices if index is not None]
        option = f"--{key.split('.')[-1]}"
        raise TrainingError(
            f"{self.info}: {key} has {size} dimensions, {', '.join(names) or 'without names'}; "
            + (
                f"{option} {','.join(chosen)} does not name seven of them"
                if chosen
                else f"{option} must say which"
            )
            + f" are {', '.join(KNOWN_NAMES[key][0])}: seven names or indices from 0, separated by commas"
        )

    def number(self, episode: int, column: str) -> float:
        """Return what the table of episodes tells of one; raises RecordError if that is no number in reason."""
        value = self.episodes[episode].get(column)
        if not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise RecordError(
                f"{EPISODES}: {column} is {value!r}, expected a number from 0 to 1e9"
            )
        return value

    def data_file(self, episode: int) -> str:
        """Return the path of the table with the frames of an episode."""
        return self._file(self.data_path, episode, "data")

    def video_file(self, episode: int, camera: str) -> str:
        """Return the path of the video with the pictures of an episode."""
        return self._file(self.video_path, episode, f"videos/{camera}", video_key=camera)

    def _file(self, pattern: str, episode: int, prefix: str, **values: Any) -> str:
        values |= {
            key: int(self.number(episode, f"{prefix}/{key}"))
            for key in ("chunk_index", "file_index")
        }
        try:
            # str.format would do more than that: any width, any attribute
            name = _PLACEHOLDER.sub(
                lambda match: format(values[match[1]], match[2] or ""), pattern
            )
        except (KeyError, ValueError) as error:
            raise TrainingError(
                f"{self.info}: path {pattern!r} cannot be filled in: {error}"
            ) from error
        _check_inside(self.root, name)
        return name


def find_roots(path: Path) -> list[Path]:
    """Return the folder of a data set, or those in a folder of such by name; raises TrainingError if there is none."""
    found = (
        [path]
        if (path / INFO).exists()
        else sorted(file.parents[1] for file in path.glob(f"[!.]*/{INFO}"))
    )
    if not found:
        raise TrainingError(
            f"{path} is neither a LeRobot data set nor a folder of them: it holds no {INFO}"
        )
    return [root.resolve() for root in found]


def open_data_set(root: Path) -> DataSet:
    """Return what a data set says of itself.

    Raises:
        TrainingError: If that is damaged, contradictory, or of another version of the
        format or another rate.
    """
    return _load(root, (root / INFO).stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _load(root: Path, _: int) -> DataSet:
    """Return what a data set says of itself; kept until its description is written again."""
    tables = [
        str(file.relative_to(root)) for file in sorted(root.glob(f"{EPISODES}/*/*.parquet"))
    ]
    for name in (INFO, TASKS, CARD, *tables):
        _check_inside(root, name)
    try:
        info = _read_info(root)
        episodes = _read_episodes(root, tables, info["total_episodes"])
        tasks = _read_tasks(root)
        card = _read_own_card(root, info["features"], episodes)
    except RecordError as error:
        raise TrainingError(f"{root}: {error}") from error
    return DataSet(
        root=root,
        features=info["features"],
        data_path=info["data_path"],
        video_path=info.get("video_path") or "",
        episodes=episodes,
        tasks=tasks,
        card=card,
        files=(INFO, TASKS, *tables, *([CARD] if card else [])),
    )


def import_parquet() -> ModuleType:
    """Return the module `pyarrow.parquet`; raises TrainingError saying how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TrainingError(
            "LeRobot data sets need pyarrow, which is not installed: pip install pyarrow"
        ) from error
    return pyarrow.parquet


@contextlib.contextmanager
def reading(name: str) -> Iterator[ModuleType]:
    """Give `pyarrow.parquet`; raise RecordError if the file read with it is missing or damaged."""
    parquet = import_parquet()
    from pyarrow import ArrowException

    try:
        yield parquet
    except FileNotFoundError as error:
        raise RecordError(
            f"{name} is missing; copy or download the data set again"
        ) from error
    except (
        ArrowException,
        OSError,
        ValueError,
        TypeError,
    ) as error:  # the latter two for columns of another type
        raise RecordError(
            f"{name} cannot be read: {str(error).partition(chr(10))[0]}"
        ) from error


def digest(root: Path, names: Iterable[str]) -> str:
    """Return one SHA-256 for several files; raises RecordError if one is missing."""
    joined = hashlib.sha256()
    for name in names:
        with reading(name):
            joined.update(_sha256(root / name, (root / name).stat().st_mtime_ns).encode())
    return joined.hexdigest()


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, _: int) -> str:
    """Return the SHA-256 of a file; kept until it changes, since it holds many episodes."""
    return sha256(file)


def _read_info(root: Path) -> dict[str, Any]:
    """Return a description; raises RecordError if it is damaged, or of another version of the format or rate."""
    try:
        info = json.loads((root / INFO).read_text())
        _check_version(root, str(info["codebase_version"]))
        _check_features(info["features"])
        paths = info["data_path"], info.get("video_path") or ""
        if not isinstance(info["total_episodes"], int) or not all(
            isinstance(path, str) for path in paths
        ):
            raise ValueError(
                "total_episodes must be an integer, data_path and video_path text"
            )
        rate = info["fps"]
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(f"{INFO} cannot be read: {error}") from error
    except KeyError as error:
        raise RecordError(f"{INFO} lacks {error}") from error
    if rate != CONTROL_RATE:
        raise RecordError(
            f"{INFO}: fps is {rate}; only {CONTROL_RATE:g} can be read, because an action is a step of "
            f"{1 / CONTROL_RATE:g} s. Resample the data set, adding up its actions, before importing it"
        )
    return info


def _check_version(root: Path, version: str) -> None:
    if version == VERSION:
        return
    advice = ""
    if version.startswith("v2."):
        advice = (
            "; convert it in LeRobot's environment with python -m lerobot.scripts.convert_dataset_v21_to_v30 "
            f"--repo-id=NAME --root={root} --push-to-hub=false"
        )
    raise RecordError(
        f"{INFO}: codebase_version is {version}, this version reads {VERSION}{advice}"
    )


def _check_features(features: Mapping[str, Any]) -> None:
    for key, feature in features.items():
        shape = feature.get("shape")
        if (
            not isinstance(feature.get("dtype"), str)
            or not isinstance(shape, list)
            or not shape
        ):
            raise ValueError(f"feature {key!r} has no dtype or no shape")
        if [type(size) for size in shape] != [int] * (
            3 if feature["dtype"] in ("image", "video") else len(shape)
        ):
            raise ValueError(
                f"feature {key!r} has shape {shape}; expected integers, of pictures three of them"
            )
        _is_depth(feature)


def _is_depth(feature: Mapping[str, Any]) -> bool:
    told = feature.get("info") or feature.get("video_info") or {}
    return bool(told.get("video.is_depth_map") or told.get("is_depth_map"))


def _read_episodes(
    root: Path, tables: Sequence[str], total: int
) -> dict[int, dict[str, Any]]:
    """Return the rows of the table of episodes by number, without statistics."""
    if not total:
        raise RecordError(f"{INFO}: total_episodes is 0; record some, or leave it out")
    count = 0
    for name in tables:
        with reading(name) as parquet:
            count += parquet.read_metadata(root / name).num_rows
    if count != total:
        raise RecordError(
            f"{INFO}: there are {total} episodes, but {EPISODES} lists {count}"
        )
    rows: list[dict[str, Any]] = []
    for name in tables:
        with reading(name) as parquet, parquet.ParquetFile(root / name) as table:
            columns = [
                column
                for column in table.schema_arrow.names
                if not column.startswith("stats/")
            ]
            rows += table.read(columns, use_threads=False).to_pylist()
    episodes = {
        row["episode_index"]: row
        for row in rows
        if isinstance(row.get("episode_index"), int)
    }
    if len(episodes) != total:
        raise RecordError(
            f"{EPISODES} lists an episode twice, or one without its episode_index"
        )
    return episodes


def _read_tasks(root: Path) -> dict[int, str]:
    """Return the tasks by number."""
    with reading(TASKS) as parquet:
        table = parquet.read_table(root / TASKS, partitioning=None, use_threads=False)
    names = [name for name in table.column_names if name != "task_index"]
    if len(names) != 1 or "task_index" not in table.column_names:
        raise RecordError(
            f"{TASKS} has columns {', '.join(table.column_names)}; expected task_index and the task"
        )
    tasks = dict(
        zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True)
    )
    if not all(isinstance(task, str) for task in tasks.values()):
        raise RecordError(f"{TASKS} names a task by something else than text")
    return tasks


def _read_own_card(
    root: Path, features: Mapping[str, Any], episodes: Mapping[int, dict[str, Any]]
) -> DatasetInfo | None:
    """Return the card of the store that a data set was; None if it was none, or does not tell all of it any more."""
    columns = {OWN + key for key in OWN_KEYS}
    told = all(
        columns <= row.keys() and isinstance(row[f"{OWN}id"], str)
        for row in episodes.values()
    )
    if not told or STAMP not in features or not (root / CARD).exists():
        return None
    return read_info((root / CARD).parent)


def _check_inside(root: Path, name: str) -> None:
    """Refuse a path that leads out of a data set, as a link may.

    In the cache of a hub, the files of `snapshots/<hash>` are links to those in `blobs`.
    """
    found = (root / name).resolve()
    blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root
    if not found.is_relative_to(root) and not found.is_relative_to(blobs):
        raise TrainingError(f"{root}: path {name!r} leads out of the data set")


def camera_name(key: str) -> str:
    """Return the name of a camera from its feature."""
    return key.removeprefix(IMAGES).removeprefix("observation.")


def _flat_names(names: Any) -> list[str]:
    """Return the names of a feature's dimensions, which are a list, lists under a heading, or numbers by name."""
    if isinstance(names, dict):
        if all(isinstance(value, int) for value in names.values()):
            return sorted(names, key=names.__getitem__)
        return [name for value in names.values() for name in _flat_names(value)]
    if isinstance(names, list):
        return [name for value in names for name in _flat_names(value)]
    return [] if names is None else [str(names)]


def _index_of(name: str, names: Sequence[str], size: int) -> int | None:
    if len(names) == size and names.count(name) == 1:
        return names.index(name)
    return int(name) if name.isdecimal() and int(name) < size else None
