"""Progress of long work on stderr: a bar on a terminal, lines of text elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Shows how far long work is, how fast it goes and how long it will still take.

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

    def __enter__(self) -> Progress:
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
