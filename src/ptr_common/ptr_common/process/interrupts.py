"""Ctrl-C in a process of ours: while it imports its modules, in its work, and afterwards.

A KeyboardInterrupt in a half-imported module shows a traceback, or becomes an error of another
kind. Nothing is to be undone then, so that the process may simply end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

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


def _is_ours() -> bool:
    """Return whether this process is a program of ours, started by name or by `python -m`."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    # Python calls a program "-m" while it looks for its module, of which we are a part.
    return program == "-m" or os.path.basename(program) in PROGRAMS  # noqa: PTH119


OURS = _is_ours()
"""Whether this process is a program of ours."""


STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Signals that a process started by us holds back until `end_at_once`; see `hold_back`."""

RETRY = 0.05
"""Time after which an interrupt that was lost is raised again [s]."""


class _Interrupt:
    """Raises KeyboardInterrupt at a signal.

    Attributes:
        received: Whether there was one.
    """

    def __init__(self) -> None:
        self.received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        raise KeyboardInterrupt


_interrupt = _Interrupt()


def hold_back() -> None:
    """Hold signals back in a child that is about to run a program of ours, until it can end.

    For `preexec_fn`: Python's own start would show a traceback.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def end_at_once() -> None:
    """Let Ctrl-C end a program of ours at once, until it handles the signal itself.

    Where Ctrl-C is ignored (nohup) or handled by others, nothing changes.
    """
    if not OURS or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _interrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again where `end_at_once` has changed that."""
    if OURS and signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, _interrupt)
        keep()


def keep() -> None:
    """Raise a KeyboardInterrupt again that no exception handler sees, as in a destructor."""
    sys.unraisablehook = _on_unraisable


def received() -> bool:
    """Return whether Ctrl-C has interrupted the work; errors afterwards may come of it."""
    return _interrupt.received


def _on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt again that Python would ignore."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    main = threading.main_thread().ident
    retry = threading.Timer(RETRY, signal.pthread_kill, (main, signal.SIGINT))
    retry.daemon = True
    retry.start()
