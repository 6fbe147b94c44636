"""Data sets in the LeRobot format, version v3.0: finding their episodes and reading them.

Files, features and what `ptr convert` adds to them (lerobot_writer.py): `docs/design.md`, "LeRobot data sets".

How frames become steps:

- *Steps.* L frames are L observations and the L - 1 actions between them. The action of the last frame is left out:
  where it led to was not recorded.
- *Time.* Data sets have a constant rate; only the control rate is read, because a step of the arm means
  something else at another.
- *Commands.* `action` is both the requested and the executed command, unless `command.requested` or
  `command.executed` is there as well.
- *Outcome.* Where `ptr convert` wrote it, that one; else success if `next.success` is ever true; else, where
  `next.reward` is nothing but 0 and 1, success if it is ever 1; else what the options say.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_policy_node.images import ImageError, decode_compressed, resize_area
from ptr_policy_node.spec import ACTION_HIGH, ACTION_NAMES, CONTROL_RATE, PROPRIO_NAMES

from .episodes import Card, Episode, StoreError, read_card
from .video import read_pictures

if TYPE_CHECKING:
    import pyarrow

VERSION = "v3.0"
INFO = "meta/info.json"
TASKS = "meta/tasks.parquet"
CARD_FOLDER = "meta"  # `ptr convert` puts the card of the store there
IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
STAMP = "stamp_ns"
COMMANDS = {name: f"command.{name}" for name in ("requested", "executed")}
OWN = "ptr/"
OWN_KEYS = ("id", "outcome", "operator", "source", "seed")  # columns of the table of episodes, after OWN

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
KNOWN_NAMES = {STATE: (PROPRIO_NAMES,), ACTION: (ACTION_NAMES, AXES)}
"""Names of the seven dimensions wanted; other data sets call the steps by their axes."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read data sets, and what they do not say themselves."""

    image_size: int = 0  # height and width of the stored images [pixels]; 0: as they are
    camera: str = ""  # feature, or the last part of its name; by default the only one
    tasks: Mapping[str, str] = field(default_factory=dict)  # a task's name in the data set -> in the store
    outcome: str = "success"  # of data sets that do not tell
    state: tuple[str, ...] = ()  # names or indices of PROPRIO_NAMES in observation.state
    action: tuple[str, ...] = ()  # names or indices of ACTION_NAMES in action


@dataclass(frozen=True)
class Record:
    """One episode of a data set, not yet read; small, so that it can be handed to another process."""

    root: Path
    index: int
    length: int  # L: frames
    data: Path  # Parquet file
    videos: dict[str, tuple[Path, float]]  # feature -> file, time of the first frame in it [s]
    own: dict[str, Any]  # OWN_KEYS, in data sets of `ptr convert`

    def __str__(self) -> str:
        return f"{self.data}: episode {self.index}"


