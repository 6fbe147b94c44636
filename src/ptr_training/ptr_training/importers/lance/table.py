"""A Lance table on this computer: one version of it, its columns, and rows of them.

pylance is an optional dependency: this module imports it where it is needed. A table may come
from anybody: nothing outside its folder is opened, whatever it names, and only columns and
rows that are asked for are read.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_training.errors import TrainingError
from ptr_training.importers.base import RecordError
from ptr_training.importers.lerobot.files import check_inside

if TYPE_CHECKING:
    import pyarrow

VERSIONS = "_versions"
"""Folder of a table with a manifest for each of its versions."""

INSTALL = "pip install -r requirements/optional/lance.txt"

Names = tuple[str, ...]
"""Names from a top column down to a field of a structure."""

_REMOTE = re.compile(r"[A-Za-z][\w+.-]+:/")
_AT_VERSION = re.compile(r"(.+)@(\d{1,18})")


def import_lance() -> ModuleType:
    """Return the module `lance`; raises TrainingError with how to install it."""
    try:
        import lance
    except ImportError as error:
        raise TrainingError(
            f"Lance tables need the package pylance, which is not installed: {INSTALL}"
        ) from error
    return lance


@contextlib.contextmanager
def reading(place: str) -> Iterator[None]:
    """Read from a table.

    Args:
        place: What is read, for messages.

    Raises:
        RecordError: If it is damaged.
    """
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError, TypeError, RuntimeError) as error:
        raise RecordError(f"{place} cannot be read: {_first_words(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust code, and no Exception
            raise
        raise RecordError(f"{place} cannot be read: {_first_words(error)}") from error


def _first_words(error: BaseException) -> str:
    """Return what an error says, without the place in Lance's own source code."""
    return str(error).partition("\n")[0].partition(", /")[0]


@dataclass(frozen=True)
class Column:
    """A column, or a field of a structure in one."""

    path: Names
    type: pyarrow.DataType
    is_blob: bool  # read by another call than the others

    @property
    def name(self) -> str:
        """Its name as Lance takes it."""
        return ".".join(self.path)

    @property
    def is_images(self) -> bool:
        """Whether it can hold images: encoded bytes, or tensors of uint8."""
        return self.is_blob or is_encoded(self.type) or bool(tensor_shape(self.type))


@dataclass(frozen=True)
class Table:
    """One version of a table."""

    root: Path
    version: int
    data: Any  # lance.LanceDataset
    columns: dict[str, Column]  # by their names

    @property
    def name(self) -> str:
        """The name of its folder, without the ending."""
        return self.root.name.removesuffix(".lance")

    @property
    def place(self) -> str:
        """The table and its version, for messages."""
        return f"{self.root}, version {self.version}"

    def find(self, key: str) -> Column | None:
        """Return a column by the name that LeRobot gives it, None if it is not there.

        Lance has no dots in the names of columns: it is a field of a structure
        (`observation` with `state`), or a column with `_` for each dot.
        """
        return self.columns.get(key) or self.columns.get(key.replace(".", "_"))

    def column_of_integers(self, key: str) -> np.ndarray:
        """Return a whole column, shape (rows,), int64; deleted rows are not in it.

        Raises:
            RecordError: If it is damaged, or a value is missing or no integer.
        """
        from pyarrow import types

        column = self.columns[key]
        parts = []
        with reading(f"{self.place}: {key}"):
            for batch in self.data.to_batches(columns=[column.name], scan_in_order=True):
                values = batch.column(0)
                if values.null_count or not types.is_integer(values.type):
                    raise RecordError(
                        f"{self.place}: {key} is {values.type} with {values.null_count} "
                        "missing values; expected an integer in each row"
                    )
                parts.append(values.to_numpy(zero_copy_only=False).astype(np.int64))
        return np.concatenate(parts) if parts else np.array([], np.int64)

    def take(self, rows: np.ndarray, columns: dict[str, Column]) -> pyarrow.Table:
        """Return some columns of some rows, in the order given; blobs as their places.

        Args:
            rows: Numbers of the rows, from 0 in the order of the table, deleted ones left out.
            columns: By the names to give them.

        Raises:
            RecordError: If they are damaged.
        """
        import pyarrow
        import pyarrow.compute

        names = [column.name for column in columns.values()]
        with reading(f"{self.place}: {', '.join(names)}"):
            table = self.data.take(rows.tolist(), columns=names)
            arrays = {}
            for key, column in columns.items():
                cells = table[column.path[0]]
                for part in column.path[1:]:
                    cells = pyarrow.compute.struct_field(cells, part)
                arrays[key] = cells
            return pyarrow.table(arrays)

    def blobs(self, rows: np.ndarray, column: Column) -> list[bytes | None]:
        """Return the contents of a blob column in some rows, in the order given.

        Raises:
            RecordError: If they are damaged, or lie outside the table.
        """
        places = self.take(rows, {"blob": column})["blob"].to_pylist()
        outside = [place["blob_uri"] for place in places if (place or {}).get("blob_uri")]
        if outside:
            raise RecordError(
                f"{self.place}: {column.name} names the image {outside[0]!r} outside the table, "
                "which is not opened; write the images into the table"
            )
        with reading(f"{self.place}: {column.name}"):
            found = self.data.read_blobs(
                column.name, indices=rows.tolist(), preserve_order=True
            )
        return [content for _, content in found]


