"""The cache of bundles compiled for this machine, filled by `ptr compile`.

A compiled bundle is two native libraries. It is kept in `~/.cache/ptr/compiled`
(`$XDG_CACHE_HOME`), never in the bundle: it fits one version of PyTorch and one kind of CPU,
and a native library can do anything. For the same reason the node loads only libraries that
belong to its own user and that nobody else may write.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from ptr_common.files import sha256

from .bundle import Bundle, BundleError

LIBRARIES = ("act.so", "q.so")
DESCRIPTION = "compiled.json"
FILES = (DESCRIPTION, *LIBRARIES)

WRITABLE_BY_OTHERS = 0o022
"""Permission bits of a file that its group or everybody may write."""


def exists(bundle: Bundle, precision: str) -> bool:
    """Return whether this bundle has been compiled for this machine."""
    return bundle.form == "export" and cache_folder(bundle, precision).is_dir()


def load(bundle: Bundle, precision: str) -> tuple[Any, Any]:
    """Return runners of the compiled `act` and `q`: `run(list of tensors) -> list of tensors`.

    Raises:
        BundleError: If the bundle has not been compiled, or the cached files are unsafe or
            made for another machine.
    """
    folder = cache_folder(bundle, precision)
    command = f"`ptr compile {bundle.path} --precision {precision}`"
    if not folder.is_dir():
        raise BundleError(
            f"{bundle.path} is not compiled for this machine in {precision}: {command}, "
            "or choose a backend"
        )
    try:
        _check_owners(folder)
        _check_description(bundle, precision, folder, command)
        act, q = (_open_library(folder / name) for name in LIBRARIES)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BundleError(
            f"{folder} is damaged ({error}); compile again: {command}"
        ) from error
    return act, q


def _open_library(file: Path) -> Any:
    import torch

    return torch._C._aoti.AOTIModelContainerRunnerCpu(str(file), 1)


def _check_owners(folder: Path) -> None:
    """Check the folders above a compiled bundle, its own and its files."""
    paths = [folder.parent.parent, folder.parent, folder]
    for name in FILES:
        paths.append(folder / name)
    for path in paths:
        _check_owner(path)


def _check_owner(path: Path) -> None:
    """Raise BundleError if another user may have written a file or folder."""
    found = path.lstat()
    is_link = stat.S_ISLNK(found.st_mode)
    if is_link or found.st_uid != os.geteuid() or found.st_mode & WRITABLE_BY_OTHERS:
        raise BundleError(
            f"{path} is a link, belongs to user {found.st_uid} or may be written by others "
            f"(mode {found.st_mode:o}); a compiled bundle must belong to user {os.geteuid()} "
            "alone: remove it and compile it again"
        )


def _check_description(bundle: Bundle, precision: str, folder: Path, command: str) -> None:
    """Compare the description in the cache with the bundle, the machine and the libraries."""
    found = json.loads((folder / DESCRIPTION).read_bytes())
    for name, expected in description(bundle, precision, folder).items():
        if found[name] != expected:
            raise BundleError(
                f"{folder}: {name} is {found[name]}, expected {expected}; "
                f"compile again: {command}"
            )


def cache_folder(bundle: Bundle, precision: str) -> Path:
    """Return the folder of a bundle compiled for this machine; it need not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    machine = hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()[:12]
    return cache / "ptr" / "compiled" / f"{bundle.bundle_id}-{precision}-{machine}"


def _machine() -> dict[str, str]:
    """Return version of PyTorch and kind of CPU, which a compiled bundle depends on."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    features = sorted(name for name, has in capabilities.items() if has is True)
    cpu = f"{capabilities['architecture']} {capabilities.get('cpu_name', '')}"
    return {"torch": torch.__version__, "cpu": cpu, "features": " ".join(features)}


def description(bundle: Bundle, precision: str, folder: Path) -> dict[str, Any]:
    """Return the contents of `compiled.json` for the libraries in `folder`."""
    hashes = {name: sha256(folder / name) for name in LIBRARIES}
    return {
        "bundle": bundle.bundle_id,
        "precision": precision,
        "machine": _machine(),
        "sha256": hashes,
    }
