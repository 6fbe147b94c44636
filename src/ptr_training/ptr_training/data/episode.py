"""Episodes, and how they are written into a store: one folder per data set, memory-mapped when read (`data/store.py`).

The layout is described in `docs/design.md` (section "Episode store"). Equal input gives
equal
bytes: nothing of the machine or of the hour enters a store. What a person says of its
episodes later (`ptr review`) stands in a file of its own, `review.yaml`, and is applied
when the store is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import yaml

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, ACTION_NAMES, CONTROL_RATE
from ptr_common.files import atomic_folder, sha256
from ptr_common.images import RESIZE_NAME
from ptr_training.errors import TrainingError

FORMAT_VERSION = 1
REWARDED_STEPS = 3
"""Transitions at the end of a success that earn the reward (paper §4.2; one of them was not enough)."""

STEP = np.dtype(
    [
        ("episode", "<i4"),
        ("step", "<i4"),
        ("stamp_ns", "<i8"),
        ("proprio", "<f4", (7,)),
        ("requested", "<f4", (7,)),
        ("executed", "<f4", (7,)),
        ("reward", "<f4"),
        ("is_last", "?"),
    ]
)
"""One row of `steps.npy`; row r belongs to frame r. Commands are zero where `is_last` is true."""

HEADER_BYTES = 128
"""Bytes before the pixels of `frames.npy`."""


class StoreError(TrainingError):
    """An episode store is missing, foreign, truncated or empty, or an episode does not fit it."""


@dataclass(frozen=True)
class Episode:
    """One attempt at one task: T actions between T + 1 observations."""

    id: str
    task: str
    frames: np.ndarray  # (T + 1, H, W, 3) uint8 RGB
    stamps_ns: (
        np.ndarray
    )  # (T + 1,) int64, when the frames were seen: header stamps less the camera's latency
    proprio: np.ndarray  # (T + 1, 7), see spec.PROPRIO_NAMES
    requested: np.ndarray  # (T, 7), see spec.ACTION_NAMES
    executed: np.ndarray  # (T, 7), after the arm's limits
    outcome: str  # success, failure, stop, interrupted
    operator: str = ""
    source: str = ""  # bag or generator it came from
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.requested)

    @property
    def success(self) -> bool:
        return self.outcome == "success"


@dataclass(frozen=True)
class DatasetInfo:
    """What a store holds, as its maker says it; the counts are added when it is written."""

    name: str
    camera: str
    camera_width: int
    camera_height: int
    image_height: int
    image_width: int
    licence: str = "unspecified"
    command: str = (
        "executed"  # which of the two commands is learnt from: requested or executed
    )
    rate: float = CONTROL_RATE  # [Hz]
    resize: str = RESIZE_NAME
    last_n: int = REWARDED_STEPS
    action_names: tuple[str, ...] = ACTION_NAMES
    action_low: tuple[float, ...] = tuple(ACTION_LOW.tolist())
    action_high: tuple[float, ...] = tuple(ACTION_HIGH.tolist())
    sources: tuple[
        dict[str, Any], ...
    ] = ()  # {name, sha256} of each input; camera_latency [s] of a bag


def parse_yaml(text: str | bytes) -> Any:
    """Return the plain values of a YAML document; raises yaml.YAMLError if it is none."""
    # Safe: both loaders build plain values only and refuse tags that name Python objects,
    # as yaml.safe_load does. The one written in C is ten times as fast, where PyYAML was
    # built with it: ten milliseconds a bag. both loaders are safe ones, which make nothing
    # but plain values; the one in C is the faster
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def label_rewards(length: int, success: bool, last_n: int = REWARDED_STEPS) -> np.ndarray:
    """Return the 0/1 rewards of an episode's transitions: one on the last `last_n` of a success.

    Source: paper §4.2 and Appendix E (a single rewarded step gave 0/10, three gave 7/10).

    Returns:
        Rewards, shape (length,), float32.
    """
    rewards = np.zeros(length, np.float32)
    if success:
        rewards[max(0, length - last_n) :] = 1.0
    return rewards


class EpisodeWriter:
    """Writes episodes into a new store, one at a time; the store appears when the block ends well.

    Other files of the store (an audit) may be written into `folder` before the block ends.
    """

    def __init__(
        self, path: Path | str, card: DatasetInfo, *, overwrite: bool = False
    ) -> None:
        if card.command not in ("requested", "executed"):
            raise StoreError(
                f"command learnt from is {card.command!r}; it must be 'requested' or 'executed'"
            )
        self.path = Path(path)
        self.card = card
        self.folder = self.path  # the temporary folder while the block runs
        self._overwrite = overwrite
        self._steps: list[np.ndarray] = []
        self._episodes: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._rows = 0
        self._hash = hashlib.sha256()
        self._frames: BinaryIO

    def __enter__(self) -> EpisodeWriter:
        with ExitStack() as stack:
            self.folder = stack.enter_context(
                atomic_folder(self.path, overwrite=self._overwrite)
            )
            self._frames = stack.enter_context((self.folder / "frames.npy").open("wb"))
            self._frames.write(bytes(HEADER_BYTES))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()

    def add(self, episode: Episode) -> None:
        """Append one episode.

        Raises:
            StoreError: If its arrays disagree in length, hold values that are not finite,
            or its id is taken.
        """
        self._check(episode)
        rows = np.zeros(len(episode) + 1, STEP)
        rows["episode"] = len(self._episodes)
        rows["step"] = np.arange(len(rows))
        rows["stamp_ns"] = episode.stamps_ns
        rows["proprio"] = episode.proprio
        rows["requested"][:-1] = episode.requested
        rows["executed"][:-1] = episode.executed
        rows["reward"][:-1] = label_rewards(len(episode), episode.success, self.card.last_n)
        rows["is_last"][-1] = True
        pixels = np.ascontiguousarray(episode.frames).data
        self._frames.write(pixels)
        self._hash.update(pixels)
        self._steps.append(rows)
        self._ids.add(episode.id)
        entry = {
            "id": episode.id,
            "task": episode.task,
            "start": self._rows,
            "length": len(episode),
        }
        entry |= {
            key: getattr(episode, key) for key in ("outcome", "operator", "source", "seed")
        }
        self._episodes.append(entry)
        self._rows += len(rows)

    def _check(self, episode: Episode) -> None:
        size = len(episode) + 1
        shapes = {
            "frames": (size, self.card.image_height, self.card.image_width, 3),
            "stamps_ns": (size,),
            "proprio": (size, 7),
            "requested": (size - 1, 7),
            "executed": (size - 1, 7),
        }
        for name, wanted in shapes.items():
            found = getattr(episode, name).shape
            if found != wanted:
                raise StoreError(
                    f"episode {episode.id}: {name} has shape {found}, expected {wanted}"
                )
        if episode.frames.dtype != np.uint8:
            raise StoreError(
                f"episode {episode.id}: frames are {episode.frames.dtype}, expected uint8"
            )
        if size == 1:
            raise StoreError(f"episode {episode.id} has no actions")
        for name in ("proprio", "requested", "executed"):
            if not np.isfinite(getattr(episode, name)).all():
                raise StoreError(
                    f"episode {episode.id}: {name} holds values that are not finite"
                )
        if episode.id in self._ids:
            raise StoreError(f"episode id {episode.id!r} occurs twice in {self.path}")

    def _finish(self) -> None:
        if not self._episodes:
            raise StoreError(f"{self.path}: no episode to write; the store would be empty")
        self._frames.seek(0)
        self._frames.write(
            _npy_header((self._rows, self.card.image_height, self.card.image_width, 3))
        )
        self._frames.close()
        np.save(self.folder / "steps.npy", np.concatenate(self._steps), allow_pickle=False)
        (self.folder / "episodes.json").write_text(
            json.dumps(self._episodes, indent=1) + "\n"
        )
        (self.folder / "card.yaml").write_text(
            yaml.safe_dump(self._described(), sort_keys=False)
        )

    def _described(self) -> dict[str, Any]:
        card = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self.card).items()
        }
        tasks = Counter(str(entry["task"]) for entry in self._episodes)
        return {
            "format_version": FORMAT_VERSION,
            **card,
            "tasks": dict(sorted(tasks.items())),
            "episodes": len(self._episodes),
            "steps": self._rows - len(self._episodes),
            "sha256": {
                "pixels": self._hash.hexdigest(),  # of the frames' bytes, without the .npy header
                "steps": sha256(self.folder / "steps.npy"),
                "episodes": sha256(self.folder / "episodes.json"),
            },
        }


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return a .npy header of fixed length, so that it can be rewritten once the number of rows is known."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (HEADER_BYTES - 10).to_bytes(2, "little")
        + text.ljust(HEADER_BYTES - 11).encode()
        + b"\n"
    )


@dataclass(frozen=True)
class EpisodeEntry:
    """One line of `episodes.json`."""

    id: str
    task: str
    start: int  # row of its first observation
    length: int  # T: transitions
    outcome: str
    operator: str = ""
    source: str = ""
    seed: int | None = None