# Opening
# ---------------------------------------------------------------------------------------


def open_table(path: Path) -> Table:
    """Return a table in its latest version, or in that of `TABLE@VERSION`.

    Raises:
        TrainingError: If there is no such table or version on this computer, it is damaged,
            parts of it lie elsewhere, or pylance is not installed.
    """
    version = 0
    if (match := _AT_VERSION.fullmatch(str(path))) and not path.exists():
        path, version = Path(match[1]), int(match[2])
    _check_is_table(path)
    lance = import_lance()
    root = path.resolve()
    if not version:
        with _opening(root):
            version = lance.dataset(str(root)).version
    return open_version(root, version)


@functools.lru_cache(maxsize=16)
def open_version(root: Path, version: int) -> Table:
    """Return one version of a table; kept, since nothing changes a version.

    Raises:
        TrainingError: As `open_table`.
    """
    lance = import_lance()
    try:
        with _opening(root):
            data = lance.dataset(str(root), version=version)
            columns = dict(_columns(data.schema, ()))
            _check_files(root, data)
    except TrainingError as error:
        with _opening(root):
            present = [each["version"] for each in lance.dataset(str(root)).versions()]
        if version in present:
            raise
        raise TrainingError(
            f"{root} has no version {version}; there are: {', '.join(map(str, present))}"
        ) from error
    return Table(root, version, data, columns)


def _check_is_table(path: Path) -> None:
    """Refuse what is no table on this computer."""
    if _REMOTE.match(str(path)) and not path.exists():
        raise TrainingError(
            f"{path} is the address of a table elsewhere; only tables on this computer are "
            "opened: copy it, and give the path of its folder"
        )
    if (path / VERSIONS).is_dir():
        return
    advice = ""
    if tables := sorted(each.name for each in path.glob("*.lance")):
        advice = f"; it holds {', '.join(tables)}: give one of them"
    raise TrainingError(
        f"{path} is no Lance table: it has no folder {VERSIONS}; expected a folder TABLE.lance, "
        f"or TABLE.lance@VERSION{advice}"
    )


@contextlib.contextmanager
def _opening(root: Path) -> Iterator[None]:
    """Open a table; raises TrainingError if that fails."""
    for manifest in (root / VERSIONS).iterdir():
        check_inside(root, f"{VERSIONS}/{manifest.name}")
    try:
        with reading(str(root)):
            yield
    except RecordError as error:
        raise TrainingError(str(error)) from error


def _check_files(root: Path, data: Any) -> None:
    """Refuse a table of which a file lies outside its folder or is no contents."""
    elsewhere = [str(base.path) for base in data.base_paths().values()]
    if elsewhere:
        raise TrainingError(
            f"{root} has rows in other folders, which are not opened: {elsewhere[0]}; "
            "write all of it into one table"
        )
    for fragment in data.get_fragments():
        for file in fragment.data_files():
            check_inside(root, f"data/{file.path}")


# Columns and their types
# ---------------------------------------------------------------------------------------


def _columns(fields: Sequence[pyarrow.Field], above: Names) -> Iterator[tuple[str, Column]]:
    """Yield the names and columns of a schema, those in structures included."""
    import pyarrow

    for field in fields:
        path = (*above, field.name)
        metadata = field.metadata or {}
        is_blob = metadata.get(b"lance-encoding:blob") == b"true"
        is_blob |= getattr(field.type, "extension_name", "") == "lance.blob.v2"
        yield ".".join(path), Column(path, field.type, is_blob)
        if pyarrow.types.is_struct(field.type) and not is_encoded(field.type):
            yield from _columns(list(field.type), path)


def is_encoded(kind: pyarrow.DataType) -> bool:
    """Return whether a type is that of files: bytes, or LeRobot's structure with bytes."""
    from pyarrow import types

    if types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return types.is_binary(kind) or types.is_large_binary(kind)


def tensor_shape(kind: pyarrow.DataType) -> tuple[int, ...]:
    """Return the shape of a type of images of uint8, () of any other type."""
    from pyarrow import types

    if getattr(kind, "extension_name", "") == "arrow.fixed_shape_tensor":
        in_order = kind.permutation in (None, [0, 1, 2])
        is_image = types.is_uint8(kind.value_type) and in_order and len(kind.shape) == 3
        return tuple(kind.shape) if is_image else ()
    shape = []
    while types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    return tuple(shape) if types.is_uint8(kind) and len(shape) == 3 else ()
