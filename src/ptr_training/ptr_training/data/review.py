"""`ptr review`: a person's verdict on the episodes of a store, in a file beside the data that it never changes."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime, timezone
from pathlib import Path

import yaml

from ptr_common.files import atomic_file

from .episode import EpisodeEntry, StoreError
from .store import (
    REVIEW_FILE,
    REVIEW_VERSION,
    EpisodeStore,
    Mark,
    check_mark,
    current_marks,
    kept_entries,
    read_marks,
)

USAGE = """\
The marks are kept in STORE/review.yaml, with who made them (from $USER), when and why; whatever opens the store then
leaves bad episodes out and sees trimmed ones from FIRST to LAST (observations as numbered on the contact sheets of
`ptr inspect`, both kept); the end of a trimmed success earns the reward. --clear takes a mark back. A run that was
trained before says that its data changed.

FILE.csv is `episodes.csv` of `ptr inspect` with the column `verdict` filled in: good, bad, trim FIRST:LAST or clear;
empty changes nothing. Its column `reason` says why, or --reason for all.
"""


def main(argv: list[str]) -> None:
    """Mark episodes of a store good, bad or trimmed; reversible, the data stay as they are."""
    parser = argparse.ArgumentParser(
        prog="ptr review",
        description=main.__doc__,
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the episodes")
    plain = {"good": "looked at, keep", "bad": "leave out", "clear": "forget the mark"}
    for verdict, what in plain.items():
        parser.add_argument(
            f"--{verdict}", nargs="+", action="extend", default=[], metavar="ID", help=what
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
        "--reason", default="", metavar="TEXT", help="why; needed for bad and trim"
    )
    parser.add_argument(
        "--from",
        dest="file",
        type=Path,
        metavar="FILE.csv",
        help="take the marks from a table",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="show the marks that count (also without other options)",
    )
    args = parser.parse_args(argv)
    asked = [
        _mark(name, verdict, args.reason)
        for verdict in plain
        for name in getattr(args, verdict)
    ]
    asked += [_mark(name, f"trim {part}", args.reason) for name, part in args.trim]
    asked += read_table(args.file, args.reason) if args.file else []
    entries, history = review(args.store, asked, str(args.file or args.store))
    if args.list or not (asked or args.file):
        for line in table(history):
            print(line)
    print(summary(args.store, entries, history))


def review(
    path: Path, asked: Sequence[Mark], where: str
) -> tuple[tuple[EpisodeEntry, ...], tuple[Mark, ...]]:
    """Add marks to those of a store; all of them or, where one is wrong, none.

    Args:
        path: Folder of the store.
        asked: New marks; who and when is filled in. Those that say what is known already
            are left out.
        where: What an error names as the place of the marks.

    Returns:
        The episodes of the store as written, and all marks, oldest first.

    Raises:
        StoreError: If a mark does not fit the store, lacks its reason, contradicts another,
        or cannot be written.
    """
    entries = EpisodeStore.open(path, reviewed=False).entries
    history = read_marks(path, entries)
    _check(asked, {entry.id: entry.length for entry in entries}, where)
    known = current_marks(history)
    by, at = (
        os.environ.get("USER", ""),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    new = [
        replace(mark, by=by, at=at)
        for mark in asked
        if _says_something(mark, known.get(mark.id))
    ]
    if new:
        history += tuple(new)
        _write(path / REVIEW_FILE, history)
    return entries, history


def read_table(file: Path, reason: str = "") -> list[Mark]:
    """Return the marks that a table asks for: its columns `id`, `verdict` and `reason`.

    Commas, semicolons and tabs are understood, and the byte order mark that spreadsheets
    write.

    Args:
        file: A table as `ptr inspect` writes it.
        reason: Why, where the table does not say it.

    Raises:
        StoreError: If it cannot be read, lacks a column or holds something else as a
        verdict, naming the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{file} cannot be read ({error}); it must be a CSV file in UTF-8"
        ) from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count)
    )
    if missing := {"id", "verdict"} - set(rows.fieldnames or ()):
        raise StoreError(
            f"{file} has no column {' and '.join(sorted(missing))}; `ptr inspect` writes such a table"
        )
    marks = []
    for row in rows:
        if verdict := (row["verdict"] or "").strip():
            why = (row.get("reason") or "").strip() or reason
            marks.append(
                _mark(
                    (row["id"] or "").strip(),
                    verdict.lower(),
                    why,
                    f"{file}, line {rows.line_num}: ",
                )
            )
    return marks


