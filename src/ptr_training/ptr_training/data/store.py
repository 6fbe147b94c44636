"""Episode stores opened for reading, as they were written or as `ptr review` has marked them.

The layout is described in `docs/design.md` (section "Episode store").
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ptr_common.files import sha256

from .episode import (
    FORMAT_VERSION,
    STEP,
    DatasetInfo,
    Episode,
    EpisodeEntry,
    StoreError,
    label_rewards,
    parse_yaml,
)

REVIEW_FILE = "review.yaml"
REVIEW_VERSION = 1
VERDICTS = ("good", "bad", "trim", "clear")


@dataclass(frozen=True)
class Mark:
    """A person's verdict on one episode: one line of `review.yaml`, where the last about an episode counts."""

    id: str
    verdict: str  # good, bad (left out), trim, clear (takes the marks before it back)
    first: int | None = None  # first and last observation that `trim` keeps, counted from 0
    last: int | None = None
    reason: str = ""
    by: str = ""
    at: str = ""  # UTC, ISO 8601


@dataclass(frozen=True)
class EpisodeStore:
    """A store opened for reading; `frames` stays on disk and is mapped into memory.

    Open one with `EpisodeStore.open`. Unless it was opened as written, `entries` and
    `steps` show what its reviewers
    kept: `is_last` is true, and command and reward zero, on every row that is no transition
    of `entries`.
    """

    path: Path
    card: DatasetInfo
    entries: tuple[EpisodeEntry, ...]
    frames: np.ndarray  # (N, H, W, 3) uint8, memory-mapped, read-only
    steps: np.ndarray  # (N,) of STEP
    fingerprint: str  # SHA-256 of card.yaml, which itself lists the SHA-256 of the contents; then of what marks changed
    pixels_sha256: str = field(repr=False, default="")  # of all frames, as the card says it

    @classmethod
    def open(cls, path: Path | str, *, reviewed: bool = True) -> EpisodeStore:
        """Open and check a store.

        The pixels are not read; `check_pixels` does that.

        Args:
            path: Folder of the store.
            reviewed: Apply the marks of `review.yaml`; otherwise show the store as it was
                written.

        Raises:
            StoreError: If it is missing, of another format or version, truncated, altered
                or empty, or if its `review.yaml` is damaged, marks episodes that it does
                not hold or leaves none.
        """
        path = Path(path)
        described = _read_card(path)
        for name in ("steps.npy", "episodes.json"):
            _check_hash(path, name, described["sha256"][name.split(".")[0]])
        frames, steps = (
            _load_array(path / "frames.npy", mapped=True),
            _load_array(path / "steps.npy", mapped=False),
        )
        card = _card_of(described)
        shape = (len(steps), card.image_height, card.image_width, 3)
        if steps.dtype != STEP or frames.shape != shape or frames.dtype != np.uint8:
            raise StoreError(
                f"{path}: frames.npy is {frames.dtype} {frames.shape}, expected uint8 {shape}"
            )
        entries = tuple(
            EpisodeEntry(**entry)
            for entry in json.loads((path / "episodes.json").read_text())
        )
        _check_tiling(path, entries, steps)
        fingerprint = sha256(path / "card.yaml")
        if reviewed and (marks := current_marks(read_marks(path, entries))):
            entries, steps, fingerprint = _apply_marks(
                path, card, marks, entries, steps, fingerprint
            )
        return cls(
            path, card, entries, frames, steps, fingerprint, described["sha256"]["pixels"]
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names, sorted."""
        return tuple(sorted({entry.task for entry in self.entries}))

    @property
    def actions(self) -> np.ndarray:
        """The command learnt from, shape (N, 7), float32; zero on rows without an action."""
        return self.steps[self.card.command]

    @property
    def rows(self) -> np.ndarray:
        """The rows that hold an observation of `entries`, ascending, int64."""
        return np.concatenate(
            [
                np.arange(entry.start, entry.start + entry.length + 1)
                for entry in self.entries
            ]
        )

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(index) for index in range(len(self)))

    def episode(self, index: int) -> Episode:
        """Return one episode; its frames are a view of the mapped file."""
        entry = self.entries[index]
        rows = slice(entry.start, entry.start + entry.length + 1)
        steps = self.steps[rows]
        return Episode(
            id=entry.id,
            task=entry.task,
            frames=self.frames[rows],
            stamps_ns=steps["stamp_ns"],
            proprio=steps["proprio"],
            requested=steps["requested"][:-1],
            executed=steps["executed"][:-1],
            outcome=entry.outcome,
            operator=entry.operator,
            source=entry.source,
            seed=entry.seed,
        )

    def check_pixels(self) -> None:
        """Read every pixel and compare with the card; raises StoreError if they were altered."""
        digest = hashlib.sha256()
        for start in range(0, len(self.frames), 1024):
            digest.update(np.ascontiguousarray(self.frames[start : start + 1024]).data)
        if digest.hexdigest() != self.pixels_sha256:
            raise StoreError(
                f"{self.path / 'frames.npy'}: pixels do not match card.yaml; copy or export it again"
            )


def read_card(path: Path) -> DatasetInfo:
    """Return the card in a folder; raises StoreError if it is missing, damaged or of another version."""
    return _card_of(_read_card(path))


def _read_card(path: Path) -> dict[str, Any]:
    file = path / "card.yaml"
    if not file.is_file():
        raise StoreError(
            f"{path} is not an episode store: it has no card.yaml (make one with `ptr export` or `ptr collect`)"
        )
    described = _read_yaml(file, FORMAT_VERSION)
    missing = ({each.name for each in fields(DatasetInfo)} | {"sha256"}) - set(described)
    if missing:
        raise StoreError(f"{file} lacks {', '.join(sorted(missing))}")
    return described


def _read_yaml(file: Path, version: int) -> dict[str, Any]:
    try:
        described = parse_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    found = described.get("format_version") if isinstance(described, dict) else None
    if found != version:
        raise StoreError(
            f"{file}: format_version is {found!r}, this version reads {version}"
        )
    return described


def _card_of(described: dict[str, Any]) -> DatasetInfo:
    values: dict[str, Any] = {
        each.name: described[each.name] for each in fields(DatasetInfo)
    }
    for key, value in values.items():
        values[key] = tuple(value) if isinstance(value, list) else value
    return DatasetInfo(**values)


def _check_hash(path: Path, name: str, expected: str) -> None:
    file = path / name
    if not file.is_file():
        raise StoreError(f"{path} lacks {name}; the store is incomplete")
    if (found := sha256(file)) != expected:
        raise StoreError(
            f"{file}: SHA-256 is {found[:12]}…, card.yaml says {expected[:12]}…; truncated or altered"
        )


def _load_array(file: Path, *, mapped: bool) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise StoreError(f"{file} is truncated or not an array: {error}") from error
    except FileNotFoundError as error:
        raise StoreError(
            f"{file.parent} lacks {file.name}; the store is incomplete"
        ) from error


def _check_tiling(path: Path, entries: tuple[EpisodeEntry, ...], steps: np.ndarray) -> None:
    if not entries:
        raise StoreError(f"{path} holds no episode; record or collect some first")
    lengths = np.array([entry.length + 1 for entry in entries])
    ends = np.cumsum(lengths)
    starts = np.array([entry.start for entry in entries])
    if (
        (starts != ends - lengths).any()
        or ends[-1] != len(steps)
        or not steps["is_last"][ends - 1].all()
    ):
        raise StoreError(
            f"{path}: episodes.json does not describe the {len(steps)} rows of steps.npy"
        )


def read_marks(path: Path, entries: Iterable[EpisodeEntry]) -> tuple[Mark, ...]:
    """Return every mark ever made in a store, oldest first; none where it has no `review.yaml`.

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
    described = _read_yaml(file, REVIEW_VERSION)
    try:
        marks = tuple(Mark(**values) for values in described["marks"])
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{file} is damaged ({error}); correct it, or remove it to have no marks"
        ) from error
    lengths = {entry.id: entry.length for entry in entries}
    for mark in marks:
        check_mark(mark, lengths, str(file))
    return marks


