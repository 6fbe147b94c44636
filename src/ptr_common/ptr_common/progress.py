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
    """Progress as lines of text: one at most every `LOG_INTERVAL`, and a last one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("mininterval", LOG_INTERVAL)
        options.setdefault("maxinterval", 6 * LOG_INTERVAL)
        options.setdefault("bar_format", LINE)
        self._shown = -1  # count of the last line
        self.disable = False
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, except at the very start, where nothing is known yet."""
        if self.n > 0 and self.n != self._shown:
            self._shown = self.n
            self.fp.write((str(self) if msg is None else msg) + "\n")
            self.fp.flush()

    def set_postfix(self, *arguments: Any, refresh: bool = False, **values: Any) -> None:
        """Set what ends the next line; it is not a reason to write one."""
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
    """
    stream = options.get("file") or sys.stderr
    kind = tqdm if stream.isatty() else LogProgress
    return kind(*arguments, **options)