@dataclass(frozen=True)
class Info:
    """What `meta/info.json` says."""

    file: Path
    features: dict[str, dict[str, Any]]
    episodes: int
    data_path: str
    video_path: str | None

    @classmethod
    def load(cls, root: Path) -> Info:
        """Read and check the description of a data set.

        Raises:
            StoreError: If it is missing, damaged, of another version of the format or of another rate.
        """
        file = root / INFO
        try:
            told = json.loads(file.read_text())
            _check_version(file, str(told["codebase_version"]))
            info = cls(file, told["features"], told["total_episodes"], told["data_path"], told.get("video_path"))
            _check_features(info)
            rate = told["fps"]
        except FileNotFoundError as error:
            raise StoreError(f"{root} is not a LeRobot data set: it has no {INFO}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{file} cannot be read: {error}") from error
        except KeyError as error:
            raise StoreError(f"{file} lacks {error}") from error
        if rate != CONTROL_RATE:
            raise StoreError(
                f"{file}: fps is {rate}; only {CONTROL_RATE:g} can be read, because an action is a step of "
                f"{1 / CONTROL_RATE:g} s. Resample the data set, adding up its actions, before importing it"
            )
        return info

    @property
    def cameras(self) -> list[str]:
        """Features that hold colour pictures."""
        return [
            key
            for key, feature in self.features.items()
            if feature["dtype"] in ("image", "video") and not _is_depth(feature)
        ]

    def camera(self, wanted: str) -> str:
        """Return the feature of a camera; raises StoreError naming those there are."""
        found = [key for key in self.cameras if wanted in ("", key, camera_name(key))]
        if len(found) == 1:
            return found[0]
        names = ", ".join(map(camera_name, self.cameras)) or "none"
        if wanted:
            raise StoreError(f"{self.file}: no camera {wanted!r}; there are: {names}")
        raise StoreError(f"{self.file}: cameras are: {names}; choose one with --camera")

    def pick(self, key: str, chosen: Sequence[str]) -> list[int]:
        """Return where the seven dimensions of the state or the action lie in a feature.

        Args:
            key: STATE or ACTION.
            chosen: Their names or indices; empty: the names that are known.

        Raises:
            StoreError: If the feature is missing, or a name is missing or ambiguous.
        """
        if key not in self.features:
            raise StoreError(f"{self.file}: no feature {key!r}; there are: {', '.join(self.features)}")
        size, names = self.features[key]["shape"][0], _flat_names(self.features[key].get("names"))
        for wanted in (chosen,) if chosen else KNOWN_NAMES[key]:
            indices = [_index_of(name, names, size) for name in wanted]
            if len(indices) == 7 and None not in indices:
                return [index for index in indices if index is not None]
        option = f"--{key.split('.')[-1]}"
        raise StoreError(
            f"{self.file}: {key} has {size} dimensions, {', '.join(names) or 'without names'}; "
            + (f"{option} {','.join(chosen)} does not name seven of them" if chosen else f"{option} must say which")
            + f" are {', '.join(KNOWN_NAMES[key][0])}: seven names or indices from 0, separated by commas"
        )

    def place(self, pattern: str, **values: Any) -> Path:
        """Return a path of the data set from its pattern; raises StoreError if it leads elsewhere."""
        try:
            path = Path(pattern.format(**values))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{self.file}: path {pattern!r} cannot be filled in: {error}") from error
        if path.is_absolute() or ".." in path.parts:
            raise StoreError(f"{self.file}: path {pattern!r} leads out of the data set")
        return self.file.parents[1] / path


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of data sets, and of those in folders of data sets, the latter by name.

    Raises:
        StoreError: If a path holds no data set, or what a data set says of itself is incomplete.
    """
    return [record for path in paths for root in _roots(path) for record in _records(root)]


def read(record: Record, options: ReadOptions) -> Episode:
    """Read one episode.

    Raises:
        StoreError: If its files are missing, damaged or contradictory, or do not have the features needed.
        VideoError: If its video is missing or too short.
    """
    info = Info.load(record.root)
    camera = info.camera(options.camera)
    state, action = info.pick(STATE, options.state), info.pick(ACTION, options.action)
    table = _rows(record, info, camera)
    proprio = _vectors(record, table, STATE, state, record.length)
    command = _vectors(record, table, ACTION, action, record.length - 1)
    if not record.own:
        _check_steps(record, command)
    commands: dict[str, Any] = {
        name: _vectors(record, table, key, range(7), record.length - 1) if key in table.column_names else command
        for name, key in COMMANDS.items()
    }
    own: dict[str, Any] = record.own or {
        "id": f"{record.root.name}/{record.index:06d}",
        "source": record.root.name,
        "outcome": _outcome(record, table, options.outcome),
    }
    return Episode(
        task=_task(record, table, options.tasks),
        frames=_frames(record, _pictures(record, table, camera), options.image_size),
        stamps_ns=_stamps(table),
        proprio=proprio,
        **commands,
        **own,
    )


def card(record: Record, options: ReadOptions, name: str) -> Card:
    """Return the card of a store of such episodes: the original one where `ptr convert` kept it."""
    info = Info.load(record.root)
    camera = info.camera(options.camera)
    height, width = _height_and_width(info.features[camera]["shape"])
    if record.own and (record.root / CARD_FOLDER / "card.yaml").exists():
        made = replace(read_card(record.root / CARD_FOLDER), name=name)
    else:
        made = Card(name, camera_name(camera), width, height, height, width)
    if options.image_size:
        made = replace(made, image_height=options.image_size, image_width=options.image_size)
    return made


def camera_name(key: str) -> str:
    """Return the name of a camera from its feature."""
    return key.removeprefix(IMAGES).removeprefix("observation.")


def import_parquet() -> ModuleType:
    """Return the module `pyarrow.parquet`; raises StoreError saying how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise StoreError("LeRobot data sets need pyarrow, which is not installed: pip install pyarrow") from error
    return pyarrow.parquet


