"""BridgeData as its first converters stored it: `<domain>/<task>/[NN/]{train,val}/out.npy`, a pickled list of episodes.

Each is a dictionary of `observations` and `next_observations` (lists of L dictionaries with
`images0` … and `state`), `actions` (L), and in later files `language` and a `time_stamp` in
each observation. `next_observations` holds the same frames one step later: each is taken
once, the last one from there. The converters had already shifted for latency (see
bridge_raw.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.files import sha256
from ptr_training.errors import TrainingError

from . import restricted_pickle
from .base import (
    BridgePath,
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    nanoseconds,
    natural,
    seven,
)


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of some files, or of all files `out.npy` below some folders.

    Raises:
        TrainingError: If a path holds no such file.
    """
    records = []
    for path in paths:
        files = (
            [path.resolve()]
            if path.is_file()
            else sorted(path.resolve().rglob("out.npy"), key=natural)
        )
        if not files:
            raise TrainingError(f"{path} holds no out.npy")
        records += [record for file in files for record in _records(file)]
    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return one episode of a file; the file stays in memory until another one is read.

    Raises:
        RecordError: If the file is damaged, or the lists of the episode do not fit
            together.
        SkipRecord: If a filter excludes it or it lacks the camera.
    """
    place = BridgePath.of(record.path)
    options.check_wanted(place.folder)
    stat = record.path.stat()
    episodes, digest = _load(record.path, stat.st_size, stat.st_mtime_ns)
    if isinstance(episodes, str):
        raise RecordError(episodes)
    content = _mapping(episodes[record.number], "the episode")
    observations = _observations(content)
    camera = f"images{options.camera_number()}"
    if any(camera not in each for each in observations):
        raise SkipRecord(RecordStatus.NO_CAMERA, f"it has no {camera}")
    stamps = [each["time_stamp"] for each in observations if "time_stamp" in each]
    return SourceEpisode(
        id=f"{place.name}#{record.number}",
        place=place,
        sha256=digest,
        pictures=[_picture(each[camera], camera) for each in observations],
        states=seven([each.get("state") for each in observations], "states"),
        actions=seven(content["actions"], "actions"),
        stamps_ns=nanoseconds(stamps, "time stamps"),
        language=_language(content.get("language", ())),
    )


def _records(file: Path) -> list[Record]:
    """Return the episodes of a file, as many as its header says; a damaged file counts as one."""
    place = BridgePath.of(file)
    try:
        count = restricted_pickle.array_length(file)
    except restricted_pickle.PickleError:
        count = 1
    return [
        Record(file, f"{place.name}#{number}", number, size=file.stat().st_size)
        for number in range(count)
    ]


@functools.lru_cache(maxsize=1)
def _load(file: Path, size: int, changed_ns: int) -> tuple[np.ndarray | str, str]:
    """Return the episodes of a file, or why it cannot be read, and its SHA-256; all of its episodes ask for them.

    Args:
        file: To read.
        size: Of the file [bytes], and
        changed_ns: when it was written: another one may have taken its place.
    """
    try:
        with file.open("rb") as stream:
            episodes = restricted_pickle.load_array(stream)
    except restricted_pickle.PickleError as error:
        return str(error), ""
    return episodes.ravel(), sha256(file)


def _observations(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the L + 1 observations of an episode.

    Raises:
        RecordError: If something is missing, or an observation is not the one that the step
        before led to.
    """
    for key in ("observations", "next_observations", "actions"):
        if key not in content:
            raise RecordError(
                f"the episode lacks {key}; it has {', '.join(map(str, content))}"
            )
    before, after = (
        _mappings(content, key) for key in ("observations", "next_observations")
    )
    if len(before) != len(after):
        raise RecordError(
            f"{len(before)} observations, {len(after)} next_observations; there must be as many of both"
        )
    if not before:
        raise SkipRecord(RecordStatus.TOO_SHORT)
    for step, (_, follows) in enumerate(pairwise(before)):
        if not _same(after[step], follows):
            raise RecordError(f"next_observations[{step}] is not observations[{step + 1}]")
    return [*before, after[-1]]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two observations are equal; frames are mostly the very same object, which is quick to see."""
    if one.keys() != other.keys():
        return False
    return all(
        value is other[key] or np.array_equal(value, other[key])
        for key, value in one.items()
    )


def _mappings(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    if not isinstance(content[key], (list, tuple, np.ndarray)):
        raise RecordError(
            f"{key}: found {type(content[key]).__name__}, expected a list of dictionaries"
        )
    return [_mapping(each, key) for each in content[key]]


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RecordError(f"{what}: found {type(value).__name__}, expected a dictionary")
    return value


def _language(lines: Any) -> tuple[str, ...]:
    lines = lines if isinstance(lines, (list, tuple, np.ndarray)) else [lines]
    return tuple(filter(None, (str(line).strip() for line in lines)))


def _picture(values: Any, camera: str) -> np.ndarray:
    """Return a picture, shape (H, W, 3), uint8; the oldest files store it flattened, channels first."""
    picture = np.asarray(values)
    if picture.dtype != np.uint8:
        raise RecordError(
            f"{camera} is {picture.dtype} {picture.shape}, no picture (the features of a network?)"
        )
    side = math.isqrt(picture.size // 3)
    if picture.ndim == 1 and picture.size == 3 * side * side:
        return picture.reshape(3, side, side).transpose(1, 2, 0)
    return picture
