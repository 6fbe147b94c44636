"""BridgeData as its first converters stored it: pickled lists of episodes in `out.npy`.

The files are `<domain>/<task>/[NN/]{train,val}/out.npy`. Each episode is a dictionary of
`observations` and `next_observations` (lists of L dictionaries with `images0` … and
`state`), `actions` (L), and in later files `language` and a `time_stamp` in each
observation. `next_observations` holds the same frames one step later: each is taken once,
the last one from there. The converters had already shifted for latency (see bridge_raw.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
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
    as_nanoseconds,
    check_contents,
    natural_key,
    rows_of_seven,
)

Observation = Mapping[str, Any]


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the episodes of files, or of all files `out.npy` below folders.

    Args:
        paths: Files or folders.

    Raises:
        TrainingError: If a path holds no such file.
    """
    records: list[Record] = []
    for path in paths:
        resolved = path.resolve()
        files = [resolved]
        if not path.is_file():
            files = sorted(resolved.rglob("out.npy"), key=natural_key)
        if not files:
            raise TrainingError(f"{path} holds no out.npy")
        for file in files:
            check_contents(file)
            records += _records(file)

    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return one episode of a file; the file stays in memory until another one is read.

    Raises:
        RecordError: If the file is damaged, or the lists of the episode do not fit
            together.
        SkipRecord: If a filter excludes the episode or it lacks the camera.
    """
    bridge_path = BridgePath.parse(record.path)
    options.check_wanted(bridge_path.folder)
    stat = record.path.stat()
    episodes, digest = _load(record.path, stat.st_size, stat.st_mtime_ns)
    if isinstance(episodes, str):
        raise RecordError(episodes)
    content = _mapping(episodes[record.number], "the episode")
    observations = _observations(content)
    camera = f"images{options.camera_number()}"
    if any(camera not in observation for observation in observations):
        raise SkipRecord(RecordStatus.NO_CAMERA, f"it has no {camera}")
    states = [observation.get("state") for observation in observations]
    return SourceEpisode(
        id=f"{bridge_path.name}#{record.number}",
        bridge_path=bridge_path,
        sha256=digest,
        images=[_image(observation[camera], camera) for observation in observations],
        states=rows_of_seven(states, "states"),
        actions=rows_of_seven(content["actions"], "actions"),
        stamps_ns=_stamps_ns(observations),
        language=_instructions(content.get("language", ())),
    )


def _records(file: Path) -> Iterator[Record]:
    """Yield as many episodes as the header of a file says; a damaged file counts as one."""
    bridge_path = BridgePath.parse(file)
    size = file.stat().st_size
    try:
        count = restricted_pickle.array_length(file)
    except restricted_pickle.PickleError:
        count = 1
    for number in range(count):
        yield Record(file, f"{bridge_path.name}#{number}", number, size=size)


@functools.lru_cache(maxsize=1)
def _load(file: Path, _size: int, _changed_ns: int) -> tuple[np.ndarray | str, str]:
    """Return the episodes of a file, or why it cannot be read, and its SHA-256.

    All episodes of a file ask for them in turn, so the last file is kept.

    Args:
        file: To read.
        _size: Of the file [bytes].
        _changed_ns: When it was written [ns]: another file may have taken its place.
    """
    try:
        with file.open("rb") as stream:
            episodes = restricted_pickle.load_array(stream)
    except restricted_pickle.PickleError as error:
        return str(error), ""

    return episodes.ravel(), sha256(file)


def _observations(content: Mapping[str, Any]) -> list[Observation]:
    """Return the L + 1 observations of an episode.

    Raises:
        RecordError: If something is missing, or an observation is not the one that the step
            before led to.
        SkipRecord: If there is no observation.
    """
    for key in ("observations", "next_observations", "actions"):
        if key not in content:
            raise RecordError(
                f"the episode lacks {key}; it has {', '.join(map(str, content))}"
            )

    before = _mappings(content, "observations")
    after = _mappings(content, "next_observations")
    if len(before) != len(after):
        raise RecordError(
            f"{len(before)} observations, {len(after)} next_observations; "
            "there must be as many of both"
        )

    if not before:
        raise SkipRecord(RecordStatus.TOO_SHORT)
    for step, (_, successor) in enumerate(pairwise(before)):
        if not _are_equal(after[step], successor):
            raise RecordError(f"next_observations[{step}] is not observations[{step + 1}]")

    return [*before, after[-1]]


def _are_equal(first: Observation, second: Observation) -> bool:
    """Return whether two observations are equal, quickly where they share their objects."""
    if first.keys() != second.keys():
        return False
    return all(_is_equal(value, second[key]) for key, value in first.items())


def _is_equal(first: Any, second: Any) -> bool:
    """Return whether two values are the same object or equal arrays."""
    return first is second or np.array_equal(first, second)


def _mappings(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return a list of dictionaries; raises RecordError if it is anything else."""
    values = content[key]
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise RecordError(
            f"{key}: found {type(values).__name__}, expected a list of dictionaries"
        )
    return [_mapping(value, key) for value in values]


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Return a dictionary; raises RecordError with its name if it is anything else."""
    if not isinstance(value, dict):
        raise RecordError(f"{name}: found {type(value).__name__}, expected a dictionary")
    return value


def _stamps_ns(observations: Sequence[Observation]) -> np.ndarray:
    """Return the times of the observations that have one [ns], shape (n,)."""
    stamps = []
    for observation in observations:
        if "time_stamp" in observation:
            stamps.append(observation["time_stamp"])
    return as_nanoseconds(stamps, "time stamps")


def _instructions(lines: Any) -> tuple[str, ...]:
    """Return the instructions in a text or a list of texts, without empty ones."""
    if not isinstance(lines, (list, tuple, np.ndarray)):
        lines = [lines]
    texts = [str(line).strip() for line in lines]
    return tuple(filter(None, texts))


def _image(values: Any, camera: str) -> np.ndarray:
    """Return an image, shape (H, W, 3), uint8.

    The oldest files store it flattened, with the channels first.
    """
    image = np.asarray(values)
    if image.dtype != np.uint8:
        raise RecordError(
            f"{camera} is {image.dtype} {image.shape}, no image (the features of a network?)"
        )

    side = math.isqrt(image.size // 3)
    if image.ndim == 1 and image.size == 3 * side * side:
        return image.reshape(3, side, side).transpose(1, 2, 0)
    return image
