"""Files that exist under their final name only once they are complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import PtrError

_FREE_SPACE = "free space there or choose another folder"
_PERMIT = "choose a folder that you may write to"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.EROFS: _PERMIT,
}


_LFS = b"version https://git-lfs.github.com/spec/"

_named: set[Path] = set()
"""Leftovers that this process has named already."""


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is renamed to `path`, else removed.

    Args:
        path: Final name of the file. Folders above it are made.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    name_leftovers(path)
    try:
        with _naming(path, temporary):
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
    name_leftovers(path)
    try:
        with _naming(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def name_leftovers(path: Path) -> None:
    """Print what processes that were killed have left of `path`; a person may remove it.

    It is not removed here: a process of another computer or container may still write it.

    Args:
        path: Final name of a file or a folder.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.(partial|old)")
    with contextlib.suppress(OSError):
        for leftover in sorted(path.parent.iterdir()):
            match = name.fullmatch(leftover.name)
            if leftover in _named or match is None or _is_running(int(match[1])):
                continue
            what = "an unfinished" if match[2] == "partial" else "the former"
            _named.add(leftover)
            print(
                f"{leftover} is {what} {path.name} that a killed run left; if no other "
                f"computer writes it, remove it: rm -r {shlex.quote(str(leftover))}",
                file=sys.stderr,
            )


def _is_running(process: int) -> bool:
    """Return whether this computer runs a process of this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Have errors about a temporary file name the final one, and what to do.

    Args:
        path: Final name.
        temporary: Temporary one; errors about other files pass unchanged.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        about = error.filename
        if about is not None:
            about = Path(os.fsdecode(about))
            if not (about.is_relative_to(temporary) or about in path.parents):
                raise
        elif remedy is not _FREE_SPACE:
            raise  # without a name it may be about anything
        if remedy is None:
            raise
        raise OSError(error.errno, f"{error.strerror}; {remedy}", str(path)) from error


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give a folder its final name; a folder that has it already is removed afterwards."""
    if not path.exists():
        temporary.replace(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.replace(old)
    temporary.replace(path)
    shutil.rmtree(old)


def append_durably(file: BinaryIO, content: bytes) -> None:
    """Append to a file; it is on disk when this returns.

    Args:
        file: Opened without a buffer (`buffering=0`) to read and append.
        content: What is appended.

    Raises:
        OSError: If the disk is full; nothing of the content is left in the file then.
    """
    end = file.seek(0, os.SEEK_END)
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_lfs_pointer(path: Path | str) -> bool:
    """Return whether a file is a Git LFS pointer: a few lines that name the real contents."""
    with Path(path).open("rb") as file:
        return file.read(len(_LFS)) == _LFS
