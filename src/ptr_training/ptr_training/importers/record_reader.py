"""Reads the records of one format into episodes, in several processes, in their order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import cv2

from ptr_training.data.episode import Episode
from ptr_training.data.workers import WorkerPool, in_order

from .audit import Entry
from .base import ImportOptions, Record, RecordError, RecordStatus, SkipRecord
from .formats import FORMATS
from .to_episode import to_episode

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
