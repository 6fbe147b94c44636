"""Imports in shards: parts of one import that are read apart, and then merged.

Shard I of N holds the I-th of N nearly equal parts of the records, as they were read: nothing
is decided yet that depends on the records of other shards. `merge_shards` goes through all of
them in order and decides as an import in one piece does, so the store is the same to the byte
for any number of shards.

A shard is the folder that resumable_writer.py keeps, under a name of its own beside the store:
`frames.npy` (pixels after an empty header), `steps.part` and `journal.jsonl`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from ptr_common.documents import Fields, parse_json
from ptr_common.errors import PtrError
from ptr_training.data.episode import (
    HEADER_BYTES,
    STEP,
    Episode,
    EpisodeWriter,
    StoreError,
)
from ptr_training.data.store import MAX_ROWS, dataset_info, episode_entry, episode_of
from ptr_training.errors import TrainingError

from .audit import Entry, Ledger, check_unchanged, place_of, refuse_bad, summarise
from .base import RecordStatus
from .formats import Result
from .import_store import Request, complete, find_records, read_records
from .resumable_writer import KeptDigests, ResumableWriter

MAX_SHARDS = 9999
"""Most shards of an import."""

MAX_RECORDS = 1 << 40
"""Most records of an import."""

REMEDY = "remove the folder and read the shard again"
"""What to do about a damaged shard."""


@dataclass(frozen=True)
class Shard:
    """Which part of an import: number `index` of `count`, counted from 0."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text such as 2/8 names.

        Raises:
            argparse.ArgumentTypeError: If it names none.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match:
            index, count = int(match[1]), int(match[2])
            if index < count <= MAX_SHARDS:
                return cls(index, count)
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shard; give I/N with I from 0 to N - 1 and N up to {MAX_SHARDS}"
        )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def folder(self, out: Path) -> Path:
        """Return the folder of the shard, given that of the store."""
        return out.with_name(f"{out.name}.shard-{self.index}-of-{self.count}")

    def part(self, total: int) -> slice:
        """Return which of `total` records are the shard's."""
        return slice(
            total * self.index // self.count, total * (self.index + 1) // self.count
        )


class _ShardWriter(ResumableWriter):
    """Keeps episodes as they were read; equal ids are decided about when shards are merged."""

    def add(self, episode: Episode) -> None:
        """Append one episode."""
        self._ids.clear()
        super().add(episode)

    def _finish(self) -> None:
        """Leave everything as it is kept."""


# Reading a shard
# ---------------------------------------------------------------------------------------


def import_shard(request: Request, shard: Shard) -> Path:
    """Read one shard of an import; a run that was stopped goes on.

    Returns:
        The folder of the shard.

    Raises:
        PtrError: If there is nothing to import, a record is damaged, or the shard exists.
    """
    if request.limit:
        raise PtrError(
            f"--limit is {request.limit}, which no shard can keep; leave it out with --shard"
        )
    found = find_records(request)
    records = found.records[shard.part(len(found.records))]
    origin = {
        "origin": request.origin(found.info),
        "info": asdict(found.info),
        "sources": [{"name": name, "records": count} for name, count in found.sources],
        "shard": str(shard),
    }
    folder = shard.folder(request.out)
    with _ShardWriter(folder, found.info, origin) as writer:
        check_unchanged(records, writer.kept, writer.partial)
        with read_records(request, found.info, records[len(writer.kept) :]) as bar:
            for record, (entry, episode) in bar:
                refuse_bad(place_of(record), entry, request.skip_bad)
                if episode is not None:
                    writer.add(episode)
                writer.keep(entry)
    return folder


# Merging
# ---------------------------------------------------------------------------------------


