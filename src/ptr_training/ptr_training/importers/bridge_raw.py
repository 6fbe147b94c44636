"""BridgeData as the robot recorded it: one folder of pictures and pickles for every demonstration.

    <collection>/<domain>/<task>/[NN/]<date>/config.json
    <collection>/<domain>/<task>/[NN/]<date>/raw/traj_group0/traj7/{obs_dict.pkl,policy_out.pkl,lang.txt,images0/im_0.jpg}

In what was collected before 2021-07-23 the pictures lag one step more, so the first
observation and the last action are
dropped: every action then goes with the observation stored one step later. The converters
of the data set compare dates as here; PTR's own also shifts what was collected on that very
day. `agent_data.pkl` is left alone: it needs ROS.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ptr_training.errors import TrainingError

from . import restricted_pickle
from .base import (
    BridgePath,
    ImportOptions,
    Record,
    RecordError,
    RecordStatus,
    SkipRecord,
    SourceEpisode,
    nanoseconds,
    natural,
    seven,
)

LATENCY_MENDED = datetime(2021, 7, 23)
"""From here on pictures lag one step less."""

FIXED_TOPICS = ("/cam0/image_raw", "/camera0/color/image_raw", "/D435/color/image_raw")
WRIST_TOPIC = "/wrist/image_raw"

_PICTURE = re.compile(r"im_(\d+)\.jpg")


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the demonstrations in some folders: `raw/traj_group*/traj*`, nothing whose path has "lmdb" in it.

    Raises:
        TrainingError: If a path holds none.
    """
    records = []
    for path in paths:
        found = sorted(_demonstrations(path.resolve()), key=natural)
        if not found:
            raise TrainingError(
                f"{path} holds no demonstration of BridgeData (raw/traj_group*/traj*)"
            )
        records += [Record(folder, BridgePath.of(folder).name) for folder in found]
    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return the episode of a folder.

    Raises:
        RecordError: If a file is missing or damaged, or if they do not fit together.
        SkipRecord: If a filter excludes it or it lacks the camera.
    """
    place = BridgePath.of(record.path)
    options.check_wanted(place.folder)
    folder = _Folder(record.path)
    camera, notes = _camera(record.path.parents[2] / "config.json", options.camera)
    if not (record.path / camera).is_dir():
        raise SkipRecord(RecordStatus.NO_CAMERA, f"it has no {camera}")
    observations = folder.unpickle("obs_dict.pkl")
    if not isinstance(observations, dict) or "full_state" not in observations:
        raise RecordError("obs_dict.pkl holds no full_state")
    commands = folder.unpickle("policy_out.pkl")
    language = _language(folder)
    pictures = folder.pictures(camera)
    episode = SourceEpisode(
        id=place.name,
        place=place,
        sha256=folder.digest.hexdigest(),
        pictures=pictures,
        states=seven(observations["full_state"], "states of obs_dict.pkl"),
        actions=_actions(commands),
        stamps_ns=nanoseconds(
            observations.get("time_stamp", ()), "time stamps of obs_dict.pkl"
        ),
        language=language,
        notes=notes,
    )
    if not place.collected:
        return replace(episode, notes=(*notes, "undated: not shifted for latency"))
    if place.collected < LATENCY_MENDED:
        return episode.without_observation(-1, "shifted for latency")
    return episode


def _demonstrations(top: Path) -> list[Path]:
    """Return the folders of demonstrations at or below a folder; what lies in them is not walked."""
    found = []
    for name, folders, _ in os.walk(top):
        here = Path(name)
        if "lmdb" in name:
            folders.clear()
        elif (
            here.name.startswith("traj")
            and here.parent.name.startswith("traj_group")
            and here.parents[1].name == "raw"
        ):
            found.append(here)
            folders.clear()
    return found


class _Folder:
    """The files of one demonstration, and the SHA-256 of all that were read, names included."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = hashlib.sha256()

    def read(self, name: str) -> bytes:
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise RecordError(f"{name} is missing") from error
        self.digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return content

    def unpickle(self, name: str) -> Any:
        try:
            # safe: it builds arrays, containers and numbers only, and looks no other name
            # up
            return restricted_pickle.load(io.BytesIO(self.read(name)))
        except restricted_pickle.PickleError as error:
            raise RecordError(f"{name}: {error}") from error

    def pictures(self, camera: str) -> list[bytes]:
        """Return the pictures of a camera in the order of their numbers, of which none may be missing."""
        found = (_PICTURE.fullmatch(file.name) for file in (self.path / camera).iterdir())
        numbers = sorted(int(match[1]) for match in found if match)
        for wanted, number in enumerate(numbers or [1]):
            if number != wanted:
                raise RecordError(f"{camera}/im_{wanted}.jpg is missing")
        return [self.read(f"{camera}/im_{number}.jpg") for number in numbers]


def _camera(config: Path, camera: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder of a camera's pictures and what is to be noted of the choice.

    Args:
        config: Of the collection; lists the cameras' topics in the order of the folders.
        camera: `wrist`, a topic or a number; empty: the fixed one.
    """
    if camera.isdecimal():
        return f"images{int(camera)}", ()
    topics = _topics(config)
    wanted = {"": FIXED_TOPICS, "wrist": (WRIST_TOPIC,)}.get(camera, (camera,))
    for number, topic in enumerate(topics):
        if topic in wanted:
            return f"images{number}", ()
    if not camera:
        return "images0", ("fixed camera not named by config.json, images0 taken",)
    raise SkipRecord(
        RecordStatus.NO_CAMERA, f"config.json names {', '.join(topics) or 'no camera'}"
    )


def _topics(config: Path) -> list[str]:
    if not config.is_file():
        return []
    try:
        topics = json.loads(config.read_bytes())["agent"]["env"][1]["camera_topics"]
        return [
            topic["name"] if isinstance(topic, dict) else str(topic) for topic in topics
        ]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RecordError(
            f"config.json names no agent.env[1].camera_topics: {type(error).__name__} {error}"
        ) from error


def _actions(commands: Any) -> np.ndarray:
    """Return the actions of `policy_out.pkl`, a list of dictionaries or of the bare arrays."""
    if isinstance(commands, (list, tuple)) and all(
        isinstance(each, dict) for each in commands
    ):
        if any("actions" not in each for each in commands):
            raise RecordError("policy_out.pkl holds a step without actions")
        commands = [each["actions"] for each in commands]
    return seven(commands, "actions of policy_out.pkl")


def _language(folder: _Folder) -> tuple[str, ...]:
    """Return the instructions of `lang.txt`: its lines but for the one that says how sure its author was."""
    if not (folder.path / "lang.txt").exists():
        return ()
    lines = folder.read("lang.txt").decode("utf-8", "replace").splitlines()
    return tuple(
        line.strip() for line in lines if line.strip() and "confidence" not in line
    )