def _roots(path: Path) -> list[Path]:
    if (path / INFO).exists():
        return [path]
    found = sorted(file.parents[1] for file in path.glob(f"[!.]*/{INFO}"))
    if not found:
        raise StoreError(f"{path} is neither a LeRobot data set nor a folder of them: it holds no {INFO}")
    return found


def _records(root: Path) -> list[Record]:
    info = Info.load(root)
    files = sorted(root.glob("meta/episodes/*/*.parquet"))
    rows = [(file, row) for file in files for row in _episode_rows(file)]
    if len(rows) != info.episodes:
        raise StoreError(f"{info.file}: there are {info.episodes} episodes, but meta/episodes lists {len(rows)}")
    return sorted((_record(info, file, row) for file, row in rows), key=lambda record: record.index)


def _episode_rows(file: Path) -> list[dict[str, Any]]:
    """Return a part of the table of episodes, without its statistics."""
    with _reading(file) as parquet, parquet.ParquetFile(file) as table:
        names = [name for name in table.schema_arrow.names if not name.startswith("stats/")]
        return table.read(names, use_threads=False).to_pylist()


def _record(info: Info, file: Path, row: dict[str, Any]) -> Record:
    def told(column: str) -> Any:
        if row.get(column) is None:
            raise StoreError(f"{file} does not tell {column} of episode {row.get('episode_index')}")
        return row[column]

    def place(pattern: str | None, prefix: str, **values: str) -> Path:
        numbers = {key: told(f"{prefix}/{key}") for key in ("chunk_index", "file_index")}
        return info.place(pattern or "", **numbers, **values)

    return Record(
        root=info.file.parents[1],
        index=told("episode_index"),
        length=told("length"),
        data=place(info.data_path, "data"),
        videos={
            key: (place(info.video_path, f"videos/{key}", video_key=key), told(f"videos/{key}/from_timestamp"))
            for key in info.cameras
            if info.features[key]["dtype"] == "video"
        },
        own={key: row.get(OWN + key) for key in OWN_KEYS} if row.get(f"{OWN}id") is not None else {},
    )


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[ModuleType]:
    """Give `pyarrow.parquet`; raise StoreError if the file read with it is missing or damaged."""
    parquet = import_parquet()
    from pyarrow import ArrowException

    try:
        yield parquet
    except FileNotFoundError as error:
        raise StoreError(f"{file} is missing; copy or download the data set again") from error
    except (ArrowException, OSError) as error:
        raise StoreError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error


