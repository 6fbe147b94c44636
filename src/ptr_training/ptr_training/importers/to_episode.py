"""How an episode of a source becomes an episode of a store.

The rules are the same for every format:

- T actions need T + 1 observations; every transition has the observation that truly
  followed it.
- Commands stay in the units of the source. `requested` is the command of the source.
  `executed` is the same within the bounds of the action space, to which the robot of
  BridgeData clips as well, unless the source has it itself. The gripper stays continuous
  unless `binarize_gripper` is chosen.
- Rewards are set by the store, on the last transitions that are left.
- Images go through `resize_area`, as on the robot, from the size of the source.
- Fields that came from a store (`ptr convert`) are kept.
- A damaged record is an error; a record that is in order but not wanted is left out. Each
  record has one status in the audit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, CONTROL_RATE
from ptr_common.images import ImageError, decode_compressed, resize_area
from ptr_training.data.episode import Episode

from .action_check import check_steps, convert_units
from .base import (
    ImportOptions,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    normalise_name,
)

ZERO_ACTION = 1e-6
"""The first command of a demonstration in BridgeData is smaller than this [m, rad]."""

GRIPPER_CLOSED, GRIPPER_OPEN = 0.05, 0.95
"""Below and above, the gripper is closed and open; between, it moves."""

LONGEST_STEP_NS = round(2e9 / CONTROL_RATE)
"""A step that lasts longer is noted in the audit [ns]; its action does not tell the motion."""

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"

_LOW, _HIGH = ACTION_LOW.astype(np.float32), ACTION_HIGH.astype(np.float32)


def to_episode(
    source: SourceEpisode, options: ImportOptions, size: tuple[int, int]
) -> tuple[Episode, dict[str, Any]]:
    """Return an episode for a store, and its entry in the audit.

    Args:
        source: The episode as its format holds it.
        options: What the user chose.
        size: Height and width of the stored images [pixels].

    Raises:
        RecordError: If its actions cannot be steps, an image cannot be decoded or nothing
            names the task.
        SkipRecord: If no transition is left or the camera was not there.
    """
    source = _without_zero_first(convert_units(source, options), options)
    if not len(source.actions):
        raise SkipRecord(RecordStatus.TOO_SHORT)
    check_steps(source)
    notes = [*source.notes]
    frames, image_size = _frames(source.images, size, notes)
    if not (frames.any() or source.original):
        raise SkipRecord(
            RecordStatus.NO_CAMERA,
            "all its images are black: a placeholder for a camera that was not there",
        )
    source_task = _task(source, options.task_from, notes)
    requested, executed = _commands(source, options)
    fields = {
        "outcome": source.outcome or options.outcome,
        "source": source.bridge_path.folder,
        **source.original,
        "task": options.task_map.get(normalise_name(source_task), source_task),
    }
    episode = Episode(
        id=source.id,
        frames=frames,
        stamps_ns=_stamps_ns(source, notes),
        proprio=source.states,
        requested=requested,
        executed=executed,
        **fields,
    )
    if not episode.task:
        raise RecordError(
            "neither a folder nor an instruction names the task; "
            "a line '\"\": NAME' in --task-map does"
        )
    named = {"named": source_task, "picture": list(image_size), "notes": notes}
    return episode, _audit_entry(source, episode) | named


def _audit_entry(source: SourceEpisode, episode: Episode) -> dict[str, Any]:
    """Return the entry of an episode in the audit, as far as its data decide it."""
    is_clipped = (episode.requested != episode.executed).any(1)
    entry = {
        "id": episode.id,
        "sha256": source.sha256,
        "steps": len(episode),
        "task": episode.task,
        "domain": source.bridge_path.domain,
        "language": list(source.language),
        "clipped": int(is_clipped.sum()) if source.executed is None else 0,
    }
    if source.bridge_path.collected:
        entry["collected"] = str(source.bridge_path.collected)
    return entry


def _without_zero_first(source: SourceEpisode, options: ImportOptions) -> SourceEpisode:
    """Return the episode without its first step, or with a note, if that moves nothing."""
    if not len(source.actions) or np.abs(source.actions[0, :6]).max() >= ZERO_ACTION:
        return source
    if options.drop_zero_first:
        return source.without_observation(0, "zero first action dropped")
    return replace(source, notes=(*source.notes, "zero first action kept"))


# Commands
# ---------------------------------------------------------------------------------------


def _commands(
    source: SourceEpisode, options: ImportOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return the requested and the executed commands, both of shape (T, 7)."""
    requested = _with_gripper(source.actions, options)
    if source.executed is None:
        return requested, np.clip(requested, _LOW, _HIGH)
    return requested, _with_gripper(source.executed, options)


