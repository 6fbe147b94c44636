"""What all importers share: a record, an episode as another format holds it, and how it becomes one of ours.

Whatever the format, an episode is imported by these rules:

- T actions need T + 1 observations; every transition has the observation that truly
followed it.
- Commands stay in the units of the source. `requested` is what the source holds, `executed`
  the same within the bounds of the action space, to which the robot of BridgeData clips as
  well, unless the source tells it apart. The gripper stays continuous if nothing else is
  asked for.
- Rewards are labelled by the store, on the last transitions that are left.
- Pictures go through `resize_area`, as on the robot, from the size the source has.
- What a store said before it was converted (`ptr convert`) is taken over as it was.
- A damaged record is an error; one that is in order but not wanted is left out. Each has
one fate in the audit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, CONTROL_RATE
from ptr_common.images import ImageError, decode_compressed, resize_area
from ptr_training.data.episode import Episode
from ptr_training.errors import TrainingError

COLLECTIONS = ("bridge_data_v1", "bridge_data_v2", "flap", "icra", "rss", "scripted")
"""Top folders of BridgeData; what stands above them in a path is the business of whoever stored it."""

ZERO_ACTION = (
    1e-6  # [m, rad]; the first command of a demonstration in BridgeData is smaller
)
GRIPPER_SETTLED = (
    0.05,
    0.95,
)  # outside, the gripper is closed or open; between, it is on its way

_DATED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
_LOW, _HIGH = ACTION_LOW.astype(np.float32), ACTION_HIGH.astype(np.float32)


class RecordError(TrainingError):
    """A record is damaged; the message says how, the importer adds which."""


class RecordStatus(Enum):
    """What became of a record."""

    USED = "used"
    EXCLUDED = "excluded"  # by --include or --exclude
    NO_CAMERA = "without this camera"
    TOO_SHORT = "too short"  # no transition is left
    DUPLICATE = "duplicate"  # same name and same content as one before
    OVER_LIMIT = "over the limit"
    BAD = "bad"


class SkipRecord(Exception):  # noqa: N818
    """A record is in order but not wanted."""

    def __init__(self, fate: RecordStatus, reason: str = "") -> None:
        super().__init__(reason)
        self.fate = fate


@dataclass(frozen=True)
class Record:
    """Where one episode lies."""

    path: Path  # file or folder
    label: str  # how the audit names it: without the folders that are nobody's business
    number: int = 0  # within the file
    offset: int = 0  # of its first byte
    size: int = 0  # bytes; 0 where a folder would have to be walked


@dataclass(frozen=True)
class ImportOptions:
    """What a source does not say, or what is wanted of it."""

    camera: str = ""  # by default the fixed one over the shoulder, which is number 0; of lerobot the only one
    task_from: str = "folder"  # or language
    task_map: Mapping[str, str] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    outcome: str = "success"  # of sources that do not tell
    drop_zero_first: bool = False
    binarize_gripper: bool = False
    state: tuple[
        str, ...
    ] = ()  # lerobot: names or indices of PROPRIO_NAMES in observation.state
    action: tuple[str, ...] = ()  # lerobot: names or indices of ACTION_NAMES in action

    def check_wanted(self, folder: str) -> None:
        """Raise SkipRecord unless a path holds one of `include`, if any, and none of `exclude`.

        As in PTR's lists, a substring counts wherever it stands: "open" also meets
        put_spoon_into_opened_drawer.
        """
        missed = self.include and not any(part in folder for part in self.include)
        if missed or any(part in folder for part in self.exclude):
            raise SkipRecord(RecordStatus.EXCLUDED)

    def camera_number(self) -> int:
        """Return the camera for formats that only number them."""
        if not (self.camera or "0").isdecimal():
            raise TrainingError(
                f"--camera is {self.camera!r}, but this format only numbers its cameras; allowed are numbers from 0"
            )
        return int(self.camera or 0)


@dataclass(frozen=True)
class BridgePath:
    """What the folders of BridgeData say of what lies in them."""

    name: str  # the path from the collection on
    folder: str = ""  # the same down to the task, its number and the date
    domain: str = ""
    task: str = ""
    collected: datetime | None = None

    @classmethod
    def of(cls, path: Path | str) -> BridgePath:
        """Return what a path says: `.../COLLECTION/DOMAIN/TASK[/NN]`, then a dated folder and `raw` or a split.

        Unknown collections are left off, so that a name begins with the domain.
        """
        parts = [part for part in PurePosixPath(path).parts if part != "/"]
        folder = parts[: _end_of_folder(parts)]
        end, collected = len(folder), None
        if end and _DATED.fullmatch(folder[-1]):
            collected = datetime.strptime(folder[-1], "%Y-%m-%d_%H-%M-%S")
            end -= 1
        if end and folder[end - 1].isdecimal():
            end -= 1
        known = [
            index
            for index, part in enumerate(folder[: max(0, end - 1)])
            if part in COLLECTIONS
        ]
        start = known[-1] if known else max(0, end - 2)
        return cls(
            name="/".join(parts[start:]),
            folder="/".join(folder[start:]),
            domain=folder[end - 2] if end > 1 else "",
            task=folder[end - 1] if end else "",
            collected=collected,
        )


def _end_of_folder(parts: Sequence[str]) -> int:
    """Return where `raw/traj_groupG/trajN` or `train/out.npy` begins."""
    for index, (part, below) in enumerate(pairwise(parts)):
        if part == "raw" and below.startswith("traj_group"):
            return index
    end = len(parts)
    if end and parts[-1].endswith(".npy"):
        end -= 1 + (end > 1 and parts[-2] in ("train", "val"))
    return end


@dataclass(frozen=True)
class SourceEpisode:
    """One demonstration as its format holds it: T actions between T + 1 observations.

    Raises:
        RecordError: If the lengths do not fit together or a number is not finite.
    """

    id: str
    place: BridgePath
    sha256: str  # of what was read
    pictures: Sequence[
        bytes | memoryview | np.ndarray
    ]  # T + 1: encoded, or (H, W, 3) uint8 RGB
    states: np.ndarray  # (T + 1, 7), see spec.PROPRIO_NAMES
    actions: np.ndarray  # (T, 7), see spec.ACTION_NAMES
    executed: np.ndarray | None = (
        None  # (T, 7), where the source tells it apart from what was requested
    )
    stamps_ns: np.ndarray = field(
        default_factory=lambda: np.array([], np.int64)
    )  # T + 1 or none
    language: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was found or done
    outcome: str = ""  # where the source tells it
    original: Mapping[str, Any] = field(
        default_factory=dict
    )  # of an episode that was a store's: its other fields

    def __post_init__(self) -> None:
        observed = {"pictures": len(self.pictures), "states": len(self.states)}
        if len(self.stamps_ns):
            observed["time stamps"] = len(self.stamps_ns)
        if set(observed.values()) != {len(self.actions) + 1}:
            lengths = ", ".join(f"{number} {what}" for what, number in observed.items())
            raise RecordError(
                f"{lengths}, {len(self.actions)} actions; there must be one action less than of the others"
            )
        for what in ("states", "actions", "executed"):
            rows = getattr(self, what)
            if rows is not None and not (finite := np.isfinite(rows).all(axis=1)).all():
                raise RecordError(
                    f"the {what} hold values that are not finite, first in row {int(finite.argmin())}"
                )

    def without_observation(self, action: int, note: str) -> SourceEpisode:
        """Return the episode without its first observation and without its first (0) or last (-1) action."""
        if not len(self.actions):
            raise SkipRecord(RecordStatus.TOO_SHORT)
        return replace(
            self,
            pictures=self.pictures[1:],
            states=self.states[1:],
            actions=np.delete(self.actions, action, axis=0),
            executed=None
            if self.executed is None
            else np.delete(self.executed, action, axis=0),
            stamps_ns=self.stamps_ns[1:],
            notes=(*self.notes, note),
        )


def natural(path: Path) -> list[str | int]:
    """Return a sorting key that puts `traj10` behind `traj9`."""
    return [
        int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))
    ]


def numbers(values: Any, what: str) -> np.ndarray:
    """Return numbers as an array of float64; raises RecordError if they are none or rows differ in length."""
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise RecordError(f"the {what} are no numbers: {error}") from error


def seven(values: Any, what: str) -> np.ndarray:
    """Return rows of seven numbers, shape (n, 7), float32; raises RecordError if they are none."""
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        rows = numbers(values, what).astype(np.float32)
    if rows.size and rows.shape[1:] != (7,):
        raise RecordError(f"the {what} have shape {rows.shape}, expected (n, 7)")
    return rows.reshape(-1, 7)


def nanoseconds(seconds: Any, what: str) -> np.ndarray:
    """Return time stamps [ns], shape (n,), int64, all of them 0 if one is no time; raises RecordError if no numbers."""
    stamps = numbers(seconds, what).ravel()
    if not (
        np.abs(stamps) < 9e9
    ).all():  # what is not finite, or would not fit into 64 bits
        return np.zeros(len(stamps), np.int64)
    return np.rint(stamps * 1e9).astype(np.int64)


def to_episode(
    foreign: SourceEpisode, options: ImportOptions, size: tuple[int, int]
) -> tuple[Episode, dict[str, Any]]:
    """Return the episode of a store and what the audit says of it.

    Args:
        foreign: As its format holds it.
        options: What is wanted of it.
        size: Height and width of the stored images [pixels].

    Raises:
        RecordError: If a picture cannot be decoded or no task is named.
        SkipRecord: If no transition is left or the camera was not there.
    """
    foreign = _without_zero_first(foreign, options)
    if not len(foreign.actions):
        raise SkipRecord(RecordStatus.TOO_SHORT)
    notes = [*foreign.notes]
    frames, picture = _frames(foreign.pictures, size, notes)
    if not (frames.any() or foreign.original):
        raise SkipRecord(
            RecordStatus.NO_CAMERA,
            "all its pictures are black: a placeholder for a camera that was not there",
        )
    named = _task(foreign, options.task_from, notes)
    requested, executed = _commands(foreign, options)
    told = {
        "outcome": foreign.outcome or options.outcome,
        "source": foreign.place.folder,
        **foreign.original,
    }
    episode = Episode(
        id=foreign.id,
        frames=frames,
        stamps_ns=_stamps_ns(foreign, notes),
        proprio=foreign.states,
        requested=requested,
        executed=executed,
        **told | {"task": options.task_map.get(normalise(named), named)},
    )
    if not episode.task:
        raise RecordError(
            "neither a folder nor an instruction names the task; a line '\"\": NAME' in --task-map does"
        )
    return episode, _described(foreign, episode) | {
        "named": named,
        "picture": list(picture),
        "notes": notes,
    }


def _described(foreign: SourceEpisode, episode: Episode) -> dict[str, Any]:
    """Return what follows from an episode for its entry in the audit."""
    entry = {
        "id": episode.id,
        "sha256": foreign.sha256,
        "steps": len(episode),
        "task": episode.task,
        "domain": foreign.place.domain,
        "language": list(foreign.language),
        "clipped": int((episode.requested != episode.executed).any(1).sum())
        if foreign.executed is None
        else 0,
    }
    return entry | (
        {"collected": str(foreign.place.collected)} if foreign.place.collected else {}
    )


def _without_zero_first(foreign: SourceEpisode, options: ImportOptions) -> SourceEpisode:
    """Return the episode without its first step if that moves nothing and is not wanted, else with a note of it."""
    if not len(foreign.actions) or np.abs(foreign.actions[0, :6]).max() >= ZERO_ACTION:
        return foreign
    if options.drop_zero_first:
        return foreign.without_observation(0, "zero first action dropped")
    return replace(foreign, notes=(*foreign.notes, "zero first action kept"))


def _commands(
    foreign: SourceEpisode, options: ImportOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return the requested and the executed commands, both of shape (T, 7)."""

    def wanted(commands: np.ndarray) -> np.ndarray:
        if not options.binarize_gripper:
            return commands
        return np.column_stack([commands[:, :6], settled(commands[:, 6])])

    requested = wanted(foreign.actions)
    return requested, np.clip(
        requested, _LOW, _HIGH
    ) if foreign.executed is None else wanted(foreign.executed)


