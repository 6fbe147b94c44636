"""The format of bundles: a policy with all that is checked before it may move an arm.

A bundle is a folder of programs (`act.pt2` and `q.pt2` of torch.export, or `policy.pt` of
TorchScript), `bundle.json` and `golden.npz`; `docs/design.md` describes the format. The
backend that runs the programs is chosen when the bundle is loaded (`backends.py`). This module
needs neither ROS nor PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_NAMES,
    BASE_FRAME,
    PROPRIO_NAMES,
)
from ptr_common.errors import PtrError
from ptr_common.files import atomic_folder, sha256
from ptr_common.images import RESIZE_NAME

FORMAT_VERSION = 1
"""Version of the format, in `bundle.json`."""

FORMS = {"export": ("act.pt2", "q.pt2"), "torchscript": ("policy.pt",)}
"""Files of the programs, by form. A bundle has one form, because each one holds all weights."""

GRIPPER_SENSE = "0 closed, 1 open"
"""Meaning of the action's last dimension."""

GOLDEN_NAMES = ("image", "proprio", "task", "resized", "action", "q")
"""Arrays of `golden.npz`; `write_bundle` describes them."""

PRECISIONS = ("float32", "bfloat16")
"""Types in which a policy may be computed."""


class BundleError(PtrError):
    """A bundle is incomplete, altered, or does not fit this robot; the message names what."""


@dataclass(frozen=True)
class CameraSpec:
    """The camera that recorded the training data."""

    name: str
    width: int  # [pixels]
    height: int  # [pixels]