def _rows(record: Record, info: Info, camera: str) -> pyarrow.Table:
    """Return the frames of an episode, in order, with the columns that are needed."""
    wanted = [STATE, ACTION, "frame_index", "task_index", "episode_index"]
    wanted += [key for key in (REWARD, SUCCESS, STAMP, *COMMANDS.values()) if key in info.features]
    wanted += [camera] if info.features[camera]["dtype"] == "image" else []
    with _reading(record.data) as parquet:
        footer, first, last = _groups(record.data, record.data.stat().st_mtime_ns)
        groups = np.flatnonzero((first <= record.index) & (record.index <= last)).tolist()
        with parquet.ParquetFile(record.data, metadata=footer) as file:
            table = file.read_row_groups(groups, wanted, use_threads=False)
        if missing := set(wanted) - set(table.column_names):
            raise StoreError(f"{record.data} lacks the columns {', '.join(sorted(missing))}")
        table = table.filter(np.equal(table["episode_index"], record.index))
    if table["frame_index"].to_pylist() != list(range(record.length)):
        raise StoreError(f"{record} has {len(table)} frames, meta/episodes says {record.length}, numbered from 0")
    if record.length < 2:
        raise StoreError(f"{record} has {record.length} frame; a step needs two")
    return table


@functools.lru_cache(maxsize=4)
def _groups(file: Path, _: int) -> tuple[pyarrow.parquet.FileMetaData, np.ndarray, np.ndarray]:
    """Return a file's footer and the first and last episode of each group of rows; kept until the file changes.

    LeRobot makes a group for each episode; reading the footer anew each time would take longer than the episode.
    """
    with _reading(file) as parquet:
        footer = parquet.read_metadata(file)
    paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
    if "episode_index" not in paths:
        raise StoreError(f"{file} lacks the columns episode_index")
    column = paths.index("episode_index")
    told = [footer.row_group(number).column(column).statistics for number in range(footer.num_row_groups)]
    bounds = [(each.min, each.max) if each and each.has_min_max else (0, np.iinfo(int).max) for each in told]
    return footer, *np.array(bounds, int).reshape(-1, 2).T


def _vectors(record: Record, table: pyarrow.Table, key: str, indices: Sequence[int], rows: int) -> np.ndarray:
    """Return some dimensions of a feature in the first rows, shape (rows, len(indices)), float32."""
    try:
        values = np.array(table[key].to_pylist()[:rows], np.float32)[:, list(indices)]
    except (ValueError, TypeError, IndexError) as error:
        raise StoreError(f"{record}: {key} is not as meta/info.json says: {error}") from error
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise StoreError(f"{record}: {key} is not finite in frame {int(finite.argmin())}")
    return values


def _scalars(table: pyarrow.Table, key: str) -> np.ndarray:
    return np.array(table[key].to_pylist()).reshape(len(table), -1)[:, 0]


def _check_steps(record: Record, action: np.ndarray) -> None:
    """Refuse actions that cannot be what they are taken for: poses, or steps scaled to -1 … 1."""
    usual = float(np.median(np.abs(action[:, :3]), axis=0).max())
    low, high = float(action[:, 6].min()), float(action[:, 6].max())
    if usual > ACTION_HIGH[:3].max() or low < -0.1 or high > 1.1:
        raise StoreError(
            f"{record}: half of the actions are longer than {usual:.3g} m, the gripper's are {low:.3g} … {high:.3g}; "
            f"they are poses, or scaled. An action must be a step in the base frame of at most {ACTION_HIGH[0]} m "
            "and a gripper of 0 (closed) to 1 (open)"
        )


def _task(record: Record, table: pyarrow.Table, renamed: Mapping[str, str]) -> str:
    file = record.root / TASKS
    names = _task_names(file, file.stat().st_mtime_ns if file.exists() else 0)
    numbers = dict.fromkeys(table["task_index"].to_pylist())
    if missing := [number for number in numbers if number not in names]:
        raise StoreError(f"{record}: task_index is {missing[0]}, {TASKS} lists {len(names)} tasks")
    if len(numbers) > 1:
        raise StoreError(f"{record} has several tasks, {', '.join(repr(names[n]) for n in numbers)}; split it")
    name = names[next(iter(numbers))]
    if not (task := renamed.get(name, name)):
        raise StoreError(f"{record} has a task without name; give it one in the task map, or leave it out")
    return task


