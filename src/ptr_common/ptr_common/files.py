"""Files that exist under their final name only once they are complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .errors import PtrError

REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, or write to another one",
    errno.EDQUOT: "your quota is used up: remove something, or write to another disk",
    errno.EACCES: "you may not write there: choose another folder, or change its owner",
    errno.EPERM: "you may not write there: choose another folder, or change its owner",
    errno.EROFS: "the disk is mounted read-only: write to another one",
}
"""What to do about an error of the operating system while a file is written."""


@contextlib.contextmanager
def _explained(path: Path, temporary: Path) -> Iterator[None]:
    """Name the final path in errors about a temporary one, and what to do.

    Args:
        path: What is being made.
        temporary: What is written meanwhile.

    Raises:
        OSError: Of the kind that occurred.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        elsewhere = error.filename and not str(error.filename).startswith(str(temporary))
        if remedy is None or (elsewhere and Path(str(error.filename)) not in path.parents):
            raise
        kept = "as it was" if path.exists() else "not made"
        reason = f"{error.strerror}; {remedy}; this one is {kept}"
        raise OSError(error.errno, reason, str(path)) from error


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is renamed to `path`, else removed.

    Args:
        path: Final name of the file. Folders above it are made.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _explained(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it takes the name `path`.

    Args:
        path: Final name of the folder.
        overwrite: Replace an existing folder instead of refusing.

    Raises:
        PtrError: If `path` exists and `overwrite` is false.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise PtrError(f"{path} exists already; choose another folder or remove it first")

    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _explained(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give a folder its final name; a folder that has it already is removed afterwards."""
    if not path.exists():
        temporary.replace(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.replace(old)
    temporary.replace(path)
    shutil.rmtree(old)


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
