"""The bundle: a deployed policy with everything that must fit before it may move an arm.

A folder of programs (`act.pt2` and `q.pt2` of torch.export, or `policy.pt` of TorchScript),
`bundle.json` and `golden.npz`; the format is fixed in `docs/design.md`. What runs the
programs is chosen when the bundle is loaded (`backends.py`). Nothing here needs ROS, and
PyTorch is imported only then.
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
FORMS = {"export": ("act.pt2", "q.pt2"), "torchscript": ("policy.pt",)}
"""The programs of a bundle, by form. A bundle has one: the weights, most of its size, are in each."""

GRIPPER_SENSE = "0 closed, 1 open"
GOLDEN_NAMES = ("image", "proprio", "task", "resized", "action", "q")


PRECISIONS = ("float32", "bfloat16")


class BundleError(PtrError):
    """A bundle is incomplete, altered, or does not fit this robot; the message names what."""


@dataclass(frozen=True)
class CameraSpec:
    """The camera a policy learnt from."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class BundleInfo:
    """What `bundle.json` says about a policy."""

    agent: str
    camera: CameraSpec
    image_height: int
    image_width: int
    rate: float  # [Hz]
    tasks: tuple[str, ...]  # position = task id
    command: str  # which command was learnt from: requested or executed
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
    history: int = 1  # observations that the policy looks at; before an episode's first one, that one is repeated
    aliases: Mapping[str, str] = field(
        default_factory=dict
    )  # re-targeted tasks: new name to the one whose id it has

    def to_json(self) -> dict[str, Any]:
        """Return the contents of `bundle.json`, less the hashes."""
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
            "data": dict(self.data),
            "checkpoint": dict(self.checkpoint),
            "code_version": self.code_version,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BundleInfo:
        """Return what `to_json` described; raises KeyError or TypeError if something is missing."""
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
            aliases=values.get("aliases", {}),
        )

    @property
    def window(self) -> tuple[int, ...]:
        """The dimension that images and proprio have beside those of a single observation: (T,), or none."""
        return (self.history,) if self.history > 1 else ()


@dataclass(frozen=True)
class Bundle:
    """A bundle as read: its files are those that were written."""

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
        info: What the policy needs and where it came from.
        programs: The files of one of `FORMS`.
        golden: `image` (G, H, W, 3) uint8 of camera size, `proprio` (G, 7), `task` (G,),
            and the `resized`, `action` (G, 7) and `q` (G, 2) that follow from them. With a
            history of T, `proprio` is (G, T, 7), `resized` (G, T, h, w, 3), and `image` the
            newest.
        overwrite: Replace an existing folder.
    """
    with atomic_folder(path, overwrite=overwrite) as folder:
        for name, content in programs.items():
            (folder / name).write_bytes(content)
        arrays: dict[str, Any] = {name: golden[name] for name in GOLDEN_NAMES}
        np.savez_compressed(folder / "golden.npz", **arrays)
        hashes = {name: sha256(folder / name) for name in (*programs, "golden.npz")}
        text = json.dumps({**info.to_json(), "sha256": hashes}, indent=1) + "\n"
        (folder / "bundle.json").write_text(text)
    return _bundle_id(text.encode())


def read_info(path: Path | str) -> BundleInfo:
    """Return what a bundle says of itself, without loading or checking the policy.

    Raises:
        BundleError: If the folder is not a complete bundle of this version.
    """
    return _read_json(Path(path))[0]


def read_bundle(path: Path | str) -> Bundle:
    """Read a bundle's files and compare them with their checksums; nothing is loaded.

    Raises:
        BundleError: If the folder is not a complete bundle of this version, or a file was
        altered.
    """
    path = Path(path)
    info, hashes, bundle_id = _read_json(path)
    form = next(form for form, names in FORMS.items() if names[0] in hashes)
    return Bundle(
        path,
        info,
        bundle_id,
        form,
        {name: _read_file(path / name, hashes[name]) for name in hashes},
    )


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
            f"{path}: format version is {version!r}, expected {FORMAT_VERSION}; export the bundle again"
        )
    try:
        info, hashes = BundleInfo.from_json(values), dict(values["sha256"])
    except (KeyError, TypeError) as error:
        raise BundleError(f"{file} is incomplete: {error}") from error
    forms = [{*names, "golden.npz"} for names in FORMS.values()]
    if set(hashes) not in forms:
        raise BundleError(
            f"{file}: sha256 names {', '.join(hashes)}; expected {' or '.join(map(str, forms))}"
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
            f"{file}: checksum is {found[:12]}…, expected {str(expected)[:12]}…; copy it again"
        )
    return content
