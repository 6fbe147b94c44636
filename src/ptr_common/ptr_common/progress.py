"""Progress of long work: a bar on a terminal, lines with rate and time left in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_INTERVAL = 10.0
"""Shortest time between two lines of progress in a log [s]."""

LINE = "{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed} < {remaining}, {rate_fmt}{postfix}"
"""A line of progress: done, time taken < time left, rate, and what was set with `set_postfix`."""


class LogProgress(tqdm):
    """Progress as lines of text, for logs.

    There is at most one line every `LOG_INTERVAL`, and one at the end.

    Args:
        arguments: As of `tqdm.tqdm`.
        options: As of `tqdm.tqdm`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("mininterval", LOG_INTERVAL)
        options.setdefault("maxinterval", 6 * LOG_INTERVAL)
        options.setdefault("bar_format", LINE)
        self._shown = -1  # count of the last line
        self.disable = False
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line.

        There is no line at the very start, where rate and time left are unknown, and no second
        one of the same count.

        Args:
            msg: Text of the line; None: the present progress.
            pos: Not used; a terminal has several bars.
        """
        if self.n > 0 and self.n != self._shown:
            self._shown = self.n
            self.fp.write((str(self) if msg is None else msg) + "\n")
            self.fp.flush()

    def set_postfix(self, *arguments: Any, refresh: bool = False, **values: Any) -> None:
        """Set the end of the next line, without writing one.

        Args:
            arguments: As of `tqdm.tqdm.set_postfix`.
            refresh: Not used; lines are written at their interval.
            values: Named values to show.
        """
        super().set_postfix(*arguments, refresh=False, **values)

    def close(self) -> None:
        """Write the last line."""
        if self.disable:
            return
        self.display()
        self.disable = True
        self._decr_instances(self)


def progress(*arguments: Any, **options: Any) -> tqdm:
    """Return a progress bar, or progress in lines where the output is not a terminal.

    Args:
        arguments: As of `tqdm.tqdm`.
        options: As of `tqdm.tqdm`; `file` is standard error by default.

    Returns:
        An iterable and context manager with `update`, `set_postfix` and `n`.
    """
    stream = options.get("file") or sys.stderr
    kind = tqdm if stream.isatty() else LogProgress
    return kind(*arguments, **options)
