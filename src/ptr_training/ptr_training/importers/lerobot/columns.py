"""The columns of a table of frames in LeRobot's names: numbers, rows of seven, outcome.

Lance tables (importers/lance) hold the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_training.importers.base import RecordError, as_floats, rows_of_seven

from .data_set import COMMANDS, REWARD, STAMP, SUCCESS

if TYPE_CHECKING:
    import pyarrow


def scalars(table: pyarrow.Table, key: str) -> np.ndarray:
    """Return a column of one number or of a list of one, shape (rows,)."""
    return np.array([_scalar(value) for value in table[key].to_pylist()])


def _scalar(value: Any) -> Any:
    """Return a value, or the first one of a list, None of an empty list."""
    if not isinstance(value, list):
        return value
    return value[0] if value else None


def vectors(table: pyarrow.Table, key: str, indices: Sequence[int]) -> np.ndarray:
    """Return seven dimensions of a column, shape (rows, 7), float32.

    Args:
        table: Frames of an episode.
        key: Name of the column.
        indices: Of the seven dimensions.

    Raises:
        RecordError: If the column holds anything else.
    """
    values = as_floats(table[key].to_pylist(), f"values of {key}")
    if values.ndim != 2 or values.shape[1] <= max(indices):
        raise RecordError(
            f"the values of {key} have shape {values.shape}, expected (frames, "
            f"{max(indices) + 1} or more)"
        )
    return rows_of_seven(values[:, list(indices)], f"values of {key}")


def commands(table: pyarrow.Table, action: np.ndarray) -> dict[str, np.ndarray]:
    """Return the commands `requested` and `executed`, each (rows, 7).

    Args:
        table: Frames of an episode; `ptr convert` adds the command that `action` is not.
        action: The column `action`, shape (rows, 7).
    """
    found = {}
    for name, key in COMMANDS.items():
        found[name] = action
        if key in table.column_names:
            found[name] = vectors(table, key, range(7))
    return found


def store_stamps(table: pyarrow.Table) -> np.ndarray:
    """Return the stamps [ns] that `ptr convert` adds, shape (rows,), int64.

    Raises:
        RecordError: If they are no integers.
    """
    stamps = scalars(table, STAMP)
    if stamps.dtype != np.int64:
        raise RecordError(f"{STAMP} holds {stamps.dtype}, expected int64")
    return stamps


def outcome(table: pyarrow.Table) -> str:
    """Return the outcome of an episode, "" if its frames do not contain it."""
    if SUCCESS in table.column_names:
        return "success" if scalars(table, SUCCESS).any() else "failure"
    if REWARD in table.column_names:
        rewards = set(scalars(table, REWARD).tolist())
        if rewards <= {0.0, 1.0}:
            return "success" if 1.0 in rewards else "failure"
    return ""


def one_task(names: Sequence[str]) -> str:
    """Return the one task of an episode; raises RecordError if its frames name several."""
    different = list(dict.fromkeys(names))
    if len(different) > 1:
        raise RecordError(
            f"it has several tasks, {', '.join(map(repr, different))}; split it"
        )
    return different[0]
