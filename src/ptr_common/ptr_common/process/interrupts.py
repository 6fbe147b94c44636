"""Ctrl-C while a process of ours imports its modules, and after its work is done.

A KeyboardInterrupt in a half-imported module shows a traceback, or becomes an error of another
kind. Nothing is to be undone then, so that the process may simply end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

PROGRAMS = frozenset(
    {
        "arm_node",
        "bag_player",
        "camera_monitor",
        "camera_node",
        "driver_keeper",
        "policy_node",
        "ptr",
        "recorder_node",
        "scripted_teleop",
        "simulation",
        "teleop_node",
    }
)
"""Our programs, by the names of their files; other processes that import us are left alone."""


def is_ours() -> bool:
    """Return whether this process is a program of ours, started by name or by `python -m`."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    # Python calls a program "-m" while it looks for its module, of which we are a part.
    return program == "-m" or os.path.basename(program) in PROGRAMS  # noqa: PTH119


def end_at_once() -> None:
    """Let Ctrl-C end a program of ours at once, until it handles the signal itself.

    Where Ctrl-C is ignored (nohup) or handled already, nothing changes.
    """
    if not is_ours() or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again where `end_at_once` has changed that."""
    if is_ours() and signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
