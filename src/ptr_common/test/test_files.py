"""Files and folders that appear complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from ptr_common.files import append_durably, atomic_file, atomic_folder, sha256


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a" / "b.txt") as path:
        path.write_text("half")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "half"


def test_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "b.txt") as path:
        path.write_text(f"half {1 // 0}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.txt"]
    assert (tmp_path / "b.txt").read_text() == "old"


def test_folder_appears_only_when_complete(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "store") as path:
        (path / "x").write_text("1")
        assert not (tmp_path / "store").exists()
    assert (tmp_path / "store" / "x").read_text() == "1"


def test_existing_folder_is_refused_or_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").write_text("1")
    with pytest.raises(PtrError, match="exists already"), atomic_folder(tmp_path / "store"):
        pass
    with atomic_folder(tmp_path / "store", overwrite=True) as path:
        (path / "new").write_text("2")
    assert [entry.name for entry in (tmp_path / "store").iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "store") as path:
        (path / "x").write_text(f"half {1 // 0}")
    assert list(tmp_path.iterdir()) == []


def test_sha256_agrees_with_hashlib(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(data)
    assert sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def ended_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_run_left_is_named_once_and_never_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = ended_process()
    left = [tmp_path / f".store.{dead}.partial", tmp_path / f".store.{dead}.old"]
    other = [tmp_path / f".store.{os.getppid()}.partial", tmp_path / f".b.{dead}.partial"]
    for folder in [*left, *other]:
        folder.mkdir()
    for overwrite in (False, True):
        with atomic_folder(tmp_path / "store", overwrite=overwrite):
            pass
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == sorted(map(str, left))
    assert all(line.endswith(f"remove it: rm -r {line.split()[0]}") for line in lines)
    assert all(folder.exists() for folder in [*left, *other])


def test_a_full_disk_names_the_final_file_and_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left on device; free space there") as caught,
        atomic_file(tmp_path / "b.txt"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"1")
    assert caught.value.filename == str(tmp_path / "b.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_permission_names_the_final_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(PermissionError, match="a folder that you may write to") as caught,
        atomic_folder(tmp_path / "store") as folder,
    ):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "x"))
    assert caught.value.filename == str(tmp_path / "store")


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    missing = tmp_path / "other"
    with pytest.raises(FileNotFoundError, match="other"), atomic_folder(tmp_path / "store"):
        missing.read_bytes()
    error = PermissionError(errno.EACCES, "Permission denied", str(missing))
    with pytest.raises(PermissionError) as caught, atomic_folder(tmp_path / "store"):
        raise error
    assert caught.value is error


def test_what_is_appended_is_whole_or_not_there(tmp_path: Path) -> None:
    """The kernel takes part of it, and then no more."""
    path = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("a+b", buffering=0) as file:
        append_durably(file, b"first\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                append_durably(file, b"second\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.read_bytes() == b"first\n"
        append_durably(file, b"third\n")
    assert path.read_bytes() == b"first\nthird\n"
