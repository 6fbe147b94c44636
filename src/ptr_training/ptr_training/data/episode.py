"""Episodes, and the writer of their store: one folder per data set (`store.py` reads it).

The layout is described in `docs/design.md` (section "Episode store"). Equal input gives
equal bytes: no time and no property of the machine enters a store. The marks of reviewers
(`ptr review`) are in a file beside the data, `review.yaml`, and are applied when the store
is opened.
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
from ptr_common.documents import read_yaml
from ptr_common.files import atomic_folder, sha256
from ptr_common.images import RESIZE_NAME
from ptr_common.names import visible_task
from ptr_training.errors import TrainingError

FORMAT_VERSION = 1
REWARDED_STEPS = 3
"""Transitions at the end of a success that earn the reward (paper §4.2; one did not suffice)."""

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
    """An episode store is missing, not ours, truncated or empty, or an episode does not fit it."""


@dataclass(frozen=True)
class Episode:
    """One attempt at one task: T actions between T + 1 observations."""

    id: str
    task: str
    frames: np.ndarray  # (T + 1, H, W, 3) uint8 RGB
    stamps_ns: (
        np.ndarray
    )  # (T + 1,) int64, times of exposure: header stamps less the latency
    proprio: np.ndarray  # (T + 1, 7), see action_space.PROPRIO_NAMES
    requested: np.ndarray  # (T, 7), see action_space.ACTION_NAMES
    executed: np.ndarray  # (T, 7), after the arm's limits
    outcome: str  # success, failure, stop, interrupted
    operator: str = ""
    source: str = ""  # bag or generator it came from
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.requested)

    @property
    def success(self) -> bool:
        """Whether the task was done."""
        return self.outcome == "success"


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a store: one `card.yaml`, to which the writer adds the counts."""

    name: str
    camera: str
    camera_width: int
    camera_height: int
    image_height: int
    image_width: int
    licence: str = "unspecified"
    command: str = "executed"  # command learnt from: requested or executed
    rate: float = CONTROL_RATE  # [Hz]
    resize: str = RESIZE_NAME
    last_n: int = REWARDED_STEPS
    action_names: tuple[str, ...] = ACTION_NAMES
    action_low: tuple[float, ...] = tuple(ACTION_LOW.tolist())
    action_high: tuple[float, ...] = tuple(ACTION_HIGH.tolist())
    # {name, sha256} of each input; of a bag also its camera_latency [s]
    sources: tuple[dict[str, Any], ...] = ()


def read_versioned(file: Path, version: int) -> dict[str, Any]:
    """Return the contents of a YAML file of ours.

    Args:
        file: The file.
        version: The `format_version` it must have.

    Raises:
        StoreError: If it is damaged or its `format_version` is another one.
    """
    contents = read_yaml(file, StoreError)
    file_version = contents.get("format_version") if isinstance(contents, dict) else None
    if file_version != version:
        raise StoreError(
            f"{file}: format_version is {file_version!r}, this version reads {version}"
        )

    return contents


def label_rewards(length: int, success: bool, last_n: int = REWARDED_STEPS) -> np.ndarray:
    """Return the 0/1 rewards of an episode's transitions: one on the last `last_n` of a success.

    Source: paper §4.2 and Appendix E (a single rewarded step gave 0/10, three gave 7/10).

    Args:
        length: Transitions of the episode.
        success: Whether the task was done.
        last_n: Transitions at the end that earn the reward.

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

    Args:
        path: Folder to make.
        info: Description of the data; it may be replaced before the block ends.
        overwrite: Replace an existing folder.

    Raises:
        StoreError: If the command to learn from is unknown.
    """

    def __init__(
        self, path: Path | str, info: DatasetInfo, *, overwrite: bool = False
    ) -> None:
        if info.command not in ("requested", "executed"):
            raise StoreError(
                f"command learnt from is {info.command!r}; "
                "it must be 'requested' or 'executed'"
            )

        self.path = Path(path)
        self.info = info
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

        Args:
            episode: Its frames must have the size that `info` says.

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
        rewards = label_rewards(len(episode), episode.success, self.info.last_n)
        rows["reward"][:-1] = rewards
        rows["is_last"][-1] = True
        pixels = np.ascontiguousarray(episode.frames).data
        self._frames.write(pixels)
        self._hash.update(pixels)
        self._steps.append(rows)
        self._ids.add(episode.id)
        entry = {
            "id": episode.id,
            "task": visible_task(episode.task),
            "start": self._rows,
            "length": len(episode),
            "outcome": episode.outcome,
            "operator": episode.operator,
            "source": episode.source,
            "seed": episode.seed,
        }
        self._episodes.append(entry)
        self._rows += len(rows)

    def _check(self, episode: Episode) -> None:
        """Raise StoreError if an episode does not fit the store."""
        size = len(episode) + 1
        shapes = {
            "frames": (size, self.info.image_height, self.info.image_width, 3),
            "stamps_ns": (size,),
            "proprio": (size, 7),
            "requested": (size - 1, 7),
            "executed": (size - 1, 7),
        }
        for name, expected in shapes.items():
            shape = getattr(episode, name).shape
            if shape != expected:
                raise StoreError(
                    f"episode {episode.id}: {name} has shape {shape}, expected {expected}"
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
        """Write the header of the frames, and all other files."""
        if not self._episodes:
            raise StoreError(f"{self.path}: no episode to write; the store would be empty")
        shape = (self._rows, self.info.image_height, self.info.image_width, 3)
        self._frames.seek(0)
        self._frames.write(_npy_header(shape))
        self._frames.close()
        np.save(self.folder / "steps.npy", np.concatenate(self._steps), allow_pickle=False)
        episodes = json.dumps(self._episodes, indent=1) + "\n"
        (self.folder / "episodes.json").write_text(episodes)
        card = yaml.safe_dump(self._card(), sort_keys=False)
        (self.folder / "card.yaml").write_text(card)

    def _card(self) -> dict[str, Any]:
        """Return the contents of card.yaml."""
        info: dict[str, Any] = {}
        for key, value in asdict(self.info).items():
            info[key] = list(value) if isinstance(value, tuple) else value
        tasks = Counter(str(entry["task"]) for entry in self._episodes)
        return {
            "format_version": FORMAT_VERSION,
            **info,
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
    """Return a .npy header of fixed length, which is written once the number of rows is known.

    Args:
        shape: Of the array of bytes, (N, H, W, 3).
    """
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
