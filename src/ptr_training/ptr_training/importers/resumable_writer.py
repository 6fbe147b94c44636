"""An episode writer that continues the work of an earlier run, however that one ended.

Until the store is complete it is kept in `.NAME.partial` beside it: `frames.npy`,
`steps.part` (rows as in `steps.npy`) and `journal.jsonl`. The first line of the journal
holds the origin of the store; each further line holds what was kept: entries of episodes,
a note of the caller, and the running SHA-256 of pixels, rows and journal up to there. The
next run reads all of it again, up to the first line that is wrong, and cuts off the rest:
nothing depends on the order in which the kernel wrote the files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from ptr_training.data.episode import (
    HEADER_BYTES,
    STEP,
    DatasetInfo,
    EpisodeWriter,
    StoreError,
)


@dataclass
class KeptDigests:
    """Running SHA-256 of what a partial store holds."""

    pixels: Any = field(default_factory=hashlib.sha256)
    rows: Any = field(default_factory=hashlib.sha256)
    journal: Any = field(
        default_factory=hashlib.sha256
    )  # its origin and lines, less digests

    def texts(self) -> list[str]:
        """Return the digests in hexadecimal, as a line of the journal has them."""
        return [each.hexdigest() for each in (self.pixels, self.rows, self.journal)]

    def after(self, line: Mapping[str, Any], pixels: bytes, rows: bytes) -> KeptDigests:
        """Return the digests after one more line.

        Args:
            line: Of the journal.
            pixels: Of its episodes.
            rows: Of its episodes.
        """
        digests = KeptDigests(self.pixels.copy(), self.rows.copy(), self.journal.copy())
        digests.pixels.update(pixels)
        digests.rows.update(rows)
        described = {name: line.get(name) for name in ("episodes", "note")}
        digests.journal.update(json.dumps(described).encode())
        return digests


class ResumableWriter(EpisodeWriter):
    """Writes a store that may take hours; what `keep` was called for survives the process.

    A run that ends early leaves its partial store behind if anything was kept; the next run
    for the same store with the same origin continues it.
    """

    def __init__(
        self, path: Path | str, info: DatasetInfo, origin: Mapping[str, Any]
    ) -> None:
        """Prepare a writer.

        Args:
            path: Folder to make.
            info: As for `EpisodeWriter`.
            origin: Everything that decides the contents, by name, as JSON holds it. A
                partial store of another origin is refused.
        """
        super().__init__(path, info)
        self.partial = self.path.with_name(f".{self.path.name}.partial")
        self.kept: list[Any] = []  # notes given to `keep`, also by earlier runs
        self._origin = json.loads(json.dumps(origin))
        self._digests = KeptDigests()
        self._episodes_kept = 0
        self._worth_keeping = False
        self._rows_file: BinaryIO
        self._journal: BinaryIO

    def __enter__(self) -> ResumableWriter:
        """Begin the store, or continue that of an earlier run."""
        if self.path.exists():
            raise StoreError(
                f"{self.path} exists already; choose another folder or remove it first"
            )
        with ExitStack() as stack:
            self.folder = stack.enter_context(self._partial_folder())
            self._frames = stack.enter_context(_open(self.folder / "frames.npy"))
            self._rows_file = stack.enter_context(_open(self.folder / "steps.part"))
            self._continue()
            self._stack = stack.pop_all()
        return self

    def keep(self, note: Any) -> None:
        """Make what was added so far survive.

        Args:
            note: What it came from, as JSON holds it.
        """
        new = slice(self._episodes_kept, len(self._episodes))
        rows = b"".join(steps.tobytes() for steps in self._steps[new])
        self._rows_file.write(rows)
        self._digests.pixels = self._hash.copy()
        self._digests.rows.update(rows)
        self._frames.flush()
        self._rows_file.flush()
        line = {"episodes": self._episodes[new], "note": note}
        self._digests.journal.update(json.dumps(line).encode())
        line["digests"] = self._digests.texts()
        self._journal.write(json.dumps(line).encode() + b"\n")
        self._journal.flush()
        self._worth_keeping |= bool(rows)
        self._episodes_kept = len(self._episodes)
        self.kept.append(note)

    @contextlib.contextmanager
    def _partial_folder(self) -> Iterator[Path]:
        """Yield the partial store, locked; on success it takes its final name.

        After an error it stays if anything was kept.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        with _open(self.partial / "journal.jsonl") as self._journal:
            try:
                fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.partial} is being written by another process; wait for it or end it"
                ) from error
            self._check_origin()
            self._digests.journal.update(json.dumps(self._origin).encode())
            try:
                yield self.partial
                self.partial.replace(self.path)
            except BaseException:
                self._leave()
                raise

    def _leave(self) -> None:
        """Name the partial store if anything was kept in it; else remove it."""
        if not self._worth_keeping:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        print(
            f"{len(self.kept)} records are kept in {self.partial}; "
            "the same command goes on from there",
            file=sys.stderr,
        )

    def _check_origin(self) -> None:
        """Refuse a partial store of another origin; begin the journal where there is none."""
        try:
            old_origin = json.loads(self._journal.readline())["made of"]
        except (ValueError, KeyError, TypeError):
            self._journal.seek(0)
            self._journal.truncate()
            self._journal.write(json.dumps({"made of": self._origin}).encode() + b"\n")
            return

        self._worth_keeping = True
        for name in sorted(old_origin.keys() | self._origin.keys()):
            old, new = old_origin.get(name), self._origin.get(name)
            if old != new:
                raise StoreError(
                    f"{self.partial} was begun with {name} {old!r}, now it is {new!r}; "
                    "give the same as before to go on, or remove that folder to start over"
                )

    def _continue(self) -> None:
        """Take over what an earlier run kept, as far as it is whole."""
        self._frames.write(bytes(HEADER_BYTES))
        end = self._journal.tell()
        lines = self._journal.readlines()
        description = f"check {self.partial.name}"
        for line in tqdm(lines, unit="record", desc=description, disable=not lines):
            if not self._take_over(line):
                break
            end += len(line)
        _cut(self._journal, end)
        _cut(self._frames, HEADER_BYTES + self._rows * self._frame_bytes)
        _cut(self._rows_file, self._rows * STEP.itemsize)

    @property
    def _frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.info.image_height * self.info.image_width * 3

    def _take_over(self, text: bytes) -> bool:
        """Take over what a line of the journal describes; return whether the files hold it."""
        try:
            line = json.loads(text)
        except ValueError:
            line = None

        if line is None or not text.endswith(b"\n"):
            return False  # the process was killed while it wrote the line
        count = sum(entry["length"] + 1 for entry in line["episodes"])
        data = self._rows_file.read(count * STEP.itemsize)
        pixels = self._frames.read(count * self._frame_bytes)
        digests = self._digests.after(line, pixels, data)
        if digests.texts() != line["digests"]:
            return False
        self._digests, self._hash = digests, digests.pixels.copy()
        rows = np.frombuffer(data, STEP)
        for entry in line["episodes"]:
            start = entry["start"] - self._rows
            self._steps.append(rows[start : start + entry["length"] + 1])
            self._episodes.append(entry)
            self._ids.add(entry["id"])

        self._rows += count
        self._episodes_kept = len(self._episodes)
        self.kept.append(line["note"])
        return True

    def _finish(self) -> None:
        """Complete the store; remove what only the next run would have needed."""
        super()._finish()
        for name in ("journal.jsonl", "steps.part"):
            (self.folder / name).unlink()


def _cut(file: BinaryIO, size: int) -> None:
    """Cut off what follows a number of bytes, and continue there."""
    file.seek(size)
    file.truncate()


def _open(file: Path) -> BinaryIO:
    """Open a file for reading and writing at its beginning; make it if it is missing."""
    file.touch()
    return file.open("r+b")