def check_mark(mark: Mark, lengths: Mapping[str, int], where: str) -> None:
    """Raise StoreError if a mark does not fit the episodes.

    Args:
        mark: What to check.
        lengths: Transitions of every episode as written, by id.
        where: What the message names as the place of the mark.
    """
    if not isinstance(mark.id, str) or mark.id not in lengths:
        near = (
            difflib.get_close_matches(str(mark.id), lengths, 3, cutoff=0.4)
            or list(lengths)[:3]
        )
        raise StoreError(
            f"{where}: the store has no episode {mark.id!r}; near are: {', '.join(map(repr, near))}"
        )
    if mark.verdict not in VERDICTS:
        raise StoreError(
            f"{where}: verdict on episode {mark.id} is {mark.verdict!r}; allowed: {', '.join(VERDICTS)}"
        )
    for name in ("reason", "by", "at"):
        if not isinstance(getattr(mark, name), str):
            raise StoreError(
                f"{where}: {name} of the mark on {mark.id} is not text; put it into quotes"
            )
    if mark.verdict != "trim":
        return
    first, last, length = mark.first, mark.last, lengths[mark.id]
    if not (
        isinstance(first, int) and isinstance(last, int) and 0 <= first < last <= length
    ):
        raise StoreError(
            f"{where}: episode {mark.id} cannot be trimmed to {first}:{last}; allowed is FIRST:LAST within 0:{length} "
            "(observations, both kept), FIRST before LAST"
        )


