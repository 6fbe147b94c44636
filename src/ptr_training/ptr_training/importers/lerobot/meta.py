"""Reads the description of a data set in the LeRobot format, version v3.0, from `meta/`.

A data set may come from anybody: no file outside its folder is opened, even if it names
one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptr_common.action_space import CONTROL_RATE
from ptr_common.documents import parse_json
from ptr_training.data.episode import DatasetInfo
from ptr_training.data.store import read_info
from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError

from .data_set import (
    CARD,
    EPISODES,
    INFO,
    STAMP,
    STORE_KEYS,
    STORE_PREFIX,
    TASKS,
    VERSION,
    DataSet,
    is_depth,
)
from .files import check_inside, reading


def find_roots(path: Path) -> list[Path]:
    """Return the folder of a data set, or the folders of those in a folder, by name.

    Raises:
        TrainingError: If there is none.
    """
    roots = [path]
    if not (path / INFO).exists():
        roots = sorted(file.parents[1] for file in path.glob(f"[!.]*/{INFO}"))
    if not roots:
        raise TrainingError(
            f"{path} is neither a LeRobot data set nor a folder of them: it holds no {INFO}"
        )

    return [root.resolve() for root in roots]


def open_data_set(root: Path) -> DataSet:
    """Return the description of a data set.

    Raises:
        TrainingError: If it is damaged, contradictory, or of another version of the format
            or another rate.
    """
    return _load(root, (root / INFO).stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _load(root: Path, _changed_ns: int) -> DataSet:
    """Return the description of a data set; kept until its `INFO` is written again."""
    tables = []
    for file in sorted(root.glob(f"{EPISODES}/[!.]*/[!.]*.parquet")):
        tables.append(str(file.relative_to(root)))

    for name in (INFO, TASKS, CARD, *tables):
        check_inside(root, name)

    try:
        described = _read_info(root)
        episodes = _read_episodes(root, tables, described["total_episodes"])
        tasks = _read_tasks(root)
        store_info = _read_store_info(root, described["features"], episodes)
    except RecordError as error:
        raise TrainingError(f"{root}: {error}") from error

    files = [INFO, TASKS, *tables]
    if store_info:
        files.append(CARD)
    return DataSet(
        root=root,
        features=described["features"],
        data_path=described["data_path"],
        video_path=described.get("video_path") or "",
        episodes=episodes,
        tasks=tasks,
        info=store_info,
        files=tuple(files),
    )


# meta/info.json
# ---------------------------------------------------------------------------------------


def _read_info(root: Path) -> dict[str, Any]:
    """Return the contents of `INFO`.

    Raises:
        RecordError: If it is damaged, or of another version of the format or rate.
    """
    try:
        info = parse_json((root / INFO).read_bytes())
        _check_version(root, str(info["codebase_version"]))
        _check_features(info["features"])
        paths = info["data_path"], info.get("video_path") or ""
        are_paths = all(isinstance(path, str) for path in paths)
        if not isinstance(info["total_episodes"], int) or not are_paths:
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
            f"{INFO}: fps is {rate}; only {CONTROL_RATE:g} can be read, because an action is "
            f"a step of {1 / CONTROL_RATE:g} s. Resample the data set, adding up its actions, "
            "before importing it"
        )

    return info


def _check_version(root: Path, version: str) -> None:
    """Refuse another version of the format, with the command that converts it."""
    if version == VERSION:
        return
    advice = ""
    if version.startswith("v2."):
        advice = (
            "; convert it in LeRobot's environment with python -m "
            "lerobot.scripts.convert_dataset_v21_to_v30 "
            f"--repo-id=NAME --root={root} --push-to-hub=false"
        )

    raise RecordError(
        f"{INFO}: codebase_version is {version}, this version reads {VERSION}{advice}"
    )


def _check_features(features: Mapping[str, Any]) -> None:
    """Refuse features without type and shape; raises ValueError, TypeError, AttributeError."""
    for key, feature in features.items():
        shape = feature.get("shape")
        has_type = isinstance(feature.get("dtype"), str)
        if not has_type or not isinstance(shape, list) or not shape:
            raise ValueError(f"feature {key!r} has no dtype or no shape")
        dimensions = 3 if feature["dtype"] in ("image", "video") else len(shape)
        if [type(size) for size in shape] != [int] * dimensions:
            raise ValueError(
                f"feature {key!r} has shape {shape}; expected integers, "
                "of images three of them"
            )
        is_depth(feature)


# Tables of episodes and tasks
# ---------------------------------------------------------------------------------------


def _read_episodes(
    root: Path, tables: Sequence[str], total: int
) -> dict[int, dict[str, Any]]:
    """Return the rows of the table of episodes by number, without statistics.

    Args:
        root: Folder of the data set.
        tables: Files of the table.
        total: Number of episodes that `INFO` gives.

    Raises:
        RecordError: If the numbers differ, or a file is damaged.
    """
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

    episodes = {}
    for name in tables:
        for row in _read_rows(root, name):
            if isinstance(row.get("episode_index"), int):
                episodes[row["episode_index"]] = row

    if len(episodes) != total:
        raise RecordError(
            f"{EPISODES} lists an episode twice, or one without its episode_index"
        )

    return episodes


def _read_rows(root: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a file of the table of episodes, without statistics."""
    with reading(name) as parquet, parquet.ParquetFile(root / name) as table:
        columns = []
        for column in table.schema_arrow.names:
            if not column.startswith("stats/"):
                columns.append(column)
        return table.read(columns, use_threads=False).to_pylist()


def _read_tasks(root: Path) -> dict[int, str]:
    """Return the tasks by number; raises RecordError if the table is damaged."""
    with reading(TASKS) as parquet:
        table = parquet.read_table(root / TASKS, partitioning=None, use_threads=False)

    others = [name for name in table.column_names if name != "task_index"]
    if len(others) != 1 or "task_index" not in table.column_names:
        raise RecordError(
            f"{TASKS} has columns {', '.join(table.column_names)}; "
            "expected task_index and the task"
        )

    numbers = table["task_index"].to_pylist()
    tasks = dict(zip(numbers, table[others[0]].to_pylist(), strict=True))
    if not all(isinstance(task, str) for task in tasks.values()):
        raise RecordError(f"{TASKS} names a task by a value that is not text")
    return tasks


# meta/card.yaml
# ---------------------------------------------------------------------------------------


def _read_store_info(
    root: Path, features: Mapping[str, Any], episodes: Mapping[int, dict[str, Any]]
) -> DatasetInfo | None:
    """Return the metadata of the store that `ptr convert` made a data set of.

    None if it was made by other means, or does not hold all of the store any more.
    """
    has_ids = all(_has_store_keys(row) for row in episodes.values())
    if not has_ids or STAMP not in features or not (root / CARD).exists():
        return None
    return read_info((root / CARD).parent)


def _has_store_keys(row: Mapping[str, Any]) -> bool:
    """Return whether a row of the table of episodes holds the fields of an `Episode`."""
    if not isinstance(row.get(f"{STORE_PREFIX}id"), str):
        return False
    return all(STORE_PREFIX + key in row for key in STORE_KEYS)