def settled(gripper: np.ndarray) -> np.ndarray:
    """Return the gripper's commands as 0 or 1: on its way, it takes the value it settles at next.

    Source: the standard transform of Octo for BridgeData, with its thresholds. A gripper
    that never settles again keeps the last value; one that never settles at all goes to the
    nearer end.

    Args:
        gripper: Commands, shape (T,), 0 closed to 1 open.
    """
    low, high = GRIPPER_SETTLED
    at_rest = np.flatnonzero((gripper < low) | (gripper > high))
    if not len(at_rest):
        return (gripper > 0.5).astype(gripper.dtype)
    following = np.minimum(
        np.searchsorted(at_rest, np.arange(len(gripper))), len(at_rest) - 1
    )
    return (gripper[at_rest[following]] > high).astype(gripper.dtype)


def normalise(name: str) -> str:
    """Return a task name in the one form that all sources share: lower case, single spaces for underscores."""
    return " ".join(name.replace("_", " ").lower().split())


def _task(foreign: SourceEpisode, task_from: str, notes: list[str]) -> str:
    """Return what names the task, "" if nothing does."""
    if foreign.original:
        return foreign.original["task"]
    named = {
        "folder": normalise(foreign.place.task),
        "language": normalise("".join(foreign.language[:1])),
    }
    if not named["language"]:
        notes.append("no instruction")
    if len(foreign.language) > 1:
        notes.append("several instructions, the first one counts")
    task = named.pop(task_from)
    (other, otherwise), *_ = named.items()
    if not task and otherwise:
        notes.append(f"task named by {other}")
    return task or otherwise


