"""Ctrl-C in a process of ours: while it imports its modules, in its work, and afterwards.

A KeyboardInterrupt in a half-imported module shows a traceback, or becomes an error of another
kind. Nothing is to be undone then, so that the process may simply end.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from ptr_common import OURS

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
    """Hold signals back in a child that is about to run a program of ours, until it imports us.

    For `preexec_fn`: Python's own start would show a traceback.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))


def end_at_once() -> None:
    """Let Ctrl-C end a program of ours at once again: its work is done.

    Where Ctrl-C is ignored (nohup) or handled by others, nothing changes.
    """
    if not OURS or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _interrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_again() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on: the imports are done."""
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
