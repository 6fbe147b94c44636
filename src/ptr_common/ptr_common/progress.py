"""Progress of long work: a bar on a terminal, lines with rate and time left in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
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


class StepProgress:
    """Progress of work that reports at steps of its own: a bar, or a line at each report.

    Args:
        name: What is done, for a bar's or a line's beginning.
        total: Units of work in all.
        unit: Name of a unit, in the singular.
        done: Units done before.
        shown: Whether to show anything.
    """

    def __init__(
        self, name: str, total: int, unit: str, *, done: int = 0, shown: bool = True
    ) -> None:
        self.name = name
        self.total = total
        self.unit = unit
        on_terminal = sys.stderr.isatty()
        self._prints_lines = shown and not on_terminal
        self._bar = tqdm(
            desc=name,
            initial=done,
            total=total,
            unit=unit,
            disable=not (shown and on_terminal),
        )
        self._reported = done
        self._reported_at = time.monotonic()

    def __enter__(self) -> StepProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self) -> None:
        """Count a unit as done."""
        self._bar.update()

    def show(self, detail: str) -> None:
        """Show a detail beside the bar."""
        self._bar.set_postfix_str(detail)

    def report(self, done: int, detail: str) -> None:
        """Print a line where there is no terminal.

        Args:
            done: Units done so far.
            detail: What else the line says.
        """
        if not self._prints_lines:
            return
        now = time.monotonic()
        rate = (done - self._reported) / max(now - self._reported_at, 1e-9)
        self._reported, self._reported_at = done, now
        remaining = "?"
        if rate > 0:
            remaining = format_duration((self.total - done) / rate)
        print(
            f"{self.name}: {self.unit} {done} of {self.total}, {detail}, "
            f"{rate:.2f} {self.unit}s/s, {remaining} left",
            file=sys.stderr,
            flush=True,
        )


def format_duration(seconds: float) -> str:
    """Return a duration as MM:SS or H:MM:SS."""
    return tqdm.format_interval(seconds)
