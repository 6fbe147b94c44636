"""A module in a process of its own, where libraries may crash the interpreter."""

from __future__ import annotations

import subprocess
import sys


def run_separately(module: str, limit: float) -> subprocess.CompletedProcess[str]:
    """Return what became of a module that was run by itself, with what it printed.

    Args:
        module: Its full name.
        limit: Longest time [s].

    Raises:
        subprocess.TimeoutExpired: If it takes longer.
    """
    return subprocess.run(
        [sys.executable, "-m", module],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
