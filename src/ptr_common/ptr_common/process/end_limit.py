"""The longest time in which a process ends after a signal, whatever its middleware does."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
from collections.abc import Iterator

LATEST_END = 4.0
"""Longest time in which a node may end, without the work that it pauses the limit for [s]."""

LATEST_KILL = 4.5
"""Longest time from a signal to the end of a process that does not run Python meanwhile [s]."""

KILLER = """test -n "$(head -c 1)" && ! timeout "$2" cat > /dev/null && kill -KILL "$1" """
"""Waits for a byte on its input, then for the input's end; kills a process if that is late."""


class EndLimit:
    """Ends this process if its node does not end in time, whatever the middleware does.

    A middleware can wait for ever, with Python's lock held: in the destruction of a node, or
    in a callback, and then no handler of a signal ever runs. So the limit is a thread without
    Python, and before that a process that the signal itself wakes through a pipe.
    """

    def __init__(self) -> None:
        self._started = False
        self._pipe: int | None = None
        self._killer: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Let `LATEST_KILL` run from the next signal on that Python handles.

        Work that pauses the limit ends this watch, and so does another watch.
        """
        self._end_watch()
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._killer = subprocess.Popen(
            ["sh", "-c", KILLER, "end_limit", str(os.getpid()), str(LATEST_KILL)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)

    def start(self, limit: float | None = None) -> None:
        """Let a limit run from now on.

        Args:
            limit: The limit [s]; by default `LATEST_END`.
        """
        if not self._started:
            self._started = True
            # A process that ends shows no traceback.
            self._quiet = os.open(os.devnull, os.O_WRONLY)
        seconds = LATEST_END if limit is None else limit
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._quiet)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Give time to work that must be finished; the limit starts anew after it."""
        self._end_watch()
        if not self._started:
            yield
            return
        faulthandler.cancel_dump_traceback_later()
        try:
            yield
        finally:
            self.start()

    def stop(self) -> None:
        """Switch `LATEST_END` off: the node has ended."""
        if self._started:
            self._started = False
            faulthandler.cancel_dump_traceback_later()
            os.close(self._quiet)

    def _end_watch(self) -> None:
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe)
            self._pipe = None


end_limit = EndLimit()
"""The limit of this process."""
