"""What leaves this computer in a bundle, without the paths of its folders."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any


def portable(value: Any) -> Any:
    """Return what a run recorded of its data, without the folders of this computer."""
    if isinstance(value, dict):
        return {name: portable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return portable_path(Path(value))
    return value


def portable_path(path: Path) -> str:
    """Return an absolute path from its run folder or store on; others as they are."""
    if not path.is_absolute():
        return str(path)
    below_run = 3 if path.parent.name == "checkpoints" else 1
    return str(Path(*path.parts[-below_run:]))


def without_origins(content: bytes) -> bytes:
    """Return a scripted module without the records of its source files, which have paths."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return buffer.getvalue()
