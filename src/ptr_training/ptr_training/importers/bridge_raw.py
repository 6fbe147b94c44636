"""BridgeData as the robot recorded it: one folder of images and pickles per demonstration.

Below `<collection>/<domain>/<task>/[NN/]<date>/` are

    config.json
    raw/traj_group0/traj7/{obs_dict.pkl,policy_out.pkl,lang.txt,images0/im_0.jpg}

In what was collected before 2021-07-23 the images are one step later, so the first
observation and the last action are dropped: every action then goes with the observation
stored one step later. The converters of the data set compare dates as here; PTR's own also
shifts what was collected on that very day. `agent_data.pkl` is not read: it needs ROS.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.documents import parse_json
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
    as_nanoseconds,
    decode_text,
    natural_key,
    rows_of_seven,
)

LATENCY_CORRECTED = datetime(2021, 7, 23)
"""From this day on, images are one step less late."""

FIXED_TOPICS = ("/cam0/image_raw", "/camera0/color/image_raw", "/D435/color/image_raw")
WRIST_TOPIC = "/wrist/image_raw"

_IMAGE_NAME = re.compile(r"im_(\d+)\.jpg")


def find(paths: Sequence[Path]) -> list[Record]:
    """Return the demonstrations in folders: `raw/traj_group*/traj*`, no path with "lmdb".

    Raises:
        TrainingError: If a path holds none.
    """
    records: list[Record] = []
    for path in paths:
        folders = sorted(_demonstrations(path.resolve()), key=natural_key)
        if not folders:
            raise TrainingError(
                f"{path} holds no demonstration of BridgeData (raw/traj_group*/traj*)"
            )
        records += [Record(folder, BridgePath.parse(folder).name) for folder in folders]

    return records


def read(record: Record, options: ImportOptions) -> SourceEpisode:
    """Return the episode of a folder.

    Raises:
        RecordError: If a file is missing or damaged, or if they do not fit together.
        SkipRecord: If a filter excludes the episode or it lacks the camera.
    """
    bridge_path = BridgePath.parse(record.path)
    options.check_wanted(bridge_path.folder)
    folder = _Folder(record.path)
    camera, notes = _camera(record.path.parents[2] / "config.json", options.camera)
    if not (record.path / camera).is_dir():
        raise SkipRecord(RecordStatus.NO_CAMERA, f"it has no {camera}")
    observations = folder.unpickle("obs_dict.pkl")
    if not isinstance(observations, dict) or "full_state" not in observations:
        raise RecordError("obs_dict.pkl holds no full_state")
    commands = folder.unpickle("policy_out.pkl")
    language = _instructions(folder)
    images = folder.images(camera)
    stamps = observations.get("time_stamp", ())
    episode = SourceEpisode(
        id=bridge_path.name,
        bridge_path=bridge_path,
        sha256=folder.digest.hexdigest(),
        images=images,
        states=rows_of_seven(observations["full_state"], "states of obs_dict.pkl"),
        actions=_actions(commands),
        stamps_ns=as_nanoseconds(stamps, "time stamps of obs_dict.pkl"),
        language=language,
        notes=notes,
    )
    if not bridge_path.collected:
        return replace(episode, notes=(*notes, "undated: not shifted for latency"))
    if bridge_path.collected < LATENCY_CORRECTED:
        return episode.without_observation(-1, "shifted for latency")
    return episode


def _demonstrations(top: Path) -> list[Path]:
    """Return the folders of demonstrations at or below a folder, without walking them."""
    demonstrations = []
    for name, subfolders, _ in os.walk(top):
        folder = Path(name)
        if "lmdb" in name:
            subfolders.clear()
        elif _is_demonstration(folder):
            demonstrations.append(folder)
            subfolders.clear()
    return demonstrations


def _is_demonstration(folder: Path) -> bool:
    """Return whether a path ends in `raw/traj_group*/traj*`."""
    return (
        folder.name.startswith("traj")
        and folder.parent.name.startswith("traj_group")
        and folder.parents[1].name == "raw"
    )


class _Folder:
    """The files of one demonstration, and the SHA-256 of all that were read."""

    def __init__(self, path: Path) -> None:
        """Begin with no file read."""
        self.path = path
        self.digest = hashlib.sha256()  # of the names, sizes and contents

    def read(self, name: str) -> bytes:
        """Return the content of a file; raises RecordError if it is missing."""
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise RecordError(f"{name} is missing") from error
        self.digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return content

    def unpickle(self, name: str) -> Any:
        """Return the data of a pickle; raises RecordError if it is damaged or hostile."""
        try:
            # safe: it builds arrays, containers and numbers only, and looks up no other
            # name
            return restricted_pickle.load(io.BytesIO(self.read(name)))
        except restricted_pickle.PickleError as error:
            raise RecordError(f"{name}: {error}") from error

    def images(self, camera: str) -> list[bytes]:
        """Return the encoded images of a camera in the order of their numbers.

        Args:
            camera: Name of the folder.

        Raises:
            RecordError: If one is missing.
        """
        numbers = []
        for file in (self.path / camera).iterdir():
            match = _IMAGE_NAME.fullmatch(file.name)
            if match:
                numbers.append(int(match[1]))

        numbers.sort()
        for expected, number in enumerate(numbers or [1]):
            if number != expected:
                raise RecordError(f"{camera}/im_{expected}.jpg is missing")

        return [self.read(f"{camera}/im_{number}.jpg") for number in numbers]


def _camera(config: Path, camera: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder of a camera's images, and notes on the choice.

    Args:
        config: Of the collection; lists the cameras' topics in the order of the folders.
        camera: `wrist`, a topic or a number; empty: the fixed one.

    Raises:
        RecordError: If the configuration is damaged.
        SkipRecord: If it does not name the camera.
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
    """Return the topics of the cameras, none where there is no configuration."""
    if not config.is_file():
        return []
    try:
        topics = parse_json(config.read_bytes())["agent"]["env"][1]["camera_topics"]
        return [_topic_name(topic) for topic in topics]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RecordError(
            "config.json names no agent.env[1].camera_topics: "
            f"{type(error).__name__} {error}"
        ) from error


def _topic_name(topic: Any) -> str:
    """Return the name of a topic, which is a text or has a name."""
    return topic["name"] if isinstance(topic, dict) else str(topic)


def _actions(commands: Any) -> np.ndarray:
    """Return the actions of `policy_out.pkl`, shape (T, 7), float32.

    Args:
        commands: A list of dictionaries with `actions`, or of the bare arrays.
    """
    if isinstance(commands, (list, tuple)) and _are_dictionaries(commands):
        if any("actions" not in command for command in commands):
            raise RecordError("policy_out.pkl holds a step without actions")
        commands = [command["actions"] for command in commands]
    return rows_of_seven(commands, "actions of policy_out.pkl")


def _are_dictionaries(values: Sequence[Any]) -> bool:
    """Return whether all values are dictionaries."""
    return all(isinstance(value, dict) for value in values)


def _instructions(folder: _Folder) -> tuple[str, ...]:
    """Return the lines of `lang.txt`, except the line with the author's confidence."""
    if not (folder.path / "lang.txt").exists():
        return ()
    instructions = []
    for line in decode_text(folder.read("lang.txt"), "lang.txt").splitlines():
        if line.strip() and "confidence" not in line:
            instructions.append(line.strip())
    return tuple(instructions)