class _Part:
    """A shard that was read.

    Attributes:
        folder: Its folder.
        made_of: What decides the contents of the store; equal in all shards of an import.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = folder / "journal.jsonl"
        with _reading(self._journal) as stream:
            first = self._fields(stream.readline(), 0).table("made of")
        self._begins_with = json.dumps(first.values).encode()
        self.made_of = {**first.values, "shard": None}
        self.info = dataset_info(first.table("info").values, self._journal)
        self.origin = first.table("origin").values
        self.sources = []
        for source in first.tables("sources"):
            fields = Fields(source, self._journal, StoreError, remedy=REMEDY)
            count = fields.integer("records", 0, MAX_RECORDS)
            self.sources.append((fields.text("name"), count))

    @property
    def total(self) -> int:
        """Number of records of the import, in all shards."""
        return sum(count for _, count in self.sources)

    def results(self) -> Iterator[Result]:
        """Yield the records in order, each with its episode if there is one.

        Raises:
            StoreError: If the shard was altered or cut off.
        """
        digests = KeptDigests()
        digests.journal.update(self._begins_with)
        frame = (self.info.image_height, self.info.image_width, 3)
        with (
            _reading(self._journal) as journal,
            _reading(self.folder / "frames.npy") as frames_file,
            _reading(self.folder / "steps.part") as rows_file,
        ):
            journal.readline()
            frames_file.seek(HEADER_BYTES)
            for number, text in enumerate(journal, start=1):
                line = self._fields(text, number)
                kept = None
                steps_data = frames_data = b""
                for values in line.tables("episodes"):  # one, or none
                    kept = episode_entry(self._fields(values, number))
                    count = kept.length + 1
                    steps_data = rows_file.read(count * STEP.itemsize)
                    frames_data = frames_file.read(count * math.prod(frame))
                digests = digests.after(line.values, frames_data, steps_data)
                if list(line.texts("digests")) != digests.texts():
                    raise StoreError(
                        f"{self.folder}: record {number} is altered or cut off; {REMEDY}"
                    )
                entry = _checked(line.table("note"))
                if kept is None:
                    yield entry, None
                    continue
                steps = np.frombuffer(steps_data, STEP)
                frames = np.frombuffer(frames_data, np.uint8).reshape(-1, *frame)
                yield entry, episode_of(kept, steps, frames)

    def _fields(self, line: bytes | dict[str, Any], number: int) -> Fields:
        """Return a line of the journal; raises StoreError if it is none."""
        where = f"{self._journal}, line {number + 1}"
        if isinstance(line, bytes):
            try:
                line = parse_json(line)
            except ValueError as error:
                raise StoreError(f"{where} is damaged ({error}); {REMEDY}") from error
        return Fields(line, where, StoreError, remedy=REMEDY)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[BinaryIO]:
    """Open a file of a shard; raises StoreError if it is missing."""
    try:
        stream = file.open("rb")
    except OSError as error:
        raise StoreError(f"{file} cannot be read ({error.strerror}); {REMEDY}") from error
    with stream:
        yield stream


def _checked(fields: Fields) -> Entry:
    """Return the audit's entry of a record; raises StoreError naming a wrong value."""
    statuses = tuple(status.value for status in RecordStatus)
    fields.text("record")
    fields.integer("bytes", 0, 1 << 62)
    if fields.text("fate", allowed=statuses) == RecordStatus.USED.value:
        for name in ("id", "sha256", "task"):
            fields.text(name)
        for name in ("steps", "clipped"):
            fields.integer(name, 0, MAX_ROWS)
        fields.texts("notes")
        fields.numbers("picture", 2)
    elif fields.values["fate"] == RecordStatus.BAD.value:
        fields.text("reason")
    return fields.values


def merge_shards(out: Path, *, skip_bad: bool = False) -> dict[str, Any]:
    """Write the store of an import whose shards lie beside it.

    Args:
        out: Folder to make; its shards are `NAME.shard-I-of-N`.
        skip_bad: Leave out damaged records, and those that contradict others.

    Returns:
        The audit, as in `audit.json`.

    Raises:
        PtrError: If a shard is missing, damaged or of another import, or the store exists.
    """
    parts = [_Part(folder) for folder in find_shards(out)]
    first = parts[0]
    for part in parts:
        for name in part.made_of:
            if part.made_of[name] != first.made_of.get(name):
                raise StoreError(
                    f"{part.folder} and {first.folder} are of different imports: their {name} "
                    "differs; read all shards with one command, or remove those of the other"
                )
    ledger = Ledger(skip_bad)
    entries: list[Entry] = []
    with (
        EpisodeWriter(out, replace(first.info, name=out.name)) as writer,
        tqdm(total=first.total, unit="record", desc="merge") as bar,
    ):
        for part in parts:
            for entry, episode in part.results():
                place = f"{part.folder}: {entry['record']}"
                if ledger.settle(place, entry) and episode is not None:
                    writer.add(episode)
                entries.append(entry)
                bar.update()
        if len(entries) != first.total:
            raise StoreError(
                f"the shards of {out} hold {len(entries)} of {first.total} records; {REMEDY}"
            )
        audit = first.origin | summarise(entries, first.total)
        complete(writer, audit, ledger.image_size, first.sources)
    return audit


def find_shards(out: Path) -> list[Path]:
    """Return the folders of all shards of a store, in order.

    Raises:
        TrainingError: If there is none, one is missing, or there are some of two imports.
    """
    numbers: dict[int, set[int]] = {}
    pattern = re.compile(rf"{re.escape(out.name)}\.shard-(\d+)-of-(\d+)")
    for path in out.parent.glob("*.shard-*"):
        if (match := pattern.fullmatch(path.name)) and path.is_dir():
            numbers.setdefault(int(match[2]), set()).add(int(match[1]))
    if not numbers:
        raise TrainingError(
            f"{out} has no shards: no folder {out.name}.shard-I-of-N beside it; "
            f"`ptr import … --out {out} --shard I/N` makes them"
        )
    if len(numbers) > 1:
        counts = " and ".join(
            f"{len(numbers[count])} of {count}" for count in sorted(numbers)
        )
        raise TrainingError(
            f"{out} has shards of several imports, {counts}; remove those that are not wanted"
        )
    ((count, present),) = numbers.items()
    missing = sorted(set(range(count)) - present)
    if missing:
        names = ", ".join(map(str, missing[:10])) + ", …" * (len(missing) > 10)
        raise TrainingError(
            f"{out}: of its {count} shards {len(missing)} are missing or not finished: {names}; "
            f"`ptr import … --out {out} --shard {missing[0]}/{count}` reads the first of them"
        )
    return [Shard(index, count).folder(out) for index in range(count)]
