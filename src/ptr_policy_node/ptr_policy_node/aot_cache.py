"""The cache of bundles compiled for this machine, filled by `ptr compile`.

A compiled bundle is two native libraries. It is kept in `~/.cache/ptr/compiled`
(`$XDG_CACHE_HOME`), never in the
bundle: it fits one version of PyTorch and one kind of CPU, and who can write a library can
run anything. For the same reason the node loads it only where it belongs to the user that
runs the node and nobody else may write it.
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
FILES = ("compiled.json", *LIBRARIES)


def exists(bundle: Bundle, precision: str) -> bool:
    """Return whether there is a compilation of this very bundle for this machine."""
    return bundle.form == "export" and cache_folder(bundle, precision).is_dir()


def load(bundle: Bundle, precision: str) -> tuple[Any, Any]:
    """Return runners of the compiled `act` and `q`: `run(list of tensors) -> list of tensors`.

    Raises:
        BundleError: If the bundle has not been compiled, or what is there is not to be
        trusted or not for this machine.
    """
    import torch

    folder = cache_folder(bundle, precision)
    again = f"`ptr compile {bundle.path} --precision {precision}`"
    if not folder.is_dir():
        raise BundleError(
            f"{bundle.path} is not compiled for this machine in {precision}: {again}, or choose a backend"
        )
    try:
        for path in (
            folder.parent.parent,
            folder.parent,
            folder,
            *(folder / name for name in FILES),
        ):
            _check_owner(path)
        found = json.loads((folder / "compiled.json").read_bytes())
        expected = description(bundle, precision, folder)
        for what, value in expected.items():
            if found[what] != value:
                raise BundleError(
                    f"{folder}: {what} is {found[what]}, expected {value}; compile again: {again}"
                )
        act, q = (
            torch._C._aoti.AOTIModelContainerRunnerCpu(str(folder / name), 1)
            for name in LIBRARIES
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BundleError(
            f"{folder} is damaged ({error}); compile again: {again}"
        ) from error
    return act, q


def cache_folder(bundle: Bundle, precision: str) -> Path:
    """Return the folder of a bundle compiled for this machine, whether it exists or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    machine = hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()[:12]
    return cache / "ptr" / "compiled" / f"{bundle.bundle_id}-{precision}-{machine}"


def _machine() -> dict[str, str]:
    """Return what a compiled bundle fits to."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    features = sorted(name for name, has in capabilities.items() if has is True)
    cpu = f"{capabilities['architecture']} {capabilities.get('cpu_name', '')}"
    return {"torch": torch.__version__, "cpu": cpu, "features": " ".join(features)}


def description(bundle: Bundle, precision: str, folder: Path) -> dict[str, Any]:
    """Return what `compiled.json` says of the libraries in `folder`."""
    hashes = {name: sha256(folder / name) for name in LIBRARIES}
    return {
        "bundle": bundle.bundle_id,
        "precision": precision,
        "machine": _machine(),
        "sha256": hashes,
    }


def _check_owner(path: Path) -> None:
    """Raise BundleError if anybody but this process's user may have written a file or folder."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BundleError(
            f"{path} is a link, belongs to user {found.st_uid} or may be written by others (mode {found.st_mode:o}); "
            f"a compiled bundle must belong to user {os.geteuid()} alone: remove it and compile it again"
        )