@functools.lru_cache(maxsize=4)
def _task_names(file: Path, _: int) -> dict[int, str]:
    """Return the tasks of a data set by number; kept until the file changes."""
    with _reading(file) as parquet:
        table = parquet.read_table(file, partitioning=None)
    names = [name for name in table.column_names if name != "task_index"]
    if len(names) != 1 or "task_index" not in table.column_names:
        raise StoreError(f"{file} has columns {', '.join(table.column_names)}; expected task_index and the task")
    return dict(zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True))


def _outcome(record: Record, table: pyarrow.Table, otherwise: str) -> str:
    if SUCCESS in table.column_names:
        return "success" if _scalars(table, SUCCESS).any() else "failure"
    if REWARD in table.column_names:
        rewards = set(_scalars(table, REWARD).tolist())
        if rewards <= {0.0, 1.0}:
            return "success" if 1.0 in rewards else "failure"
    return otherwise


def _stamps(table: pyarrow.Table) -> np.ndarray:
    """Return the times of the frames [ns], from 0 where the data set has none of its own."""
    if STAMP in table.column_names:
        return _scalars(table, STAMP)
    return np.arange(len(table), dtype=np.int64) * round(1e9 / CONTROL_RATE)


def _pictures(record: Record, table: pyarrow.Table, camera: str) -> Iterator[np.ndarray]:
    if camera in record.videos:
        file, start = record.videos[camera]
        yield from read_pictures(file, (start + np.arange(record.length) / CONTROL_RATE).tolist(), CONTROL_RATE)
        return
    for number, cell in enumerate(table[camera].to_pylist()):
        try:
            yield decode_compressed("png or jpeg", cell["bytes"])
        except (ImageError, TypeError) as error:
            raise StoreError(f"{record}: {camera} has no picture in frame {number}: {error}") from error


def _frames(record: Record, pictures: Iterator[np.ndarray], size: int) -> np.ndarray:
    frames = [resize_area(picture, (size, size)) if size else picture for picture in pictures]
    if len(shapes := {frame.shape for frame in frames}) > 1:
        raise StoreError(f"{record} has pictures of several sizes, {sorted(shapes)}; choose one with --image-size")
    if not any(frame.any() for frame in frames):
        raise StoreError(f"{record} is black throughout: this camera was not recorded; choose another with --camera")
    return np.stack(frames)


def _check_version(file: Path, version: str) -> None:
    if version == VERSION:
        return
    advice = ""
    if version.startswith("v2."):
        advice = (
            "; convert it in LeRobot's environment with python -m lerobot.scripts.convert_dataset_v21_to_v30 "
            f"--repo-id=NAME --root={file.parents[1]} --push-to-hub=false"
        )
    raise StoreError(f"{file}: codebase_version is {version}, this version reads {VERSION}{advice}")


def _check_features(info: Info) -> None:
    for key, feature in info.features.items():
        if (
            not isinstance(feature.get("dtype"), str)
            or not isinstance(feature.get("shape"), list)
            or not feature["shape"]
        ):
            raise ValueError(f"feature {key!r} has no dtype or no shape")
        if feature["dtype"] in ("image", "video") and [type(size) for size in feature["shape"]] != [int] * 3:
            raise ValueError(f"feature {key!r} has shape {feature['shape']}, expected height, width and channels")


def _is_depth(feature: dict[str, Any]) -> bool:
    told = feature.get("info") or feature.get("video_info") or {}
    return bool(told.get("video.is_depth_map") or told.get("is_depth_map"))


def _height_and_width(shape: Sequence[int]) -> tuple[int, int]:
    """Return the size of pictures whose channels come first or last."""
    return (shape[1], shape[2]) if shape[0] <= 4 < shape[2] else (shape[0], shape[1])


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
