"""Episode stores opened for reading, as written or as reviewers have marked them.

The layout is described in `docs/design.md` (section "Episode store").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.action_space import ACTION_NAMES
from ptr_common.documents import Fields, read_json
from ptr_common.files import sha256

from .episode import (
    FORMAT_VERSION,
    STEP,
    DatasetInfo,
    Episode,
    EpisodeEntry,
    StoreError,
    read_versioned,
)
from .marks import apply_marks, current_marks, read_marks

REMEDY = "make the store again, or copy it again"
"""What to do about a file of a store with wrong values."""

MAX_ROWS = 1 << 40
"""Most observations of a store."""

MAX_PIXELS = 1_000_000
"""Largest height and width of an image [pixels]."""


@dataclass(frozen=True)
class EpisodeStore:
    """A store opened for reading; `frames` stays on disk and is mapped into memory.

    Open one with `EpisodeStore.open`. Unless it was opened as written, `entries` and
    `steps` show what its reviewers kept: `is_last` is true, and command and reward zero, on
    every row that is no transition of `entries`.
    """

    path: Path
    info: DatasetInfo
    entries: tuple[EpisodeEntry, ...]
    frames: np.ndarray  # (N, H, W, 3) uint8, memory-mapped, read-only
    steps: np.ndarray  # (N,) of STEP
    # SHA-256 of card.yaml, which lists those of the other files; with marks, also of the entries
    fingerprint: str
    pixels_sha256: str = field(repr=False, default="")  # of all frames, from card.yaml

    @classmethod
    def open(cls, path: Path | str, *, reviewed: bool = True) -> EpisodeStore:
        """Open and check a store.

        The pixels are not read; `check_pixels` does that.

        Args:
            path: Folder of the store.
            reviewed: Apply the marks of `review.yaml`; otherwise show the store as written.

        Raises:
            StoreError: If it is missing, of another format or version, truncated, altered
                or empty, or if its `review.yaml` is damaged, marks episodes that it does
                not hold or leaves none.
        """
        path = Path(path)
        card = _read_card(path)
        for name in ("steps.npy", "episodes.json"):
            _check_hash(path, name, card["sha256"][name.split(".")[0]])
        frames = _load_array(path / "frames.npy", mapped=True)
        steps = _load_array(path / "steps.npy", mapped=False)
        info = dataset_info(card, path / "card.yaml")
        shape = (len(steps), info.image_height, info.image_width, 3)
        if steps.dtype != STEP or frames.shape != shape or frames.dtype != np.uint8:
            raise StoreError(
                f"{path}: frames.npy is {frames.dtype} {frames.shape}, "
                f"expected uint8 {shape}"
            )

        entries = _read_entries(path / "episodes.json")
        _check_tiling(path, entries, steps)
        fingerprint = sha256(path / "card.yaml")
        if reviewed and (marks := current_marks(read_marks(path, entries))):
            entries, steps, fingerprint = apply_marks(
                path, marks, entries, steps, last_n=info.last_n, fingerprint=fingerprint
            )

        pixels = card["sha256"]["pixels"]
        return cls(path, info, entries, frames, steps, fingerprint, pixels)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names, sorted."""
        return tuple(sorted({entry.task for entry in self.entries}))

    @property
    def actions(self) -> np.ndarray:
        """The command learnt from, shape (N, 7), float32; zero on rows without an action."""
        return self.steps[self.info.command]

    @property
    def rows(self) -> np.ndarray:
        """The rows that hold an observation of `entries`, ascending, int64."""
        rows = []
        for entry in self.entries:
            rows.append(np.arange(entry.start, entry.start + entry.length + 1))
        return np.concatenate(rows)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Episode]:
        for index in range(len(self)):
            yield self.episode(index)

    def episode(self, index: int) -> Episode:
        """Return one episode; its frames are a view of the mapped file."""
        entry = self.entries[index]
        rows = slice(entry.start, entry.start + entry.length + 1)
        return episode_of(entry, self.steps[rows], self.frames[rows])

    def check_pixels(self) -> None:
        """Read every pixel and compare with card.yaml; raises StoreError if one was altered."""
        digest = hashlib.sha256()
        for start in range(0, len(self.frames), 1024):
            digest.update(np.ascontiguousarray(self.frames[start : start + 1024]).data)
        if digest.hexdigest() != self.pixels_sha256:
            raise StoreError(
                f"{self.path / 'frames.npy'}: pixels do not match card.yaml; "
                "copy or export it again"
            )


def read_info(path: Path) -> DatasetInfo:
    """Return the description of a store; raises StoreError if its card.yaml is unusable."""
    return dataset_info(_read_card(path), path / "card.yaml")


