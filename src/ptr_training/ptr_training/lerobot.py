"""Data sets in the LeRobot format, version v3.0: finding their episodes and reading them.

Files, features and what `ptr convert` adds to them (lerobot_writer.py): `docs/design.md`, "LeRobot data sets".

How frames become steps:

- *Steps.* L frames are L observations and the L - 1 actions between them. The action of the last frame is left out:
  where it led to was not recorded.
- *Time.* Data sets have a constant rate; only the control rate is read, because a step of the arm means
  something else at another.
- *Outcome.* Success if `next.success` is ever true; else, where `next.reward` is nothing but 0 and 1, success if it is
  ever 1; else what the options say.
- A data set that `ptr convert` wrote gives back the store it was made of.

A data set may come from anybody: whatever it names, no file outside its folder is opened.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_policy_node.files import sha256
from ptr_policy_node.spec import ACTION_HIGH, ACTION_NAMES, CONTROL_RATE, PROPRIO_NAMES

from .episodes import Card, TrainingError, read_card
from .foreign import Fate, ForeignEpisode, ImportOptions, LeftOut, Place, Record, RecordError, numbers, seven
from .video import VideoPictures

if TYPE_CHECKING:
    import pyarrow

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
OWN_KEYS = ("id", "outcome", "operator", "source", "seed")  # columns of the table of episodes, after OWN

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
KNOWN_NAMES = {STATE: (PROPRIO_NAMES,), ACTION: (ACTION_NAMES, AXES)}
"""Names of the seven dimensions wanted; other data sets call the steps by their axes."""

ROWS_AT_A_TIME = 100
"""Rows of a table that are in memory at a time, whatever its file says of its size."""

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(0?\dd))?\}|[{}\0]")


@dataclass(frozen=True)
class _DataSet:
    """What a data set says of itself in `meta/`; paths are relative to its root."""

    root: Path
    features: dict[str, dict[str, Any]]
    data_path: str
    video_path: str
    episodes: dict[int, dict[str, Any]]  # rows of the table of episodes
    tasks: dict[int, str]
    card: Card | None  # of the store that `ptr convert` made it of
    sha256: str  # of all that

    @property
    def info(self) -> Path:
        return self.root / INFO

    @property
    def name(self) -> str:
        """Its folder's name; of a snapshot in the cache of a hub, which is named by a hash, the repository's."""
        return self.root.parents[1].name if self.root.parent.name == "snapshots" else self.root.name

    @property
    def cameras(self) -> list[str]:
        """Features that hold colour pictures."""
        return [
            key
            for key, feature in self.features.items()
            if feature["dtype"] in ("image", "video") and not _is_depth(feature)
        ]

    def camera(self, wanted: str) -> str:
        """Return the feature of a camera; raises TrainingError naming those there are."""
        found = [key for key in self.cameras if wanted in ("", key, _camera_name(key))]
        if len(found) == 1:
            return found[0]
        names = ", ".join(map(_camera_name, self.cameras)) or "none"
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
            raise TrainingError(f"{self.info}: no feature {key!r}; there are: {', '.join(self.features)}")
        size, names = self.features[key]["shape"][0], _flat_names(self.features[key].get("names"))
        for wanted in (chosen,) if chosen else KNOWN_NAMES[key]:
            indices = [_index_of(name, names, size) for name in wanted]
            if len(indices) == 7 and None not in indices:
                return [index for index in indices if index is not None]
        option = f"--{key.split('.')[-1]}"
        raise TrainingError(
            f"{self.info}: {key} has {size} dimensions, {', '.join(names) or 'without names'}; "
            + (f"{option} {','.join(chosen)} does not name seven of them" if chosen else f"{option} must say which")
            + f" are {', '.join(KNOWN_NAMES[key][0])}: seven names or indices from 0, separated by commas"
        )

    def number(self, episode: int, column: str) -> float:
        """Return what the table of episodes tells of one; raises RecordError if that is no number in reason."""
        value = self.episodes[episode].get(column)
        if not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise RecordError(f"{EPISODES}: {column} is {value!r}, expected a number from 0 to 1e9")
        return value

    def data_file(self, episode: int) -> str:
        """Return the path of the table with the frames of an episode."""
        return self._file(self.data_path, episode, "data")

    def video_file(self, episode: int, camera: str) -> str:
        """Return the path of the video with the pictures of an episode."""
        return self._file(self.video_path, episode, f"videos/{camera}", video_key=camera)

    def _file(self, pattern: str, episode: int, prefix: str, **values: Any) -> str:
        values |= {key: int(self.number(episode, f"{prefix}/{key}")) for key in ("chunk_index", "file_index")}
        try:
            # str.format would do more than that: any width, any attribute
            name = _PLACEHOLDER.sub(lambda match: format(values[match[1]], match[2] or ""), pattern)
        except (KeyError, ValueError) as error:
            raise TrainingError(f"{self.info}: path {pattern!r} cannot be filled in: {error}") from error
        _check_inside(self.root, name)
        return name


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of data sets, and of those in folders of data sets, the latter by name.

    Raises:
        TrainingError: If a path holds no data set, or one is damaged in `meta/`, of another version or of another rate.
    """
    data_sets = [_open(root) for path in paths for root in _roots(path)]
    return [
        Record(each.root, f"{each.name}/{number:06d}", number) for each in data_sets for number in sorted(each.episodes)
    ]


