"""Files of Linux that describe devices: small texts, permissions, and who has a device open."""

from __future__ import annotations

import contextlib
import grp
from collections.abc import Iterator
from pathlib import Path


def read_text(file: Path) -> str:
    """Return the stripped text of a small file; empty where it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def holders(path: Path, proc: Path = Path("/proc")) -> list[str]:
    """Return the programs that have a device open.

    Args:
        path: The device.
        proc: Root of the running processes.

    Returns:
        `name (PID)` of each program, sorted; other users' programs only if root asks.
    """
    programs = set()
    for pid, target in _open_files(proc):
        if target == str(path):
            name = read_text(proc / pid / "comm")
            programs.add(f"{name} ({pid})")

    return sorted(programs)


def _open_files(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield process number and path of every open file."""
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process ended, or is another user's
            links = list((process / "fd").iterdir())
            for link in links:
                with contextlib.suppress(OSError):
                    yield process.name, str(link.readlink())


def group_remedy(path: Path) -> str:
    """Return the command that adds the user to the group that may open a device."""
    group = grp.getgrgid(path.stat().st_gid).gr_name
    return f"sudo usermod -aG {group} $USER, then log out and in again"