def current_marks(history: Iterable[Mark]) -> dict[str, Mark]:
    """Return the mark that counts for each marked episode."""
    latest = {mark.id: mark for mark in history}
    return {name: mark for name, mark in latest.items() if mark.verdict != "clear"}


def kept_entries(
    entries: Iterable[EpisodeEntry], marks: Mapping[str, Mark]
) -> tuple[EpisodeEntry, ...]:
    """Return the episodes that marks leave, trimmed ones with the start and length of what is kept of them."""
    kept = []
    for entry in entries:
        mark = marks.get(entry.id)
        if mark is None or mark.verdict == "good":
            kept.append(entry)
        elif mark.verdict == "trim" and mark.first is not None and mark.last is not None:
            kept.append(
                replace(
                    entry, start=entry.start + mark.first, length=mark.last - mark.first
                )
            )
    return tuple(kept)


def _apply_marks(
    path: Path,
    card: DatasetInfo,
    marks: Mapping[str, Mark],
    entries: tuple[EpisodeEntry, ...],
    steps: np.ndarray,
    fingerprint: str,
) -> tuple[tuple[EpisodeEntry, ...], np.ndarray, str]:
    """Return entries, steps and fingerprint of what is kept; equal to those given where that is everything."""
    kept = kept_entries(entries, marks)
    if kept == entries:
        return entries, steps, fingerprint
    if not kept:
        raise StoreError(
            f"{path / REVIEW_FILE} marks all {len(entries)} episodes as bad; clear one with `ptr review`"
        )
    steps, whole = steps.copy(), set(entries)
    left_out = np.ones(len(steps), bool)
    for entry in kept:
        rows = slice(entry.start, entry.start + entry.length)
        left_out[rows] = False
        if entry not in whole:
            steps["reward"][rows] = label_rewards(
                entry.length, entry.outcome == "success", card.last_n
            )
    steps["is_last"] = left_out
    for name in ("requested", "executed", "reward"):
        steps[name][left_out] = 0
    view = json.dumps(
        [fingerprint, *([entry.id, entry.start, entry.length] for entry in kept)]
    )
    return kept, steps, hashlib.sha256(view.encode()).hexdigest()
