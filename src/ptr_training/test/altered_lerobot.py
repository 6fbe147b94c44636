"""Reads the data set that LeRobot wrote, and alters copies of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lerobot_reference as reference
import pyarrow
import pyarrow.parquet as parquet

from ptr_training.data.episode import Episode
from ptr_training.importers.base import ImportOptions, SourceEpisode
from ptr_training.importers.lerobot.reader import find, read
from ptr_training.importers.to_episode import to_episode

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.side/chunk-000/file-000.mp4"
IMAGES = "observation.images.image_0"
FRONT = ImportOptions(camera="image_0")
SIDE = ImportOptions(camera="side")


def read_first(root: Path, **options: Any) -> SourceEpisode:
    """Return the first episode of a data set as it holds it."""
    return read(find([root])[0], ImportOptions(**({"camera": "image_0"} | options)))


def imported(source: SourceEpisode, options: ImportOptions = FRONT) -> Episode:
    """Return an episode as a store holds it, its images in their own size."""
    return to_episode(source, options, reference.SIZE)[0]


def retell(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Alter what meta/info.json says."""
    file = root / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


def set_column(file: Path, name: str, values: list) -> None:
    table = parquet.read_table(file)
    index = table.column_names.index(name)
    parquet.write_table(
        table.set_column(index, name, pyarrow.array(values, table.schema.field(name).type)),
        file,
    )


def add_feature(root: Path, name: str, values: list) -> None:
    file = root / DATA
    parquet.write_table(
        parquet.read_table(file).append_column(name, pyarrow.array(values)), file
    )
    retell(
        root,
        lambda info: info["features"].update(
            {name: {"dtype": "float32", "shape": [1], "names": None}}
        ),
    )


def drop(root: Path, name: str) -> None:
    retell(root, lambda info: info["features"].pop(name))
