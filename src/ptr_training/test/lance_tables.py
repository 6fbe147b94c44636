"""Lance tables of the frames that `ptr convert` writes, in the forms that a table may have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow
from pyarrow import parquet

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.store import EpisodeStore
from ptr_training.importers.lerobot import writer

SIZE = 16
SEVEN = "0,1,2,3,4,5,6"
CAMERA = "observation.images.front"
BLOB = {b"lance-encoding:blob": b"true"}
INFO = DatasetInfo(
    "toy", "front", SIZE, SIZE, image_height=SIZE, image_width=SIZE, licence="MIT"
)


def write_store(path: Path, lengths: Sequence[int] = (3, 5, 2, 4)) -> Path:
    """Write episodes of which image, state, commands and stamps all tell which they are."""
    with EpisodeWriter(path, INFO) as store:
        for number, length in enumerate(lengths):
            rng = np.random.default_rng([number, length])
            requested = rng.uniform(-0.02, 0.02, (length, 7)).astype(np.float32)
            requested[:, 6] = rng.uniform(0, 1, length)
            store.add(
                Episode(
                    id=f"toy/{number:06d}",
                    task=["put a in b", "open c"][number % 2],
                    frames=rng.integers(0, 256, (length + 1, SIZE, SIZE, 3), np.uint8),
                    stamps_ns=10**9 + np.arange(length + 1) * 200_000_001,
                    proprio=rng.normal(0, 0.1, (length + 1, 7)).astype(np.float32),
                    requested=requested,
                    executed=0.5 * requested,
                    outcome=["success", "failure"][number // 2 % 2],
                )
            )
    return path


def frames_of(folder: Path) -> pyarrow.Table:
    """Return the frames of a new store, with the columns of LeRobot and `task`."""
    store = EpisodeStore.open(write_store(folder / "store"))
    writer.write(store, folder / "set")
    table = parquet.read_table(next((folder / "set/data").rglob("*.parquet")))
    tasks = parquet.read_table(folder / "set/meta/tasks.parquet")
    names = dict(
        zip(tasks["task_index"].to_pylist(), tasks["task"].to_pylist(), strict=True)
    )
    texts = [names[number] for number in table["task_index"].to_pylist()]
    return table.append_column("task", pyarrow.array(texts))


def images_as(form: str, cells: Sequence[dict]) -> tuple[pyarrow.Field, pyarrow.Array]:
    """Return the type and the values of a column of images.

    Args:
        form: bytes, large, struct, blob, tensor or lists.
        cells: Images as LeRobot has them.
    """
    if form == "struct":
        kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
        return pyarrow.field("front", kind), pyarrow.array(cells, kind)
    files = [cell["bytes"] for cell in cells]
    if form in ("bytes", "large", "blob"):
        kind = pyarrow.binary() if form == "bytes" else pyarrow.large_binary()
        field = pyarrow.field("front", kind, metadata=BLOB if form == "blob" else None)
        return field, pyarrow.array(files, kind)
    pixels = np.stack([_decoded(each) for each in files])
    if form == "tensor":
        array = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    else:
        array = pyarrow.array(pixels.ravel())
        for size in pixels.shape[:0:-1]:
            array = pyarrow.FixedSizeListArray.from_arrays(array, size)
    return pyarrow.field("front", array.type), array


def _decoded(file: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def in_structures(frames: pyarrow.Table, form: str = "struct") -> pyarrow.Table:
    """Return frames with a structure for each dot of their columns' names."""
    tree: dict[str, dict | tuple] = {}
    for key in frames.column_names:
        *above, name = key.split(".")
        place: dict = tree
        for part in above:
            place = place.setdefault(part, {})
        place[name] = _column(frames, key, form)
    return pyarrow.Table.from_batches(
        [pyarrow.RecordBatch.from_struct_array(_structure(tree)[1])]
    )


def _structure(tree: dict) -> tuple[pyarrow.Field, pyarrow.StructArray]:
    """Return a structure of columns and structures, as field without a name and values."""
    fields, arrays = [], []
    for name, part in tree.items():
        field, array = _structure(part) if isinstance(part, dict) else part
        fields.append(field.with_name(name))
        arrays.append(array)
    array = pyarrow.StructArray.from_arrays(arrays, fields=fields)
    return pyarrow.field("", array.type), array


def _column(
    frames: pyarrow.Table, key: str, form: str
) -> tuple[pyarrow.Field, pyarrow.Array]:
    if key == CAMERA:
        return images_as(form, frames[key].to_pylist())
    array = frames[key].combine_chunks()
    return pyarrow.field(key, array.type), array


def with_underscores(frames: pyarrow.Table, form: str = "struct") -> pyarrow.Table:
    """Return frames with an underscore for each dot of their columns' names."""
    fields, arrays = [], []
    for key in frames.column_names:
        field, array = _column(frames, key, form)
        fields.append(field.with_name(key.replace(".", "_")))
        arrays.append(array)
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
