"""Small files of Linux, and the programs that have a device open."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from widowx_bringup.doctor.device_files import group_remedy, holders, read_text


def test_a_text_is_stripped_and_empty_where_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "name").write_text(" C920\n")
    assert read_text(tmp_path / "name") == "C920"
    assert read_text(tmp_path / "missing") == ""
    assert read_text(tmp_path) == ""


def test_programs_that_have_a_file_open_are_named_once(tmp_path: Path) -> None:
    device = tmp_path / "ttyDXL"
    process = tmp_path / "proc/42"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("xs_sdk\n")
    for number in (3, 4):
        (process / f"fd/{number}").symlink_to(device)
    (tmp_path / "proc/43").mkdir()  # of another user, or ended meanwhile
    assert holders(device, tmp_path / "proc") == ["xs_sdk (42)"]
    assert holders(tmp_path / "other", tmp_path / "proc") == []


def test_this_process_is_found_while_it_has_a_file_open(tmp_path: Path) -> None:
    (tmp_path / "device").touch()
    with (tmp_path / "device").open():
        (program,) = holders(tmp_path / "device")
    assert program.endswith(f"({os.getpid()})")
    assert holders(tmp_path / "device") == []


def test_the_group_of_a_device_is_the_one_to_join(tmp_path: Path) -> None:
    group = grp.getgrgid(tmp_path.stat().st_gid).gr_name
    assert group_remedy(tmp_path).startswith(f"sudo usermod -aG {group} $USER")
