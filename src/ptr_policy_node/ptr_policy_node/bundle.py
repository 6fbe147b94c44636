"""The format of bundles: a policy with all that is checked before it may move an arm.

A bundle is a folder of programs (`act.pt2` and `q.pt2` of torch.export, or `policy.pt` of
TorchScript), `bundle.json` and `golden.npz`; `docs/design.md` describes the format. The
backend that runs the programs is chosen when the bundle is loaded (`backends.py`). Where a
policy runs behind a server, a YAML file stands for its bundle (`served/`). This module needs
neither ROS nor PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptr_common.documents import Fields, parse_json, read_document, read_json
from ptr_common.files import atomic_folder, sha256

from .bundle_info import (
    FORMAT_VERSION,
    GRIPPER_SENSE,
    MAX_PIXELS,
    REMEDY,
    BundleError,
    BundleInfo,
    CameraSpec,
)
from .q_band import QBand
from .served.description import Served, is_served, read_served

__all__ = [  # with the description, which most users of bundles need
    "FORMAT_VERSION",
    "FORMS",
    "GOLDEN_NAMES",
    "GRIPPER_SENSE",
    "ID_DIGITS",
    "MAX_PIXELS",
    "PRECISIONS",
    "Bundle",
    "BundleError",
    "BundleInfo",
    "CameraSpec",
    "QBand",
    "description_file",
    "read_bundle",
    "read_description",
    "read_info",
    "write_bundle",
]

FORMS = {"export": ("act.pt2", "q.pt2"), "torchscript": ("policy.pt",)}
"""Files of the programs, by form. A bundle has one form, because each one holds all weights."""

SERVED = "served"
"""Form of a policy that runs behind a server: it has no programs here."""

ID_DIGITS = 12
"""Digits of a bundle's id, its short name."""

GOLDEN_NAMES = ("image", "proprio", "task", "resized", "action", "q")
"""Arrays of `golden.npz`; `write_bundle` describes them."""

PRECISIONS = ("float32", "bfloat16")
"""Types in which a policy may be computed."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files match their checksums."""

    path: Path
    info: BundleInfo
    sha256: str  # full name: of the description; bundle.json has those of all other files
    form: str  # one of FORMS, or SERVED
    files: Mapping[str, bytes]  # by name: the programs and golden.npz
    served: Served | None = None  # where and how the policy is asked, if it is served

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


def description_file(path: Path) -> Path:
    """Return the file whose SHA-256 is the full name of a bundle, whether or not it is there.

    Args:
        path: The bundle's folder, or the description of a served policy.
    """
    return path if is_served(path) else path / "bundle.json"


def read_description(file: Path) -> BundleInfo:
    """Return what a `description_file`, or a copy of one, says of its policy.

    Raises:
        BundleError: If it is damaged.
    """
    if is_served(file):
        return read_served(file)[0].info
    return BundleInfo.from_json(read_json(file, BundleError), file)


def read_info(path: Path | str) -> BundleInfo:
    """Return the description in a bundle, without reading its programs.

    Args:
        path: The bundle's folder, or the description of a served policy.

    Raises:
        BundleError: If the folder is not a complete bundle of this version.
    """
    path = Path(path)
    return read_served(path)[0].info if is_served(path) else _read_json(path)[0]


def read_bundle(path: Path | str, expected: str = "") -> Bundle:
    """Return a bundle whose files match their checksums; no program is loaded.

    Args:
        path: The bundle's folder, or the description of a served policy.
        expected: The full name that it must have, 64 hexadecimal digits; empty: any.

    Raises:
        BundleError: If the folder is not a complete bundle of this version, or has another
            name, or a file was altered.
    """
    path = Path(path)
    if is_served(path):
        served, content = read_served(path)
        name = hashlib.sha256(content).hexdigest()
        _check_name(path, name, expected)
        return Bundle(path, served.info, name, SERVED, {}, served)
    info, hashes, name = _read_json(path)
    _check_name(path, name, expected)
    files = {}
    for file, digest in hashes.items():
        files[file] = _read_file(path / file, digest)
    return Bundle(path, info, name, _form_of(files), files)


def _check_name(path: Path, name: str, expected: str) -> None:
    """Refuse a bundle whose full name is not the one expected; empty: any."""
    if expected and name != expected.lower():
        raise BundleError(
            f"{path} is the bundle {name}, expected {expected}; nothing of it was loaded: "
            "copy the right one, or give its own name or none (parameter bundle_sha256 of "
            "the policy node, launch argument policy_sha256)"
        )


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
