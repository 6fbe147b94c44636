"""Marks of reviewers on episodes of a store: their file, their rules, and their effect."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import yaml

from ptr_common.files import atomic_file

from .episode import EpisodeEntry, StoreError, label_rewards, read_versioned

REVIEW_FILE = "review.yaml"
REVIEW_VERSION = 1
VERDICTS = ("good", "bad", "trim", "clear")


@dataclass(frozen=True)
class Mark:
    """A person's verdict on one episode: one line of `review.yaml`.

    The last mark on an episode counts.
    """

    id: str
    verdict: str  # good, bad (left out), trim, clear (takes the marks before it back)
    first: int | None = None  # first and last observation that `trim` keeps, counted from 0
    last: int | None = None
    reason: str = ""
    by: str = ""
    at: str = ""  # UTC, ISO 8601


def verdict_text(mark: Mark | None) -> str:
    """Return the verdict as a table holds it: good, bad, trim FIRST:LAST; empty without a mark."""
    if mark is None:
        return ""
    return f"trim {mark.first}:{mark.last}" if mark.verdict == "trim" else mark.verdict


def read_marks(path: Path, entries: Iterable[EpisodeEntry]) -> tuple[Mark, ...]:
    """Return every mark ever made in a store, oldest first; none if it has no `review.yaml`.

    Args:
        path: Folder of the store.
        entries: Its episodes as written.

    Raises:
        StoreError: If the file is empty, damaged, of another version, or does not fit the
            episodes.
    """
    file = path / REVIEW_FILE
    if not file.exists():
        return ()
    contents = read_versioned(file, REVIEW_VERSION)
    try:
        marks = tuple(Mark(**values) for values in contents["marks"])
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{file} is damaged ({error}); correct it, or remove it to have no marks"
        ) from error

    lengths = {entry.id: entry.length for entry in entries}
    for mark in marks:
        check_mark(mark, lengths, str(file))
    return marks


def write_marks(path: Path, history: Sequence[Mark]) -> None:
    """Write every mark ever made in a store, oldest first.

    Raises:
        StoreError: If the file cannot be written; the former one then remains.
    """
    file = path / REVIEW_FILE
    contents = {
        "format_version": REVIEW_VERSION,
        "marks": [_without_defaults(mark) for mark in history],
    }
    text = yaml.dump(
        contents,
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
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
            f"{file} cannot be written ({error.strerror}); marks are kept beside the data: "
            f"make {file.parent} writable or review a copy of it"
        ) from error


def _without_defaults(mark: Mark) -> dict[str, object]:
    """Return the fields of a mark that differ from their defaults."""
    values = asdict(mark)
    for field in fields(Mark):
        if values[field.name] == field.default:
            del values[field.name]
    return values


def check_mark(mark: Mark, lengths: Mapping[str, int], where: str) -> None:
    """Raise StoreError if a mark does not fit the episodes.

    Args:
        mark: What to check.
        lengths: Transitions of every episode as written, by id.
        where: Place of the mark, for the message.
    """
    if not isinstance(mark.id, str) or mark.id not in lengths:
        near = difflib.get_close_matches(str(mark.id), lengths, 3, cutoff=0.4)
        listed = ", ".join(repr(name) for name in near or list(lengths)[:3])
        raise StoreError(
            f"{where}: the store has no episode {mark.id!r}; near are: {listed}"
        )

    if mark.verdict not in VERDICTS:
        raise StoreError(
            f"{where}: verdict on episode {mark.id} is {mark.verdict!r}; "
            f"allowed: {', '.join(VERDICTS)}"
        )

    for name in ("reason", "by", "at"):
        if not isinstance(getattr(mark, name), str):
            raise StoreError(
                f"{where}: {name} of the mark on {mark.id} is not text; put it into quotes"
            )

    if mark.verdict == "trim" and not _fits(mark.first, mark.last, lengths[mark.id]):
        raise StoreError(
            f"{where}: episode {mark.id} cannot be trimmed to {mark.first}:{mark.last}; "
            f"allowed is FIRST:LAST within 0:{lengths[mark.id]} "
            "(observations, both kept), FIRST before LAST"
        )


def _fits(first: int | None, last: int | None, length: int) -> bool:
    """Return whether an episode of so many transitions can be trimmed to these observations."""
    if not isinstance(first, int) or not isinstance(last, int):
        return False
    return 0 <= first < last <= length


def current_marks(history: Iterable[Mark]) -> dict[str, Mark]:
    """Return the mark that counts for each marked episode, by id."""
    latest = {mark.id: mark for mark in history}
    return {name: mark for name, mark in latest.items() if mark.verdict != "clear"}


def kept_entries(
    entries: Iterable[EpisodeEntry], marks: Mapping[str, Mark]
) -> tuple[EpisodeEntry, ...]:
    """Return the episodes that marks leave; trimmed ones with start and length of their part."""
    kept = []
    for entry in entries:
        mark = marks.get(entry.id)
        if mark is None or mark.verdict == "good":
            kept.append(entry)
        elif mark.verdict == "trim" and mark.first is not None and mark.last is not None:
            start, length = entry.start + mark.first, mark.last - mark.first
            kept.append(replace(entry, start=start, length=length))
    return tuple(kept)


def apply_marks(
    path: Path,
    marks: Mapping[str, Mark],
    entries: tuple[EpisodeEntry, ...],
    steps: np.ndarray,
    *,
    last_n: int,
    fingerprint: str,
) -> tuple[tuple[EpisodeEntry, ...], np.ndarray, str]:
    """Return the entries, steps and fingerprint of a store as its reviewers see it.

    Args:
        path: Folder of the store.
        marks: The mark that counts for each marked episode, by id.
        entries: Its episodes as written.
        steps: Its steps as written, shape (N,) of STEP.
        last_n: Transitions at the end of a success that earn the reward.
        fingerprint: Of the store as written.

    Returns:
        Those given, where the marks leave everything; else copies.

    Raises:
        StoreError: If the marks leave no episode.
    """
    kept = kept_entries(entries, marks)
    if kept == entries:
        return entries, steps, fingerprint
    if not kept:
        raise StoreError(
            f"{path / REVIEW_FILE} marks all {len(entries)} episodes as bad; "
            "clear one with `ptr review`"
        )

    steps, whole = steps.copy(), set(entries)
    left_out = np.ones(len(steps), bool)
    for entry in kept:
        rows = slice(entry.start, entry.start + entry.length)
        left_out[rows] = False
        if entry not in whole:
            success = entry.outcome == "success"
            steps["reward"][rows] = label_rewards(entry.length, success, last_n)

    steps["is_last"] = left_out
    for name in ("requested", "executed", "reward"):
        steps[name][left_out] = 0
    view: list[object] = [fingerprint]
    for entry in kept:
        view.append([entry.id, entry.start, entry.length])
    return kept, steps, hashlib.sha256(json.dumps(view).encode()).hexdigest()
