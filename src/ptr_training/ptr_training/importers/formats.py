"""The formats that `ptr import` reads, and records of one into episodes, in several processes.

A format is a module with two functions, `find` and `read`, and an entry in `FORMATS`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from ptr_training.data.episode import Episode
from ptr_training.data.workers import WorkerPool, in_order

from . import bridge_numpy, bridge_raw, rlds
from .audit import Entry
from .base import (
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
)
from .lance import reader as lance
from .lerobot import reader as lerobot
from .to_episode import to_episode


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
    "lance": Format(
        find=lance.find,
        read=lance.read,
        info=lance.info_fields,
        options=frozenset({"state", "action"}),
    ),
    "rlds": Format(rlds.find, rlds.read),
}


RECORDS_PER_JOB = 8
"""Records that a process gets at a time.

Few enough to wait in memory; neighbours, so that a file is opened once.
"""

RECORDS_PER_WORKER = 50
"""Another process is started for this many records: starting one takes a second."""

Result = tuple[Entry, Episode | None]
"""The audit's entry of a record, and its episode unless it is damaged or left out."""


@dataclass(frozen=True)
class RecordReader:
    """Reads records with the same options."""

    format_name: str  # key of FORMATS
    options: ImportOptions
    size: tuple[int, int]  # height and width of the stored images [pixels]
    workers: int = 0  # processes; 0: as many as pay off

    def read_all(self, records: Sequence[Record]) -> Generator[Result, None, None]:
        """Yield the result of each record, in their order."""
        starts = range(0, len(records), RECORDS_PER_JOB)
        jobs = [records[start : start + RECORDS_PER_JOB] for start in starts]
        workers = self.workers or _worth_it(len(records))
        cv2.setNumThreads(1)  # the processes share the work, not the threads of one image
        with contextlib.ExitStack() as stack:
            results: Iterable[list[Result]]
            if workers > 1:
                pool = WorkerPool(workers, cv2.setNumThreads, 1)
                stack.callback(pool.shutdown, wait=True, cancel_futures=True)
                results = in_order(pool, self.read_several, jobs, ahead=2 * workers)
            else:
                results = map(self.read_several, jobs)
            for several in results:
                yield from several

    def read_several(self, records: Sequence[Record]) -> list[Result]:
        """Return the result of each record."""
        return [self.read(record) for record in records]

    def read(self, record: Record) -> Result:
        """Return the result of a record."""
        entry: Entry = {"record": record.label, "bytes": record.size}
        try:
            source = FORMATS[self.format_name].read(record, self.options)
            episode, described = to_episode(source, self.options, self.size)
        except SkipRecord as skipped:
            entry["fate"] = skipped.status.value
            if str(skipped):
                entry["reason"] = str(skipped)
            return entry, None
        except RecordError as error:
            return entry | {"fate": RecordStatus.BAD.value, "reason": str(error)}, None

        return entry | {"fate": RecordStatus.USED.value} | described, episode


def _worth_it(records: int) -> int:
    """Return the number of processes that pay off for a number of records."""
    return max(1, min(len(os.sched_getaffinity(0)), records // RECORDS_PER_WORKER))
