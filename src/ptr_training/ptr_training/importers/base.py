"""What all importers share: a record, the options, and an episode as its source holds it.

How a source episode becomes an episode of a store is described in to_episode.py.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.files import is_lfs_pointer
from ptr_common.names import clean_task
from ptr_training.errors import TrainingError

COLLECTIONS = ("bridge_data_v1", "bridge_data_v2", "flap", "icra", "rss", "scripted")
"""Top folders of BridgeData; the folders above them depend on the computer they are on."""

_DATED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


class RecordError(TrainingError):
    """A record is damaged; the message names the damage, the importer adds the record."""


class RecordStatus(Enum):
    """The result of importing a record."""

    USED = "used"
    EXCLUDED = "excluded"  # by --include or --exclude
    NO_CAMERA = "without this camera"
    TOO_SHORT = "too short"  # no transition is left
    DUPLICATE = "duplicate"  # same name and same content as an earlier record
    OVER_LIMIT = "over the limit"
    BAD = "bad"


class SkipRecord(Exception):  # noqa: N818
    """A record is in order but not wanted."""

    def __init__(self, status: RecordStatus, reason: str = "") -> None:
        """Give the status of the record, and the reason where the status does not say it."""
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Record:
    """Where the data of one episode are."""

    path: Path  # file or folder
    label: str  # name in the audit: without the folders that depend on the computer
    number: int = 0  # within the file
    offset: int = 0  # of its first byte
    size: int = 0  # bytes; 0 for folders, which would have to be walked
    version: int = 0  # of a table that keeps several; 0: its format has none


@dataclass(frozen=True)
class ImportOptions:
    """What the user chose, and what sources do not contain."""

    # empty: number 0, over the shoulder; of lerobot and lance the only one
    camera: str = ""
    task_from: str = "folder"  # or language
    task_map: Mapping[str, str] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    outcome: str = "success"  # of sources that do not contain it
    drop_zero_first: bool = False
    binarize_gripper: bool = False
    gripper_range: tuple[float, float] = (0.0, 1.0)  # closed and open in the source
    degrees: bool = False  # the source has its angles of actions in degrees
    # lerobot and lance: names or indices of PROPRIO_NAMES in the state, ACTION_NAMES in the action
    state: tuple[str, ...] = ()
    action: tuple[str, ...] = ()

    def check_wanted(self, folder: str) -> None:
        """Check a path against the filters.

        As in PTR's lists, a substring counts anywhere in the path: "open" also matches
        put_spoon_into_opened_drawer.

        Raises:
            SkipRecord: Unless the path has one of `include`, if any, and none of `exclude`.
        """
        is_included = not self.include or any(part in folder for part in self.include)
        if not is_included or any(part in folder for part in self.exclude):
            raise SkipRecord(RecordStatus.EXCLUDED)

    def camera_number(self) -> int:
        """Return the camera for formats that number their cameras.

        Raises:
            TrainingError: If the camera is not a number.
        """
        if not self.camera:
            return 0
        if not self.camera.isdecimal():
            raise TrainingError(
                f"--camera is {self.camera!r}, but this format only numbers its cameras; "
                "allowed are numbers from 0"
            )

        return int(self.camera)


@dataclass(frozen=True)
class BridgePath:
    """What the folder names of BridgeData say about the data in them."""

    name: str  # the path from the collection on
    folder: str = ""  # the same down to the task, its number and the date
    domain: str = ""
    task: str = ""
    collected: datetime | None = None

    @classmethod
    def parse(cls, path: Path | str) -> BridgePath:
        """Return the parts of a path.

        The path is `.../COLLECTION/DOMAIN/TASK[/NN]`, then a dated folder and `raw`, or a
        split. Unknown collections are left off, so that the name begins with the domain.
        """
        parts = [part for part in PurePosixPath(path).parts if part != "/"]
        folder = parts[: _end_of_folder(parts)]
        end = len(folder)
        collected = None
        if end and _DATED.fullmatch(folder[-1]):
            collected = datetime.strptime(folder[-1], "%Y-%m-%d_%H-%M-%S")
            end -= 1
        if end and folder[end - 1].isdecimal():
            end -= 1
        start = _start_of_name(folder, end)
        return cls(
            name="/".join(parts[start:]),
            folder="/".join(folder[start:]),
            domain=folder[end - 2] if end > 1 else "",
            task=folder[end - 1] if end else "",
            collected=collected,
        )


def _start_of_name(folder: Sequence[str], end: int) -> int:
    """Return the index of the last collection, or of the domain where there is none.

    Args:
        folder: Parts of a path.
        end: Index after the task.
    """
    for index in reversed(range(max(0, end - 1))):
        if folder[index] in COLLECTIONS:
            return index
    return max(0, end - 2)


def _end_of_folder(parts: Sequence[str]) -> int:
    """Return the index at which `raw/traj_groupG/trajN` or `train/out.npy` begins."""
    for index, (part, below) in enumerate(pairwise(parts)):
        if part == "raw" and below.startswith("traj_group"):
            return index
    end = len(parts)
    if end and parts[-1].endswith(".npy"):
        end -= 1
        if end and parts[end - 1] in ("train", "val"):
            end -= 1
    return end


@dataclass(frozen=True)
class SourceEpisode:
    """One demonstration as its format holds it: T actions between T + 1 observations.

    Raises:
        RecordError: If the lengths do not fit together or a number is not finite.
    """

    id: str
    bridge_path: BridgePath
    sha256: str  # of the bytes that were read
    images: Sequence[bytes | np.ndarray]  # T + 1: encoded, or (H, W, 3) uint8 RGB
    states: np.ndarray  # (T + 1, 7), see action_space.PROPRIO_NAMES
    actions: np.ndarray  # (T, 7), see action_space.ACTION_NAMES
    executed: np.ndarray | None = None  # (T, 7), if the source has it besides `actions`
    stamps_ns: np.ndarray = field(default_factory=lambda: np.array([], np.int64))
    """Times of the observations [ns], shape (T + 1,) or (0,)."""
    language: tuple[str, ...] = ()  # instructions
    notes: tuple[str, ...] = ()  # for the audit
    outcome: str = ""  # if the source contains it
    original: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of `Episode`, of an episode that came from a store (`ptr convert`)."""

    def __post_init__(self) -> None:
        """Check lengths and numbers."""
        self._check_lengths()
        for name in ("states", "actions", "executed"):
            rows = getattr(self, name)
            if rows is None:
                continue
            is_finite = np.isfinite(rows).all(axis=1)
            if not is_finite.all():
                raise RecordError(
                    f"the {name} hold values that are not finite, "
                    f"first in row {int(is_finite.argmin())}"
                )

    def _check_lengths(self) -> None:
        """Refuse an episode unless it has one observation more than actions."""
        observed = {"images": len(self.images), "states": len(self.states)}
        if len(self.stamps_ns):
            observed["time stamps"] = len(self.stamps_ns)
        if set(observed.values()) != {len(self.actions) + 1}:
            lengths = ", ".join(f"{count} {name}" for name, count in observed.items())
            raise RecordError(
                f"{lengths}, {len(self.actions)} actions; "
                "there must be one action less than of the others"
            )

    def without_observation(self, action: int, note: str) -> SourceEpisode:
        """Return the episode without its first observation and without one action.

        Args:
            action: Index of the action to leave out: the first (0) or the last (-1).
            note: Note for the audit.

        Raises:
            SkipRecord: If there is no action.
        """
        if not len(self.actions):
            raise SkipRecord(RecordStatus.TOO_SHORT)
        executed = self.executed
        if executed is not None:
            executed = np.delete(executed, action, axis=0)
        return replace(
            self,
            images=self.images[1:],
            states=self.states[1:],
            actions=np.delete(self.actions, action, axis=0),
            executed=executed,
            stamps_ns=self.stamps_ns[1:],
            notes=(*self.notes, note),
        )


