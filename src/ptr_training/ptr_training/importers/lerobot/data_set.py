"""A data set in the LeRobot format, version v3.0: its features, cameras, tasks and files.

meta.py makes a `DataSet` from the files in `meta/`. A data set may come from
anybody: no file outside its folder is opened, even if it names one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptr_common.action_space import ACTION_NAMES, PROPRIO_NAMES
from ptr_training.data.episode import DatasetInfo
from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError

from .files import check_inside

VERSION = "v3.0"
INFO = "meta/info.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
CARD = "meta/card.yaml"
"""Metadata of a store, in a data set of `ptr convert`."""

IMAGES = "observation.images."
STATE = "observation.state"
ACTION = "action"
REWARD = "next.reward"
DONE = "next.done"
SUCCESS = "next.success"
STAMP = "stamp_ns"
TIME = "timestamp"
COMMANDS = {"requested": "command.requested", "executed": "command.executed"}
"""Features of `ptr convert` that hold the commands of a store."""

STORE_PREFIX = "ptr/"
STORE_KEYS = ("id", "outcome", "operator", "source", "seed")
"""Fields of `Episode` that `ptr convert` keeps in the table of episodes, after the prefix."""

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
KNOWN_NAMES = {STATE: (PROPRIO_NAMES,), ACTION: (ACTION_NAMES, AXES)}
"""Names of the seven dimensions; other data sets name the steps by their axes."""

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(0?\dd))?\}|[{}\0]")


@dataclass(frozen=True)
class DataSet:
    """What the files in `meta/` say; paths are relative to the root."""

    root: Path
    features: dict[str, dict[str, Any]]
    data_path: str
    video_path: str
    episodes: dict[int, dict[str, Any]]  # rows of the table of episodes
    tasks: dict[int, str]
    info: DatasetInfo | None  # of the store that `ptr convert` made it of
    files: tuple[str, ...]  # in `meta/` that were read

    @property
    def info_file(self) -> Path:
        """The file that describes the features."""
        return self.root / INFO

    @property
    def name(self) -> str:
        """The name of its folder; of a snapshot in a hub's cache, that of the repository.

        The folder of a snapshot is named by a hash.
        """
        if self.root.parent.name == "snapshots":
            return self.root.parents[1].name
        return self.root.name

    @property
    def cameras(self) -> list[str]:
        """Features that hold colour images."""
        cameras = []
        for key, feature in self.features.items():
            if feature["dtype"] in ("image", "video") and not is_depth(feature):
                cameras.append(key)
        return cameras

    def is_video(self, camera: str) -> bool:
        """Return whether the images of a camera are in videos, not in the tables."""
        return self.features[camera]["dtype"] == "video"

    def camera(self, wanted: str) -> str:
        """Return the feature of a camera.

        Args:
            wanted: Its name or feature; empty: the only one.

        Raises:
            TrainingError: If it is missing or ambiguous.
        """
        return choose_camera(self.info_file, self.cameras, wanted)

    def pick(self, key: str, chosen: Sequence[str]) -> list[int]:
        """Return the indices of the seven dimensions of the state or the action in a feature.

        Args:
            key: STATE or ACTION.
            chosen: Their names or indices; empty: the names that are known.

        Raises:
            TrainingError: If the feature is missing, or a name is missing or ambiguous.
        """
        if key not in self.features:
            raise TrainingError(
                f"{self.info_file}: no feature {key!r}; there are: {', '.join(self.features)}"
            )

        size = self.features[key]["shape"][0]
        names = _flat_names(self.features[key].get("names"))
        return pick_dimensions(f"{self.info_file}: {key}", key, size, names, chosen)

    def number(self, episode: int, column: str) -> float:
        """Return a number from the table of episodes.

        Args:
            episode: Its number.
            column: Name of the column.

        Raises:
            RecordError: If it is not a number from 0 to 1e9.
        """
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
        """Return the path of the video with the images of an episode."""
        return self._file(self.video_path, episode, f"videos/{camera}", video_key=camera)

    def _file(self, pattern: str, episode: int, prefix: str, **values: Any) -> str:
        """Return a path from its pattern.

        Args:
            pattern: Path with placeholders.
            episode: Number of the episode.
            prefix: Of the columns of the table of episodes that hold the numbers.
            values: Other placeholders.
        """
        for key in ("chunk_index", "file_index"):
            values[key] = int(self.number(episode, f"{prefix}/{key}"))

        try:
            # str.format would do more than that: any width, any attribute
            name = _PLACEHOLDER.sub(
                lambda match: format(values[match[1]], match[2] or ""), pattern
            )
        except (KeyError, ValueError) as error:
            raise TrainingError(
                f"{self.info_file}: path {pattern!r} cannot be filled in: {error}"
            ) from error

        check_inside(self.root, name)
        return name


def choose_camera(source: Path, cameras: Sequence[str], wanted: str) -> str:
    """Return the feature of a camera.

    Args:
        source: Where the cameras were found, for messages.
        cameras: Features of all cameras.
        wanted: A camera's name or feature; empty: the only one.

    Raises:
        TrainingError: If it is missing or ambiguous.
    """
    matching = [key for key in cameras if wanted in ("", key, camera_name(key))]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(map(camera_name, cameras)) or "none"
    if wanted:
        raise TrainingError(f"{source}: no camera {wanted!r}; there are: {names}")
    raise TrainingError(f"{source}: cameras are: {names}; choose one with --camera")


def pick_dimensions(
    place: str, key: str, size: int, names: Sequence[str], chosen: Sequence[str]
) -> list[int]:
    """Return the indices of the seven dimensions of the state or the action.

    Args:
        place: What holds them, for messages.
        key: STATE or ACTION.
        size: Number of dimensions there are.
        names: Their names; empty: they have none.
        chosen: Names or indices of the seven; empty: the names that are known.

    Raises:
        TrainingError: If a name is missing or ambiguous.
    """
    for wanted in (chosen,) if chosen else KNOWN_NAMES[key]:
        indices = _indices_of(wanted, names, size)
        if len(indices) == 7:
            return indices

    option = f"--{key.split('.')[-1]}"
    problem = f"{option} must say which are"
    if chosen:
        problem = f"{option} {','.join(chosen)} does not name seven of them;"
    raise TrainingError(
        f"{place} has {size} dimensions, {', '.join(names) or 'without names'}; {problem} "
        f"{', '.join(KNOWN_NAMES[key][0])}: give seven names or indices from 0, "
        "separated by commas"
    )


def common_fields(by_root: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of `DatasetInfo` that several data sets share, their sources joined.

    Raises:
        TrainingError: If the data sets contradict each other.
    """
    (first_root, first), *others = by_root.items()
    for root, fields in others:
        problem = _difference(first, fields)
        if problem:
            raise TrainingError(
                f"{first_root} and {root} do not go into one store: {problem}; "
                "import them one by one"
            )

    sources: list[dict[str, Any]] = []
    for fields in by_root.values():
        sources += fields.get("sources", ())
    return {**first, "sources": tuple(sources)}