def _with_gripper(commands: np.ndarray, options: ImportOptions) -> np.ndarray:
    """Return commands, shape (T, 7), with the gripper opened and closed as chosen."""
    if not options.binarize_gripper:
        return commands
    return np.column_stack([commands[:, :6], binarize_gripper(commands[:, 6])])


def binarize_gripper(gripper: np.ndarray) -> np.ndarray:
    """Return the gripper's commands as 0 or 1: while it moves, the value it stops at next.

    Source: the standard transform of Octo for BridgeData, with its thresholds. A gripper
    that never stops again keeps the last value; one that never stops at all goes to the
    nearer end.

    Args:
        gripper: Commands, shape (T,), 0 closed to 1 open.
    """
    at_rest = np.flatnonzero((gripper < GRIPPER_CLOSED) | (gripper > GRIPPER_OPEN))
    if not len(at_rest):
        return (gripper > 0.5).astype(gripper.dtype)
    following = np.searchsorted(at_rest, np.arange(len(gripper)))
    following = np.minimum(following, len(at_rest) - 1)
    return (gripper[at_rest[following]] > GRIPPER_OPEN).astype(gripper.dtype)


# Task and time
# ---------------------------------------------------------------------------------------


def _task(source: SourceEpisode, task_from: str, notes: list[str]) -> str:
    """Return the name of the task, "" if there is none; add to the notes.

    Args:
        source: The episode.
        task_from: Preferred source of the name: `folder` or `language`.
        notes: Notes for the audit.
    """
    if source.original:
        return source.original["task"]
    names = {
        "folder": normalise_name(source.bridge_path.task),
        "language": normalise_name("".join(source.language[:1])),
    }
    if not names["language"]:
        notes.append("no instruction")
    if len(source.language) > 1:
        notes.append("several instructions, the first one counts")
    other = "language" if task_from == "folder" else "folder"
    if not names[task_from] and names[other]:
        notes.append(f"task named by {other}")
    return names[task_from] or names[other]


def _stamps_ns(source: SourceEpisode, notes: list[str]) -> np.ndarray:
    """Return the stamps of the observations [ns], shape (T + 1,).

    Stamps that are missing or do not increase are replaced by steps of the control period;
    gaps between them stay and are noted.
    """
    stamps = source.stamps_ns
    if source.original or (len(stamps) and (np.diff(stamps) > 0).all()):
        if len(stamps) and np.diff(stamps).max() > LONGEST_STEP_NS:
            notes.append(f"a step lasts more than {LONGEST_STEP_NS / 1e9:g} s")
        return stamps
    if len(stamps):
        notes.append("time stamps do not increase, replaced")
    return np.arange(len(source.actions) + 1) * round(1e9 / CONTROL_RATE)


# Images
# ---------------------------------------------------------------------------------------


def _frames(
    images: Iterable[bytes | np.ndarray], size: tuple[int, int], notes: list[str]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return resized images and the size of the images they were made from.

    Args:
        images: Encoded, or (H, W, 3) uint8 RGB.
        size: Height and width of the result [pixels].
        notes: Notes for the audit.

    Returns:
        Frames, shape (n, *size, 3), uint8 RGB; height and width of the source [pixels].
    """
    frames, shapes = [], set()
    for number, encoded in enumerate(images):
        image = _decode(encoded, number)
        shapes.add(image.shape)
        frames.append(resize_area(image, size))

    if len(shapes) > 1:
        found = ", ".join(map(str, sorted(shapes)))
        raise RecordError(f"the images change their shape: {found}")
    height, width, _ = shapes.pop()
    if height < size[0] or width < size[1]:
        notes.append("pictures enlarged")
    return np.stack(frames), (height, width)


def _decode(encoded: bytes | np.ndarray, number: int) -> np.ndarray:
    """Return an image, shape (H, W, 3), uint8 RGB; raises RecordError naming its number."""
    if isinstance(encoded, np.ndarray):
        return _checked_image(encoded, number)
    if not len(encoded):
        raise RecordError(f"image {number} is empty")
    if encoded[:2] == JPEG_START and JPEG_END not in encoded[-16:]:
        # the decoder would fill the missing part with grey
        raise RecordError(
            f"image {number} is truncated: {len(encoded)} bytes without the end of a JPEG"
        )

    try:
        return decode_compressed("jpeg", np.frombuffer(encoded, np.uint8))
    except (ImageError, cv2.error) as error:
        raise RecordError(f"image {number}: {error}") from error


def _checked_image(image: np.ndarray, number: int) -> np.ndarray:
    """Return an array if it is an image; raises RecordError naming its number."""
    is_rgb = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not is_rgb or not image.size:
        raise RecordError(
            f"image {number} is {image.dtype} {image.shape}, expected uint8 (H, W, 3)"
        )
    return np.asarray(image)
