"""The files of LeRobot data sets: Parquet tables and videos, numbered in chunks.

PyArrow is an optional dependency: this module imports it where it is needed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.files import sha256
from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError, check_contents
from ptr_training.importers.video import VideoWriter

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE}.mp4"
EPISODES_PATH = f"meta/episodes/{FILE}.parquet"
FILES_PER_CHUNK = 1000
DATA_MEGABYTES, VIDEO_MEGABYTES = 100, 200
"""Sizes of the largest files [2**20 bytes]."""

# Reading
# ---------------------------------------------------------------------------------------


def import_parquet() -> ModuleType:
    """Return the module `pyarrow.parquet`; raises TrainingError with how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TrainingError(
            "LeRobot data sets need pyarrow, which is not installed: pip install pyarrow"
        ) from error
    return pyarrow.parquet


@contextlib.contextmanager
def reading(name: str) -> Iterator[ModuleType]:
    """Give `pyarrow.parquet` for reading a file.

    Args:
        name: Of the file, for messages.

    Raises:
        RecordError: If the file is missing or damaged.
    """
    parquet = import_parquet()
    from pyarrow import ArrowException

    try:
        yield parquet
    except FileNotFoundError as error:
        raise RecordError(
            f"{name} is missing; copy or download the data set again"
        ) from error
    except (ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        # the last three for columns of another type
        first_line = str(error).partition("\n")[0]
        raise RecordError(f"{name} cannot be read: {first_line}") from error


def digest(root: Path, names: Iterable[str]) -> str:
    """Return one SHA-256 for several files; raises RecordError if one is missing.

    Args:
        root: Folder of the data set.
        names: Paths below it.
    """
    joined = hashlib.sha256()
    for name in names:
        with reading(name):
            file = root / name
            joined.update(_sha256(file, file.stat().st_mtime_ns).encode())
    return joined.hexdigest()


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, _changed_ns: int) -> str:
    """Return the SHA-256 of a file; kept until it changes, since it holds many episodes."""
    return sha256(file)


def check_inside(root: Path, name: str) -> None:
    """Refuse a path that leads out of a data set, as a link may, or to no contents.

    In the cache of a hub, the files of `snapshots/<hash>` are links to those in `blobs`.

    Args:
        root: Folder of the data set.
        name: Path below it.

    Raises:
        TrainingError: If it leads out, or is a Git LFS pointer.
    """
    target = (root / name).resolve()
    blobs = root
    if root.parent.name == "snapshots":
        blobs = root.parents[1] / "blobs"
    if not target.is_relative_to(root) and not target.is_relative_to(blobs):
        raise TrainingError(f"{root}: path {name!r} leads out of the data set")
    check_contents(target)


# Writing
# ---------------------------------------------------------------------------------------


class _NumberedFiles(ExitStack):
    """Files of limited size, numbered as the format has it; one is open at a time."""

    def __init__(self, folder: Path, pattern: str, megabytes: float) -> None:
        """Prepare to write.

        Args:
            folder: Of the data set.
            pattern: Path below it, with `chunk_index` and `file_index`.
            megabytes: Largest size of a file [2**20 bytes].
        """
        super().__init__()
        self._folder = folder
        self._pattern = pattern
        self._limit = megabytes * 2**20
        self._number = -1
        self._used = 0  # bytes in the open file

    @property
    def numbers(self) -> dict[str, int]:
        """Numbers of the open file: `chunk_index` and `file_index`."""
        chunk, file = divmod(self._number, FILES_PER_CHUNK)
        return {"chunk_index": chunk, "file_index": file}

    def _begin_for(self, size: int) -> Path | None:
        """Return the file to open before more is written; None if the open one has room.

        Args:
            size: Bytes to be written.
        """
        is_empty = self._number >= 0 and not self._used
        fits = self._number >= 0 and self._used + size <= self._limit
        if is_empty or fits:
            return None
        self.close()
        self._number += 1
        self._used = 0
        file = self._folder / self._pattern.format(**self.numbers)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


class TableFiles(_NumberedFiles):
    """Parquet files; each table becomes one row group, to be read without the others."""

    def __init__(self, folder: Path, pattern: str) -> None:
        """Prepare to write.

        Args:
            folder: Of the data set.
            pattern: Path below it, with `chunk_index` and `file_index`.
        """
        super().__init__(folder, pattern, DATA_MEGABYTES)
        self._writer: ParquetWriter

    def add(self, table: pyarrow.Table, numbers_prefix: str = "") -> dict[str, int]:
        """Write a table; return the numbers of its file.

        Args:
            table: To write.
            numbers_prefix: If given, the table also gets columns with the numbers of its
                file, named with this prefix.
        """
        file = self._begin_for(table.nbytes)
        if numbers_prefix:
            for key, number in self.numbers.items():
                column = [np.full(len(table), number)]
                table = table.append_column(numbers_prefix + key, column)

        if file:
            parquet_writer = import_parquet().ParquetWriter(
                file,
                table.schema,
                use_dictionary=False,  # of no use for images; so are their statistics
                write_statistics=["episode_index"],
            )
            self._writer = self.enter_context(parquet_writer)

        self._writer.write_table(table)
        self._used += table.nbytes
        return self.numbers


class VideoFiles(_NumberedFiles):
    """Videos of one camera, each of many episodes."""

    def __init__(self, folder: Path, camera: str, rate: int) -> None:
        """Prepare to write.

        Args:
            folder: Of the data set.
            camera: Feature of the camera.
            rate: Images per second.
        """
        pattern = VIDEO_PATH.replace("{video_key}", camera)
        super().__init__(folder, pattern, VIDEO_MEGABYTES)
        self._camera = camera
        self._rate = rate
        self._writer: VideoWriter

    def add(self, frames: np.ndarray) -> dict[str, Any]:
        """Append the images of an episode; return the columns that say where they are.

        Args:
            frames: Shape (n, height, width, 3), uint8 RGB.
        """
        file = self._begin_for(frames.nbytes)  # encoded, they are smaller than that
        if file:
            writer = VideoWriter(file, self._rate, *frames.shape[1:3])
            self._writer = self.enter_context(writer)
        start = self._writer.images
        for frame in frames:
            self._writer.add(frame)

        self._used = self._writer.size
        prefix = f"videos/{self._camera}"
        return {
            f"{prefix}/chunk_index": self.numbers["chunk_index"],
            f"{prefix}/file_index": self.numbers["file_index"],
            f"{prefix}/from_timestamp": start / self._rate,
            f"{prefix}/to_timestamp": self._writer.images / self._rate,
        }