@dataclass(frozen=True)
class BundleInfo:
    """The description of a policy in `bundle.json`."""

    agent: str
    camera: CameraSpec
    image_height: int  # of the network's image [pixels]
    image_width: int  # [pixels]
    rate: float  # [Hz]
    tasks: tuple[str, ...]  # position = task id
    command: str  # commands of the training data: requested or executed
    data: Mapping[str, Any]  # training data with SHA-256
    checkpoint: Mapping[str, Any]  # run and step
    code_version: str
    resize: str = RESIZE_NAME
    action_names: tuple[str, ...] = ACTION_NAMES
    action_low: tuple[float, ...] = tuple(ACTION_LOW.tolist())
    action_high: tuple[float, ...] = tuple(ACTION_HIGH.tolist())
    frame: str = BASE_FRAME
    gripper: str = GRIPPER_SENSE
    proprio_names: tuple[str, ...] = PROPRIO_NAMES
    history: int = (
        1  # observations that the policy sees; the first of an episode is repeated
    )
    execute: int = 1  # actions of one prediction that are executed, one a control step
    draws_gripper: bool = (
        False  # a gripper of two values is drawn, not the likelier one taken
    )
    aliases: Mapping[str, str] = field(
        default_factory=dict
    )  # re-targeted tasks: new to known

    def to_json(self) -> dict[str, Any]:
        """Return the contents of `bundle.json` without the hashes."""
        return {
            "format_version": FORMAT_VERSION,
            "agent": self.agent,
            "action": {
                "names": list(self.action_names),
                "low": list(self.action_low),
                "high": list(self.action_high),
                "frame": self.frame,
                "gripper": self.gripper,
                "command": self.command,
            },
            "proprio": list(self.proprio_names),
            "camera": {
                "name": self.camera.name,
                "width": self.camera.width,
                "height": self.camera.height,
            },
            "image": {
                "resize": self.resize,
                "height": self.image_height,
                "width": self.image_width,
            },
            "rate": self.rate,
            "tasks": list(self.tasks),
            "aliases": dict(self.aliases),
            "history": self.history,
            "execute": self.execute,
            "draws_gripper": self.draws_gripper,
            "data": dict(self.data),
            "checkpoint": dict(self.checkpoint),
            "code_version": self.code_version,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BundleInfo:
        """Return the description that `to_json` wrote.

        Raises:
            KeyError: If a value is missing.
            TypeError: If a value has another type.
        """
        action, image = values["action"], values["image"]
        return cls(
            agent=values["agent"],
            camera=CameraSpec(**values["camera"]),
            image_height=image["height"],
            image_width=image["width"],
            resize=image["resize"],
            rate=values["rate"],
            tasks=tuple(values["tasks"]),
            command=action["command"],
            data=values["data"],
            checkpoint=values["checkpoint"],
            code_version=values["code_version"],
            action_names=tuple(action["names"]),
            action_low=tuple(action["low"]),
            action_high=tuple(action["high"]),
            frame=action["frame"],
            gripper=action["gripper"],
            proprio_names=tuple(values["proprio"]),
            history=values.get("history", 1),
            execute=values.get("execute", 1),
            draws_gripper=values.get("draws_gripper", False),
            aliases=values.get("aliases", {}),
        )

    @property
    def window(self) -> tuple[int, ...]:
        """The leading dimension of images and proprio: (T,) with a history, () without."""
        return (self.history,) if self.history > 1 else ()

    @property
    def plan(self) -> tuple[int, ...]:
        """The leading dimension of actions: (E,) where several are executed, () otherwise."""
        return (self.execute,) if self.execute > 1 else ()


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files match their checksums."""

    path: Path
    info: BundleInfo
    bundle_id: str
    form: str  # one of FORMS
    files: Mapping[str, bytes]  # by name: the programs and golden.npz


def write_bundle(
    path: Path | str,
    info: BundleInfo,
    programs: Mapping[str, bytes],
    golden: Mapping[str, np.ndarray],
    *,
    overwrite: bool = False,
) -> str:
    """Write a bundle and return its id.

    Args:
        path: Folder to make.
        info: Description of the policy.
        programs: The files of one of `FORMS`, by name.
        golden: Inputs `image` (G, H, W, 3) uint8 of camera size, `proprio` (G, 7) and `task`
            (G,), and the `resized` (G, h, w, 3), `action` (G, 7) and `q` (G, 2) computed from
            them. With a history of T, `proprio` is (G, T, 7), `resized` (G, T, h, w, 3), and
            `image` is the latest one. Where E actions are executed, `action` is (G, E, 7) and
            `q` is of the first.
        overwrite: Replace an existing folder.
    """
    with atomic_folder(path, overwrite=overwrite) as folder:
        for name, content in programs.items():
            (folder / name).write_bytes(content)
        arrays: dict[str, Any] = {name: golden[name] for name in GOLDEN_NAMES}
        np.savez_compressed(folder / "golden.npz", **arrays)
        hashes = {}
        for name in (*programs, "golden.npz"):
            hashes[name] = sha256(folder / name)
        text = json.dumps({**info.to_json(), "sha256": hashes}, indent=1) + "\n"
        (folder / "bundle.json").write_text(text)
    return _bundle_id(text.encode())


def read_info(path: Path | str) -> BundleInfo:
    """Return the description in a bundle, without reading its programs.

    Raises:
        BundleError: If the folder is not a complete bundle of this version.
    """
    return _read_json(Path(path))[0]


def read_bundle(path: Path | str) -> Bundle:
    """Return a bundle whose files match their checksums; no program is loaded.

    Raises:
        BundleError: If the folder is not a complete bundle of this version, or a file was
            altered.
    """
    path = Path(path)
    info, hashes, bundle_id = _read_json(path)
    files = {}
    for name, expected in hashes.items():
        files[name] = _read_file(path / name, expected)
    return Bundle(path, info, bundle_id, _form_of(files), files)


def _form_of(names: Iterable[str]) -> str:
    """Return the form whose programs are among these files."""
    for form, programs in FORMS.items():
        if set(programs) <= set(names):
            return form
    raise BundleError(f"files {', '.join(names)} are of no known form of bundle")


def _read_json(path: Path) -> tuple[BundleInfo, dict[str, str], str]:
    """Return the description, the files' hashes by name, and the bundle id."""
    file = path / "bundle.json"
    _check_present(path, ["bundle.json"])
    content = file.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{file} is truncated or not JSON: {error}") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version is {version!r}, expected {FORMAT_VERSION}; "
            "export the bundle again with `ptr bundle`"
        )
    try:
        info, hashes = BundleInfo.from_json(values), dict(values["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{file} is incomplete: {error}") from error
    complete = [{*names, "golden.npz"} for names in FORMS.values()]
    if set(hashes) not in complete:
        raise BundleError(
            f"{file}: sha256 names {', '.join(hashes)}; "
            f"expected {' or '.join(map(str, complete))}"
        )
    _check_present(path, hashes)
    return info, hashes, _bundle_id(content)


def _check_present(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if not (path / name).is_file():
            raise BundleError(
                f"{path} is not a bundle: it has no {name} (make one with `ptr bundle`)"
            )


def _bundle_id(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _read_file(file: Path, expected: str) -> bytes:
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise BundleError(
            f"{file}: checksum is {found[:12]}…, expected {str(expected)[:12]}…; "
            "copy the bundle again"
        )
    return content