def _difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how the fields of two data sets contradict each other, "" if they do not."""
    if first.keys() != other.keys():
        return f"only one of them keeps the card of a store ({CARD})"
    differences = []
    for key, value in first.items():
        if key != "sources" and other[key] != value:
            differences.append(f"their {key} is {value!r} and {other[key]!r}")
    return ", ".join(differences)


def camera_name(key: str) -> str:
    """Return the name of a camera from its feature."""
    return key.removeprefix(IMAGES).removeprefix("observation.")


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Return whether a feature of images holds depth."""
    info = feature.get("info") or feature.get("video_info") or {}
    return bool(info.get("video.is_depth_map") or info.get("is_depth_map"))


def _flat_names(names: Any) -> list[str]:
    """Return the names of a feature's dimensions.

    Args:
        names: A list, lists under headings, or numbers by name.
    """
    if isinstance(names, dict):
        if all(isinstance(value, int) for value in names.values()):
            return sorted(names, key=names.__getitem__)
        return _all_names(names.values())
    if isinstance(names, list):
        return _all_names(names)
    return [] if names is None else [str(names)]


def _all_names(parts: Iterable[Any]) -> list[str]:
    """Return the names in several parts, one after the other."""
    flat: list[str] = []
    for part in parts:
        flat += _flat_names(part)
    return flat


def _indices_of(wanted: Sequence[str], names: Sequence[str], size: int) -> list[int]:
    """Return the indices of dimensions; none of them if one does not exist.

    Args:
        wanted: Names, or numbers from 0.
        names: Of the dimensions.
        size: Number of dimensions.
    """
    indices = []
    for name in wanted:
        if len(names) == size and names.count(name) == 1:
            indices.append(names.index(name))
        elif name.isdecimal() and int(name) < size:
            indices.append(int(name))
        else:
            return []

    return indices
