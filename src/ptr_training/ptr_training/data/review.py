"""`ptr review`: a person's verdict on the episodes of a store. The data do not change."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ptr_common.text_table import from_cell, text_table

from .episode import EpisodeEntry, StoreError
from .marks import (
    Mark,
    check_mark,
    current_marks,
    kept_entries,
    read_marks,
    verdict_text,
    write_marks,
)
from .store import EpisodeStore

USAGE = """\
The marks are kept in STORE/review.yaml, with their author (from $USER), time and reason.
Every command that opens the store then leaves bad episodes out and sees trimmed ones from
FIRST to LAST (observations as numbered on the contact sheets of `ptr inspect`, both kept);
the end of a trimmed success earns the reward. --clear takes a mark back. A run that was
trained before reports that its data changed.

FILE.csv is `episodes.csv` of `ptr inspect` with the column `verdict` filled in: good, bad,
trim FIRST:LAST or clear; empty changes nothing. Its column `reason` holds the reason, or
--reason holds one for all.
"""

PLAIN_VERDICTS = {
    "good": "looked at, keep",
    "bad": "leave out",
    "clear": "forget the mark",
}
"""Verdicts that take only the ids of episodes, with the help texts of their options."""


def main(argv: list[str]) -> None:
    """Mark episodes of a store good, bad or trimmed; reversible, the data stay as they are."""
    args = _parser().parse_args(argv)
    requested = []
    for verdict in PLAIN_VERDICTS:
        for name in getattr(args, verdict):
            requested.append(_parse_mark(name, verdict, args.reason))

    for name, part in args.trim:
        requested.append(_parse_mark(name, f"trim {part}", args.reason))
    if args.file:
        requested += read_table(args.file, args.reason)
    entries, history = review(args.store, requested, str(args.file or args.store))
    if args.list or not (requested or args.file):
        for line in table(history):
            print(line)

    print(summary(args.store, entries, history))


def _parser() -> argparse.ArgumentParser:
    """Return the options of `ptr review`."""
    parser = argparse.ArgumentParser(
        prog="ptr review",
        description=main.__doc__,
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the episodes")
    for verdict, text in PLAIN_VERDICTS.items():
        parser.add_argument(
            f"--{verdict}", nargs="+", action="extend", default=[], metavar="ID", help=text
        )

    parser.add_argument(
        "--trim",
        nargs=2,
        action="append",
        default=[],
        metavar=("ID", "FIRST:LAST"),
        help="keep a part",
    )
    parser.add_argument(
        "--reason",
        default="",
        metavar="TEXT",
        help="reason of the marks; needed for bad and trim [none]",
    )
    parser.add_argument(
        "--from",
        dest="file",
        type=Path,
        metavar="FILE.csv",
        help="take the marks from a table [none]",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="show the marks that count (also without other options)",
    )
    return parser


def review(
    path: Path, requested: Sequence[Mark], where: str
) -> tuple[tuple[EpisodeEntry, ...], tuple[Mark, ...]]:
    """Add marks to those of a store; all of them or, where one is wrong, none.

    Args:
        path: Folder of the store.
        requested: New marks; author and time are filled in. Marks that repeat the one that
            counts are left out.
        where: Place of the marks, for the message of an error.

    Returns:
        The episodes of the store as written, and all marks, oldest first.

    Raises:
        StoreError: If a mark does not fit the store, lacks its reason, contradicts another,
            or cannot be written.
    """
    entries = EpisodeStore.open(path, reviewed=False).entries
    history = read_marks(path, entries)
    _check(requested, {entry.id: entry.length for entry in entries}, where)
    current = current_marks(history)
    author = os.environ.get("USER", "")
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    new = []
    for mark in requested:
        if _changes(mark, current.get(mark.id)):
            new.append(replace(mark, by=author, at=time))

    if new:
        history += tuple(new)
        write_marks(path, history)

    return entries, history


def read_table(file: Path, reason: str = "") -> list[Mark]:
    """Return the marks that a table asks for: its columns `id`, `verdict` and `reason`.

    The separator may be a comma, a semicolon or a tab, and a byte order mark is skipped.

    Args:
        file: A table as `ptr inspect` writes it.
        reason: Reason of the rows that hold none.

    Raises:
        StoreError: If it cannot be read, lacks a column or holds another verdict, naming
            the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        return _marks_in(text, file, reason)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(
            f"{file} cannot be read ({error}); it must be a CSV file in UTF-8"
        ) from error