def _stamps_ns(foreign: SourceEpisode, notes: list[str]) -> np.ndarray:
    """Return the stamps of the observations [ns], shape (T + 1,); steps of the control period where there are none."""
    stamps = foreign.stamps_ns
    if foreign.original or (len(stamps) and (np.diff(stamps) > 0).all()):
        return stamps
    if len(stamps):
        notes.append("time stamps do not increase, replaced")
    return np.arange(len(foreign.actions) + 1) * round(1e9 / CONTROL_RATE)


def _frames(
    pictures: Iterable[bytes | memoryview | np.ndarray],
    size: tuple[int, int],
    notes: list[str],
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the frames, shape (n, *size, 3), and height and width of the pictures they were made from."""
    frames, shapes = [], set()
    for number, picture in enumerate(pictures):
        image = _decode(picture, number)
        shapes.add(image.shape)
        frames.append(resize_area(image, size))
    if len(shapes) > 1:
        raise RecordError(
            f"the pictures change their shape: {', '.join(map(str, sorted(shapes)))}"
        )
    height, width, _ = shapes.pop()
    if height < size[0] or width < size[1]:
        notes.append("pictures enlarged")
    return np.stack(frames), (height, width)


def _decode(picture: bytes | memoryview | np.ndarray, number: int) -> np.ndarray:
    if isinstance(picture, np.ndarray):
        if (
            picture.dtype != np.uint8
            or picture.ndim != 3
            or picture.shape[2] != 3
            or not picture.size
        ):
            raise RecordError(
                f"picture {number} is {picture.dtype} {picture.shape}, expected uint8 (H, W, 3)"
            )
        return np.asarray(picture)
    if not len(picture):
        raise RecordError(f"picture {number} is empty")
    if picture[:2] == b"\xff\xd8" and b"\xff\xd9" not in bytes(picture[-16:]):
        # the decoder would fill the missing part with grey
        raise RecordError(
            f"picture {number} is truncated: {len(picture)} bytes without the end of a JPEG"
        )
    try:
        return decode_compressed("jpeg", np.frombuffer(picture, np.uint8))
    except (ImageError, cv2.error) as error:
        raise RecordError(f"picture {number}: {error}") from error