def table(history: Sequence[Mark]) -> list[str]:
    """Return the marks that count as lines for a terminal."""
    marks = current_marks(history).values()
    width = max((len(mark.id) for mark in marks), default=0)
    return [
        f"{mark.id:<{width}}  {verdict_text(mark):<12}  {mark.at[:16]}  {mark.by:<10}  {mark.reason}"
        for mark in marks
    ]


def verdict_text(mark: Mark | None) -> str:
    """Return the verdict as a table holds it: good, bad, trim FIRST:LAST; empty without a mark."""
    if mark is None:
        return ""
    return f"trim {mark.first}:{mark.last}" if mark.verdict == "trim" else mark.verdict


def summary(path: Path, entries: Sequence[EpisodeEntry], history: Sequence[Mark]) -> str:
    """Return in one line what the marks leave."""
    marks = current_marks(history)
    kept = kept_entries(entries, marks)
    counts = Counter(mark.verdict for mark in marks.values())
    return (
        f"{path}: {len(kept)} of {len(entries)} episodes and {sum(each.length for each in kept)} of "
        f"{sum(each.length for each in entries)} steps are kept; marked: {counts['good']} good, {counts['bad']} bad, "
        f"{counts['trim']} trimmed"
    )


def _mark(name: str, verdict: str, reason: str, where: str = "") -> Mark:
    kind, _, part = verdict.partition(" ")
    if kind != "trim":
        return Mark(name, verdict, reason=reason)
    first, _, last = part.strip().partition(":")
    if not (first.isdecimal() and last.isdecimal()):
        raise StoreError(
            f"{where}trim of {name} is {part.strip()!r}; it must be FIRST:LAST, two observations: 3:40"
        )
    return Mark(name, kind, int(first), int(last), reason)


def _check(asked: Sequence[Mark], lengths: dict[str, int], where: str) -> None:
    for mark in asked:
        check_mark(mark, lengths, where)
        if mark.verdict in ("bad", "trim") and not mark.reason:
            raise StoreError(
                f"{where}: {verdict_text(mark)} on episode {mark.id} lacks a reason; add --reason TEXT"
            )
    twice = [
        name for name, count in Counter(mark.id for mark in asked).items() if count > 1
    ]
    if twice:
        verdicts = " and ".join(verdict_text(mark) for mark in asked if mark.id == twice[0])
        raise StoreError(
            f"{where}: episode {twice[0]} is to be marked {verdicts} at once; choose one"
        )


def _says_something(mark: Mark, known: Mark | None) -> bool:
    """Return whether a mark changes what is known; repeating a table then adds nothing."""
    if known is None:
        return mark.verdict != "clear"
    return any(
        getattr(mark, name) != getattr(known, name)
        for name in ("verdict", "first", "last", "reason")
    )


def _write(file: Path, history: Sequence[Mark]) -> None:
    defaults = {each.name: each.default for each in fields(Mark)}
    marks = [
        {key: value for key, value in asdict(mark).items() if value != defaults[key]}
        for mark in history
    ]
    described = {"format_version": REVIEW_VERSION, "marks": marks}
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(
        described,
        Dumper=dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1000,
        default_flow_style=None,
    )
    try:
        with atomic_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{file} cannot be written ({error.strerror}); marks are kept beside the data: make {file.parent} writable "
            "or review a copy of it"
        ) from error