def _read_card(path: Path) -> dict[str, Any]:
    """Return the contents of card.yaml; raises StoreError if it is missing or incomplete."""
    file = path / "card.yaml"
    if not file.is_file():
        raise StoreError(
            f"{path} is not an episode store: it has no card.yaml "
            "(make one with `ptr export` or `ptr collect`)"
        )

    card = read_versioned(file, FORMAT_VERSION)
    needed = {*DatasetInfo.__dataclass_fields__, "sha256"}
    if missing := needed - set(card):
        raise StoreError(f"{file} lacks {', '.join(sorted(missing))}")
    hashes = card["sha256"]
    for name in ("steps", "episodes", "pixels"):
        if not isinstance(hashes, dict) or not isinstance(hashes.get(name), str):
            raise StoreError(f"{file} lacks the SHA-256 of {name}")

    return card


def _read_entries(file: Path) -> tuple[EpisodeEntry, ...]:
    """Return the episodes of a store; raises StoreError naming one with a wrong value."""
    lines = read_json(file, StoreError)
    if not isinstance(lines, list):
        raise StoreError(
            f"{file} holds {type(lines).__name__}, expected a list of episodes"
        )
    return tuple(
        episode_entry(Fields(line, f"{file}, episode {number}", StoreError, remedy=REMEDY))
        for number, line in enumerate(lines)
    )


def episode_entry(fields: Fields) -> EpisodeEntry:
    """Return an episode as `episodes.json` lists it; raises an error naming a wrong value."""
    for name in fields.values:
        if name not in EpisodeEntry.__dataclass_fields__:
            fields.refuse(name, "no such field")
    has_seed = fields.values.get("seed") is not None
    return EpisodeEntry(
        id=fields.text("id"),
        task=fields.text("task"),
        start=fields.integer("start", 0, MAX_ROWS),
        length=fields.integer("length", 0, MAX_ROWS),
        outcome=fields.text("outcome"),
        operator=fields.text("operator", ""),
        source=fields.text("source", ""),
        seed=fields.integer("seed", 0, 1 << 64) if has_seed else None,
    )


def episode_of(entry: EpisodeEntry, steps: np.ndarray, frames: np.ndarray) -> Episode:
    """Return an episode.

    Args:
        entry: What `episodes.json` says of it.
        steps: Its rows, shape (T + 1,) of STEP.
        frames: Its images, shape (T + 1, H, W, 3), uint8 RGB.
    """
    return Episode(
        id=entry.id,
        task=entry.task,
        frames=frames,
        stamps_ns=steps["stamp_ns"],
        proprio=steps["proprio"],
        requested=steps["requested"][:-1],
        executed=steps["executed"][:-1],
        outcome=entry.outcome,
        operator=entry.operator,
        source=entry.source,
        seed=entry.seed,
    )


def dataset_info(card: dict[str, Any], file: Path) -> DatasetInfo:
    """Return the description of a store.

    Args:
        card: Contents of its card.yaml.
        file: Its card.yaml, for messages.

    Raises:
        StoreError: If a value is not of its kind.
    """
    fields = Fields(card, file, StoreError, remedy=REMEDY)
    return DatasetInfo(
        name=fields.text("name"),
        camera=fields.text("camera"),
        camera_width=fields.integer("camera_width", 0, MAX_PIXELS),
        camera_height=fields.integer("camera_height", 0, MAX_PIXELS),
        image_height=fields.integer("image_height", 1, MAX_PIXELS),
        image_width=fields.integer("image_width", 1, MAX_PIXELS),
        licence=fields.text("licence"),
        command=fields.text("command", allowed=("requested", "executed")),
        rate=fields.number("rate", 0.01, 1000.0),
        resize=fields.text("resize"),
        last_n=fields.integer("last_n", 0, 1_000_000),
        action_names=fields.texts("action_names"),
        action_low=fields.numbers("action_low", len(ACTION_NAMES)),
        action_high=fields.numbers("action_high", len(ACTION_NAMES)),
        sources=tuple(fields.tables("sources")),
    )


def _check_hash(path: Path, name: str, expected: str) -> None:
    """Raise StoreError if a file of a store is missing or is not the one of its card.yaml.

    Args:
        path: Folder of the store.
        name: Name of the file in it.
        expected: SHA-256 in hexadecimal.
    """
    file = path / name
    if not file.is_file():
        raise StoreError(f"{path} lacks {name}; the store is incomplete")
    digest = sha256(file)
    if digest != expected:
        raise StoreError(
            f"{file}: SHA-256 is {digest[:12]}…, card.yaml says {expected[:12]}…; "
            "truncated or altered"
        )


def _load_array(file: Path, *, mapped: bool) -> np.ndarray:
    """Return the array in a .npy file; raises StoreError if the file is missing or damaged.

    Args:
        file: The file.
        mapped: Leave the values on disk and map them into memory, read-only.
    """
    try:
        return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise StoreError(
            f"{file.parent} lacks {file.name}; the store is incomplete"
        ) from error
    except Exception as error:  # the text of a damaged header raises errors of any type
        raise StoreError(f"{file} is truncated or not an array: {error}") from error


def _check_tiling(path: Path, entries: tuple[EpisodeEntry, ...], steps: np.ndarray) -> None:
    """Raise StoreError if the episodes do not follow one another over all rows.

    Args:
        path: Folder of the store, for the message.
        entries: Its episodes.
        steps: Its steps, shape (N,) of STEP.
    """
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
