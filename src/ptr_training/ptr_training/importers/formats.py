"""The formats that `ptr import` reads.

A format is a module with two functions, `find` and `read`, and an entry in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bridge_numpy, bridge_raw, lerobot, rlds
from .base import ImportOptions, Record, SourceEpisode


def _no_fields(_records: Sequence[Record], _options: ImportOptions) -> Mapping[str, Any]:
    """Return no fields: the sources of a format contain no metadata of a store."""
    return {}


@dataclass(frozen=True)
class Format:
    """A format of prior data."""

    find: Callable[[Sequence[Path]], list[Record]]
    """Returns the records at some paths; their order depends on the names alone."""

    read: Callable[[Record, ImportOptions], SourceEpisode]
    """Returns the episode of a record.

    Raises RecordError if the record is damaged, SkipRecord if it is not wanted.
    """

    info: Callable[[Sequence[Record], ImportOptions], Mapping[str, Any]] = _no_fields
    """Returns the fields of `DatasetInfo` that the sources contain."""

    options: frozenset[str] = frozenset()
    """Fields of `ImportOptions` that other formats do not have."""


FORMATS = {
    "bridge-numpy": Format(bridge_numpy.find, bridge_numpy.read),
    "bridge-raw": Format(bridge_raw.find, bridge_raw.read),
    "lerobot": Format(
        find=lerobot.find,
        read=lerobot.read,
        info=lerobot.info_fields,
        options=frozenset({"state", "action"}),
    ),
    "rlds": Format(rlds.find, rlds.read),
}
