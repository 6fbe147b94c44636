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
from ptr_common.documents import Fields, parse_json, read_document
from ptr_common.errors import PtrError
from ptr_common.files import atomic_folder, sha256
from ptr_common.images import RESIZE_NAME

from .q_band import QBand

FORMAT_VERSION = 1
"""Version of the format, in `bundle.json`."""

FORMS = {"export": ("act.pt2", "q.pt2"), "torchscript": ("policy.pt",)}
"""Files of the programs, by form. A bundle has one form, because each one holds all weights."""

GRIPPER_SENSE = "0 closed, 1 open"
"""Meaning of the action's last dimension."""

ID_DIGITS = 12
"""Digits of a bundle's id, its short name."""

MAX_PIXELS = 16384
"""Largest height and width of an image [pixels]."""

MAX_WINDOW = 1000
"""Most observations that a policy sees, and most actions that it plans."""

REMEDY = "make the bundle again with `ptr bundle`, or copy it again"
"""What to do about a `bundle.json` with wrong values."""

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
    q_band: QBand | None = None  # of held-out demonstrations, where they were at hand

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
            "q_band": self.q_band.to_json() if self.q_band else {},
            "data": dict(self.data),
            "checkpoint": dict(self.checkpoint),
            "code_version": self.code_version,
        }

    @classmethod
    def from_json(cls, values: Any, where: Path | str = "bundle.json") -> BundleInfo:
        """Return the description that `to_json` wrote.

        Args:
            values: Contents of `bundle.json`.
            where: The file, for messages.

        Raises:
            BundleError: If a value is missing or not of its kind; the message names it.
        """
        fields = Fields(values, where, BundleError, remedy=REMEDY)
        action, image, camera = (
            fields.table(name) for name in ("action", "image", "camera")
        )
        info = cls(
            agent=fields.text("agent", filled=True),
            camera=CameraSpec(
                camera.text("name", filled=True),
                camera.integer("width", 1, MAX_PIXELS),
                camera.integer("height", 1, MAX_PIXELS),
            ),
            image_height=image.integer("height", 1, MAX_PIXELS),
            image_width=image.integer("width", 1, MAX_PIXELS),
            resize=image.text("resize"),
            rate=fields.number("rate", 0.01, 1000.0),
            tasks=fields.texts("tasks"),
            command=action.text("command", allowed=("requested", "executed")),
            data=fields.table("data").values,
            checkpoint=fields.table("checkpoint").values,
            code_version=fields.text("code_version"),
            action_names=action.texts("names"),
            action_low=action.numbers("low", len(ACTION_NAMES)),
            action_high=action.numbers("high", len(ACTION_NAMES)),
            frame=action.text("frame"),
            gripper=action.text("gripper"),
            proprio_names=fields.texts("proprio"),
            history=fields.integer("history", 1, MAX_WINDOW, 1),
            execute=fields.integer("execute", 1, MAX_WINDOW, 1),
            draws_gripper=fields.flag("draws_gripper", False),
            aliases=fields.table("aliases", {}).values,
            q_band=QBand.from_json(fields.table("q_band", {})),
        )
        info._check_tasks(fields)
        return info

    def _check_tasks(self, fields: Fields) -> None:
        """Refuse tasks without a name or with that of another, and aliases of no task."""
        if not self.tasks or not all(self.tasks) or len(set(self.tasks)) < len(self.tasks):
            fields.refuse("tasks", "different names, at least one")
        for name, target in self.aliases.items():
            if not name or target not in self.tasks:
                fields.refuse("aliases", f"names that stand for one of {list(self.tasks)}")

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
    sha256: str  # full name: of bundle.json, which has those of all other files
    form: str  # one of FORMS
    files: Mapping[str, bytes]  # by name: the programs and golden.npz

    @property
    def bundle_id(self) -> str:
        """Short name: the first digits of the full one."""
        return self.sha256[:ID_DIGITS]


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
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def read_info(path: Path | str) -> BundleInfo:
    """Return the description in a bundle, without reading its programs.

    Raises:
        BundleError: If the folder is not a complete bundle of this version.
    """
    return _read_json(Path(path))[0]


def read_bundle(path: Path | str, expected: str = "") -> Bundle:
    """Return a bundle whose files match their checksums; no program is loaded.

    Args:
        path: The bundle's folder.
        expected: The full name that it must have, 64 hexadecimal digits; empty: any.

    Raises:
        BundleError: If the folder is not a complete bundle of this version, or has another
            name, or a file was altered.
    """
    path = Path(path)
    info, hashes, name = _read_json(path)
    if expected and name != expected.lower():
        raise BundleError(
            f"{path} is the bundle {name}, expected {expected}; nothing of it was loaded: "
            "copy the right one, or give its own name or none (parameter bundle_sha256 of "
            "the policy node, launch argument policy_sha256)"
        )
    files = {}
    for file, digest in hashes.items():
        files[file] = _read_file(path / file, digest)
    return Bundle(path, info, name, _form_of(files), files)


def _form_of(names: Iterable[str]) -> str:
    """Return the form whose programs are among these files."""
    for form, programs in FORMS.items():
        if set(programs) <= set(names):
            return form
    raise BundleError(f"files {', '.join(names)} are of no known form of bundle")


def _read_json(path: Path) -> tuple[BundleInfo, dict[str, str], str]:
    """Return the description, the files' hashes by name, and the bundle's full name."""
    file = path / "bundle.json"
    _check_present(path, ["bundle.json"])
    content = read_document(file, BundleError)
    try:
        values = parse_json(content)
    except ValueError as error:
        raise BundleError(f"{file} is truncated or not JSON: {error}") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path}: format version is {version!r}, expected {FORMAT_VERSION}; "
            "export the bundle again with `ptr bundle`"
        )
    info = BundleInfo.from_json(values, file)
    hashes = _hashes(Fields(values, file, BundleError, remedy=REMEDY).table("sha256"))
    complete = [{*names, "golden.npz"} for names in FORMS.values()]
    if set(hashes) not in complete:
        raise BundleError(
            f"{file}: sha256 names {', '.join(hashes)}; "
            f"expected {' or '.join(map(str, complete))}"
        )
    _check_present(path, hashes)
    return info, hashes, hashlib.sha256(content).hexdigest()


def _hashes(fields: Fields) -> dict[str, str]:
    """Return the SHA-256 of the files by name."""
    hashes = {}
    for name in fields.values:
        hashes[name] = fields.text(name)
    return hashes


def _check_present(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if not (path / name).is_file():
            raise BundleError(
                f"{path} is not a bundle: it has no {name} (make one with `ptr bundle`)"
            )


def _read_file(file: Path, expected: str) -> bytes:
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise BundleError(
            f"{file}: checksum is {found[:12]}…, expected {str(expected)[:12]}…; "
            "copy the bundle again"
        )
    return content