def natural_key(path: Path) -> list[str | int]:
    """Return a sorting key that puts `traj10` after `traj9`."""
    key: list[str | int] = []
    for part in re.split(r"(\d+)", str(path)):
        key.append(int(part) if part.isdecimal() else part)
    return key


def normalise_name(name: str) -> str:
    """Return a task name in lower case, with single spaces for underscores and white space.

    Letters are composed and invisible characters left out, see `names.clean_task`.
    """
    return clean_task(name.replace("_", " ").lower())


def decode_text(data: bytes, name: str) -> str:
    """Return the text of a file, which a byte order mark may begin: UTF-8 or UTF-16.

    Args:
        data: Its bytes.
        name: What error messages call it.

    Raises:
        RecordError: If it is in another encoding.
    """
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if is_wide else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecordError(
            f"{name} is not {encoding.upper()} ({error}); save it so"
        ) from error


def as_floats(values: Any, name: str) -> np.ndarray:
    """Return numbers as an array of float64.

    Args:
        values: Nested lists or arrays.
        name: What error messages call them.

    Raises:
        RecordError: If they are not numbers or the rows differ in length.
    """
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise RecordError(f"the {name} are no numbers: {error}") from error


def rows_of_seven(values: Any, name: str) -> np.ndarray:
    """Return rows of seven numbers, shape (n, 7), float32.

    Args:
        values: Nested lists or arrays.
        name: What error messages call them.

    Raises:
        RecordError: If they are anything else.
    """
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        rows = as_floats(values, name).astype(np.float32)

    if rows.size and rows.shape[1:] != (7,):
        raise RecordError(f"the {name} have shape {rows.shape}, expected (n, 7)")
    return rows.reshape(-1, 7)


