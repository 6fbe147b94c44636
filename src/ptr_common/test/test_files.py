"""Files and folders that appear complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file, atomic_folder, sha256


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


@pytest.mark.parametrize("make", [atomic_file, atomic_folder])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_full_disk_and_missing_right_name_the_final_path_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], AbstractContextManager[Path]], number: int
) -> None:
    with (
        pytest.raises(OSError, match=r"(free some space|choose another folder).*/store'"),
        make(tmp_path / "store") as path,
    ):
        raise OSError(number, os.strerror(number), str(path / "frames.npy"))
    assert list(tmp_path.iterdir()) == []


def test_error_about_another_file_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"/elsewhere'$"), atomic_file(tmp_path / "store"):
        raise OSError(errno.EACCES, "Permission denied", "/elsewhere")