def _marks_in(text: str, file: Path, reason: str) -> list[Mark]:
    """Return the marks that the text of a table asks for."""
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if missing := {"id", "verdict"} - set(rows.fieldnames or ()):
        raise StoreError(
            f"{file} has no column {' and '.join(sorted(missing))}; "
            "`ptr inspect` writes such a table"
        )

    marks = []
    for row in rows:
        verdict = (row["verdict"] or "").strip().lower()
        if not verdict:
            continue
        name = from_cell((row["id"] or "").strip())
        row_reason = from_cell((row.get("reason") or "").strip()) or reason
        where = f"{file}, line {rows.line_num}: "
        marks.append(_parse_mark(name, verdict, row_reason, where))

    return marks


def table(history: Sequence[Mark]) -> list[str]:
    """Return the marks that count as lines for a terminal."""
    rows = []
    for mark in current_marks(history).values():
        rows.append((mark.id, verdict_text(mark), mark.at[:16], mark.by, mark.reason))
    if not rows:
        return []
    header = ("episode", "verdict", "time (UTC)", "by", "reason")
    return text_table(header, rows, align="lllll").splitlines()


def summary(path: Path, entries: Sequence[EpisodeEntry], history: Sequence[Mark]) -> str:
    """Return in one line what the marks leave."""
    marks = current_marks(history)
    kept = kept_entries(entries, marks)
    counts = Counter(mark.verdict for mark in marks.values())
    kept_steps = sum(entry.length for entry in kept)
    steps = sum(entry.length for entry in entries)
    return (
        f"{path}: {len(kept)} of {len(entries)} episodes and {kept_steps} of {steps} steps "
        f"are kept; marked: {counts['good']} good, {counts['bad']} bad, "
        f"{counts['trim']} trimmed"
    )


def _parse_mark(name: str, verdict: str, reason: str, where: str = "") -> Mark:
    """Return the mark that a verdict as text asks for.

    Args:
        name: Id of the episode.
        verdict: As `verdict_text` writes it.
        reason: Of the verdict.
        where: What a message begins with.

    Raises:
        StoreError: If a part to keep is not FIRST:LAST.
    """
    kind, _, part = verdict.partition(" ")
    if kind != "trim":
        return Mark(name, verdict, reason=reason)
    first, _, last = part.strip().partition(":")
    try:
        if first.isdecimal() and last.isdecimal():
            return Mark(name, kind, int(first), int(last), reason)
    except ValueError:  # thousands of digits
        part = f"{part[:20]}…"

    raise StoreError(
        f"{where}trim of {name} is {part.strip()!r}; "
        "it must be FIRST:LAST, two observations: 3:40"
    )


def _check(requested: Sequence[Mark], lengths: Mapping[str, int], where: str) -> None:
    """Raise StoreError if a mark does not fit, lacks its reason or contradicts another."""
    for mark in requested:
        check_mark(mark, lengths, where)
        if mark.verdict in ("bad", "trim") and not mark.reason:
            raise StoreError(
                f"{where}: {verdict_text(mark)} on episode {mark.id} lacks a reason; "
                "add --reason TEXT"
            )
    for name, count in Counter(mark.id for mark in requested).items():
        if count > 1:
            verdicts = [verdict_text(mark) for mark in requested if mark.id == name]
            raise StoreError(
                f"{where}: episode {name} is to be marked {' and '.join(verdicts)} "
                "at once; choose one"
            )


def _changes(mark: Mark, current: Mark | None) -> bool:
    """Return whether a mark differs from the one that counts; repeating a table adds nothing."""
    if current is None:
        return mark.verdict != "clear"
    new = (mark.verdict, mark.first, mark.last, mark.reason)
    return new != (current.verdict, current.first, current.last, current.reason)