def as_nanoseconds(seconds: Any, name: str) -> np.ndarray:
    """Return time stamps [ns], shape (n,), int64; all of them are 0 if one is not a time.

    Args:
        seconds: Time stamps [s].
        name: What error messages call them.

    Raises:
        RecordError: If they are not numbers.
    """
    stamps = as_floats(seconds, name).ravel()
    is_time = np.abs(stamps) < 9e9  # finite, and fits into 64 bits as nanoseconds
    if not is_time.all():
        return np.zeros(len(stamps), np.int64)
    return np.rint(stamps * 1e9).astype(np.int64)


def frame_times(seconds: Any, name: str) -> np.ndarray:
    """Return the times of frames at the control rate [s], shape (n,).

    Args:
        seconds: Times of the frames [s].
        name: What error messages call them.

    Raises:
        RecordError: If they are not numbers, or two frames are not one period apart, give or
            take half of one: frames are missing, or the times are not theirs.
    """
    times = as_floats(seconds, name).ravel()
    period = 1 / CONTROL_RATE
    apart = np.diff(times)
    uneven = ~(np.abs(apart - period) <= period / 2)  # also of times that are not finite
    if uneven.any():
        frame = int(np.argmax(uneven))
        raise RecordError(
            f"{name}: frame {frame + 1} is at {times[frame + 1]:g} s, the one before it at "
            f"{times[frame]:g} s; frames must be {period:g} s apart ({CONTROL_RATE:g} Hz). "
            "Where frames were left out, split the episode there; where the times are wrong, "
            f"write row number / {CONTROL_RATE:g} into them"
        )
    return times


def check_contents(file: Path) -> None:
    """Raise TrainingError if a file is a Git LFS pointer in the place of its contents."""
    if file.is_file() and is_lfs_pointer(file):
        raise TrainingError(
            f"{file} is a Git LFS pointer, not the file itself; `git lfs pull` fetches it"
        )