def read(record: Record, options: ImportOptions) -> ForeignEpisode:
    """Return one episode.

    Raises:
        RecordError: If its files are missing, damaged or contradictory, or its actions cannot be steps.
        TrainingError: If the data set does not have the features needed.
        LeftOut: If a filter excludes it or it has no step.
    """
    data_set = _open(record.path)
    options.check_wanted(data_set.name)
    camera = data_set.camera(options.camera)
    state, action = data_set.pick(STATE, options.state), data_set.pick(ACTION, options.action)
    table = _rows(data_set, record.number, camera)
    task = _task(data_set, table)
    episode = ForeignEpisode(
        id=record.label,
        place=Place(record.label, data_set.name, task=task),
        sha256=_sha256(data_set, record.number, camera),
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
    told = {root: _told(_open(root), options) for root in dict.fromkeys(record.path for record in records)}
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
            raise TrainingError(f"{first} and {root} do not go into one store: {problem}; import them one by one")
    return wanted | {"sources": tuple(source for each in told.values() for source in each.get("sources", ()))}


def import_parquet() -> ModuleType:
    """Return the module `pyarrow.parquet`; raises TrainingError saying how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TrainingError("LeRobot data sets need pyarrow, which is not installed: pip install pyarrow") from error
    return pyarrow.parquet


# --- what a data set says of itself ---------------------------------------------------------------------------


def _roots(path: Path) -> list[Path]:
    found = [path] if (path / INFO).exists() else sorted(file.parents[1] for file in path.glob(f"[!.]*/{INFO}"))
    if not found:
        raise TrainingError(f"{path} is neither a LeRobot data set nor a folder of them: it holds no {INFO}")
    return [root.resolve() for root in found]


def _open(root: Path) -> _DataSet:
    return _load(root, (root / INFO).stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _load(root: Path, _: int) -> _DataSet:
    """Return what a data set says of itself; kept until its description changes."""
    tables = [str(file.relative_to(root)) for file in sorted(root.glob(f"{EPISODES}/*/*.parquet"))]
    for name in (INFO, TASKS, CARD, *tables):
        _check_inside(root, name)
    try:
        info = _read_info(root)
        episodes = _read_episodes(root, tables, info["total_episodes"])
        tasks = _read_tasks(root)
        card = _read_own_card(root, info["features"], episodes)
    except RecordError as error:
        raise TrainingError(f"{root}: {error}") from error
    described = [INFO, TASKS, *tables, *([CARD] if card else [])]
    return _DataSet(
        root=root,
        features=info["features"],
        data_path=info["data_path"],
        video_path=info.get("video_path") or "",
        episodes=episodes,
        tasks=tasks,
        card=card,
        sha256=_joined(sha256(root / name) for name in described),
    )


def _told(data_set: _DataSet, options: ImportOptions) -> dict[str, Any]:
    """Return what a data set tells of the card of its store."""
    if data_set.card:
        return {key: value for key, value in vars(data_set.card).items() if key != "name"}
    return {"camera": _camera_name(data_set.camera(options.camera))}


def _read_info(root: Path) -> dict[str, Any]:
    """Return a description; raises RecordError if it is damaged, or of another version of the format or rate."""
    try:
        info = json.loads((root / INFO).read_text())
        _check_version(root, str(info["codebase_version"]))
        _check_features(info["features"])
        paths = info["data_path"], info.get("video_path") or ""
        if not isinstance(info["total_episodes"], int) or not all(isinstance(path, str) for path in paths):
            raise ValueError("total_episodes must be an integer, data_path and video_path text")
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
    raise RecordError(f"{INFO}: codebase_version is {version}, this version reads {VERSION}{advice}")


def _check_features(features: Mapping[str, Any]) -> None:
    for key, feature in features.items():
        shape = feature.get("shape")
        if not isinstance(feature.get("dtype"), str) or not isinstance(shape, list) or not shape:
            raise ValueError(f"feature {key!r} has no dtype or no shape")
        if [type(size) for size in shape] != [int] * (3 if feature["dtype"] in ("image", "video") else len(shape)):
            raise ValueError(f"feature {key!r} has shape {shape}; expected integers, of pictures three of them")
        _is_depth(feature)


def _is_depth(feature: Mapping[str, Any]) -> bool:
    told = feature.get("info") or feature.get("video_info") or {}
    return bool(told.get("video.is_depth_map") or told.get("is_depth_map"))


def _read_episodes(root: Path, tables: Sequence[str], total: int) -> dict[int, dict[str, Any]]:
    """Return the rows of the table of episodes by number, without statistics."""
    count = 0
    for name in tables:
        with _reading(name) as parquet:
            count += parquet.read_metadata(root / name).num_rows
    if count != total:
        raise RecordError(f"{INFO}: there are {total} episodes, but {EPISODES} lists {count}")
    rows: list[dict[str, Any]] = []
    for name in tables:
        with _reading(name) as parquet, parquet.ParquetFile(root / name) as table:
            columns = [column for column in table.schema_arrow.names if not column.startswith("stats/")]
            rows += table.read(columns, use_threads=False).to_pylist()
    episodes = {row["episode_index"]: row for row in rows if isinstance(row.get("episode_index"), int)}
    if len(episodes) != total:
        raise RecordError(f"{EPISODES} lists an episode twice, or one without its episode_index")
    return episodes


def _read_tasks(root: Path) -> dict[int, str]:
    """Return the tasks by number."""
    with _reading(TASKS) as parquet:
        table = parquet.read_table(root / TASKS, partitioning=None, use_threads=False)
    names = [name for name in table.column_names if name != "task_index"]
    if len(names) != 1 or "task_index" not in table.column_names:
        raise RecordError(f"{TASKS} has columns {', '.join(table.column_names)}; expected task_index and the task")
    tasks = dict(zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True))
    if not all(isinstance(task, str) for task in tasks.values()):
        raise RecordError(f"{TASKS} names a task by something else than text")
    return tasks


def _read_own_card(root: Path, features: Mapping[str, Any], episodes: Mapping[int, dict[str, Any]]) -> Card | None:
    """Return the card of the store that a data set was; None if it was none, or does not tell all of it any more."""
    columns = {OWN + key for key in OWN_KEYS}
    told = all(columns <= row.keys() and isinstance(row[f"{OWN}id"], str) for row in episodes.values())
    if not told or STAMP not in features or not (root / CARD).exists():
        return None
    return read_card((root / CARD).parent)


def _check_inside(root: Path, name: str) -> None:
    """Refuse a path that leads out of a data set, as a link may.

    In the cache of a hub, the files of `snapshots/<hash>` are links to those in `blobs`.
    """
    found = (root / name).resolve()
    blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root
    if not found.is_relative_to(root) and not found.is_relative_to(blobs):
        raise TrainingError(f"{root}: path {name!r} leads out of the data set")


# --- what its files hold --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reading(name: str) -> Iterator[ModuleType]:
    """Give `pyarrow.parquet`; raise RecordError if the file read with it is missing or damaged."""
    parquet = import_parquet()
    from pyarrow import ArrowException

    try:
        yield parquet
    except FileNotFoundError as error:
        raise RecordError(f"{name} is missing; copy or download the data set again") from error
    except (ArrowException, OSError, ValueError, TypeError) as error:  # the latter two for columns of another type
        raise RecordError(f"{name} cannot be read: {str(error).partition(chr(10))[0]}") from error


def _rows(data_set: _DataSet, episode: int, camera: str) -> pyarrow.Table:
    """Return the frames of an episode, in order, with the columns that are needed."""
    wanted = [STATE, ACTION, "frame_index", "task_index", "episode_index"]
    wanted += [key for key in (REWARD, SUCCESS, STAMP, *COMMANDS.values()) if key in data_set.features]
    wanted += [camera] if data_set.features[camera]["dtype"] == "image" else []
    name, length = data_set.data_file(episode), data_set.number(episode, "length")
    table = _read_episode(data_set.root, name, episode, wanted, int(length))
    if len(table) != length or not np.array_equal(_scalars(table, "frame_index"), np.arange(len(table))):
        raise RecordError(f"{name} has {len(table)} frames of it, {EPISODES} says {length:g}, numbered from 0")
    if length < 2:
        raise LeftOut(Fate.TOO_SHORT)
    return table


def _read_episode(root: Path, name: str, episode: int, wanted: Sequence[str], length: int) -> pyarrow.Table:
    """Return the rows of an episode, at most some more than `length` of them: what a file holds may have no end."""
    with _reading(name) as parquet:
        import pyarrow

        footer, first, last = _groups(root, name, (root / name).stat().st_mtime_ns)
        groups = np.flatnonzero((first <= episode) & (episode <= last)).tolist()
        parts: list[pyarrow.RecordBatch] = []
        with parquet.ParquetFile(root / name, metadata=footer) as file:
            if missing := set(wanted) - set(file.schema_arrow.names):
                raise RecordError(f"{name} lacks the columns {', '.join(sorted(missing))}")
            for batch in file.iter_batches(ROWS_AT_A_TIME, groups, wanted, use_threads=False):
                parts.append(batch.filter(pyarrow.array(np.equal(batch["episode_index"], episode))))
                if sum(map(len, parts)) > length:
                    break
            return pyarrow.Table.from_batches(parts) if parts else file.read_row_groups([], wanted)


@functools.lru_cache(maxsize=4)
def _groups(root: Path, name: str, _: int) -> tuple[pyarrow.parquet.FileMetaData, np.ndarray, np.ndarray]:
    """Return a file's footer and the first and last episode of each group of rows; kept until the file changes.

    LeRobot makes a group for each episode; reading the footer anew each time would take longer than the episode.
    """
    footer = import_parquet().read_metadata(root / name)
    paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
    if "episode_index" not in paths:
        raise RecordError(f"{name} lacks the columns episode_index")
    column = paths.index("episode_index")
    told = [footer.row_group(number).column(column).statistics for number in range(footer.num_row_groups)]
    bounds = [(each.min, each.max) if each and each.has_min_max else (0, np.iinfo(int).max) for each in told]
    return footer, *np.array(bounds, int).reshape(-1, 2).T


def _vectors(table: pyarrow.Table, key: str, indices: Sequence[int]) -> np.ndarray:
    """Return some dimensions of a feature, shape (rows, len(indices)), float32."""
    values = numbers(table[key].to_pylist(), f"values of {key}")
    if values.ndim != 2 or values.shape[1] <= max(indices):
        raise RecordError(f"the values of {key} have shape {values.shape}, which is not as {INFO} says")
    return seven(values[:, list(indices)], f"values of {key}")


def _scalars(table: pyarrow.Table, key: str) -> np.ndarray:
    """Return a feature of one number or of a list of one, shape (rows,)."""
    return np.array([[*value, None][0] if isinstance(value, list) else value for value in table[key].to_pylist()])


def _as_it_was(episode: ForeignEpisode, table: pyarrow.Table, row: Mapping[str, Any]) -> ForeignEpisode:
    """Return an episode as it was in the store that `ptr convert` read, from its row in the table of episodes."""
    told = {name: _vectors(table, key, range(7))[:-1] for name, key in COMMANDS.items() if key in table.column_names}
    stamps = _scalars(table, STAMP)
    if stamps.dtype != np.int64:
        raise RecordError(f"{STAMP} holds {stamps.dtype}, expected int64")
    return replace(
        episode,
        id=row[f"{OWN}id"],
        actions=told.get("requested", episode.actions),
        executed=told.get("executed", episode.actions),
        stamps_ns=stamps,
        original={key: row[OWN + key] for key in OWN_KEYS if key != "id"} | {"task": episode.place.task},
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


def _task(data_set: _DataSet, table: pyarrow.Table) -> str:
    numbers = dict.fromkeys(_scalars(table, "task_index").tolist())
    if missing := [number for number in numbers if number not in data_set.tasks]:
        raise RecordError(f"task_index is {missing[0]}, {TASKS} lists {len(data_set.tasks)} tasks")
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


def _pictures(data_set: _DataSet, episode: int, camera: str, table: pyarrow.Table) -> Sequence[Any]:
    """Return the pictures, still encoded."""
    if data_set.features[camera]["dtype"] == "video":
        file = data_set.root / data_set.video_file(episode, camera)
        start = data_set.number(episode, f"videos/{camera}/from_timestamp")
        return VideoPictures(file, [start + number / CONTROL_RATE for number in range(len(table))], CONTROL_RATE)
    try:
        return [cell["bytes"] or b"" for cell in table[camera].to_pylist()]
    except (TypeError, KeyError) as error:
        raise RecordError(f"{camera} holds no encoded pictures") from error


def _sha256(data_set: _DataSet, episode: int, camera: str) -> str:
    """Return the SHA-256 of the files that tell of an episode."""
    names = [data_set.data_file(episode)]
    if data_set.features[camera]["dtype"] == "video":
        names.append(data_set.video_file(episode, camera))
    files = [data_set.root / name for name in names]
    return _joined([data_set.sha256, *(_file_sha256(file, file.stat().st_mtime_ns) for file in files if file.exists())])


@functools.lru_cache(maxsize=4)
def _file_sha256(file: Path, _: int) -> str:
    return sha256(file)


def _joined(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


# --- features -------------------------------------------------------------------------------------------------


def _camera_name(key: str) -> str:
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
