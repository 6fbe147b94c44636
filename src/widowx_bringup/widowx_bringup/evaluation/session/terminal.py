"""The terminal of the person who attends a session: single keys and lines of text."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Terminal:
    """How a session speaks with a person.

    Attributes:
        show: Prints a line.
        key: Returns a key that was typed, without waiting; empty if there is none.
        present: Whether keys can come at all.
    """

    show: Callable[[str], object]
    key: Callable[[], str]
    present: bool

    def choice(self, key: str, words: Sequence[str]) -> str | None:
        """Return the word whose number a key is; empty for 0 and ENTER, None for any other."""
        if key in ("0", "\n", "\r"):
            return ""
        if key.isdecimal() and 1 <= int(key) <= len(words):
            return words[int(key) - 1]
        return None


def numbered(words: Sequence[str]) -> str:
    """Return words with the digits that choose them."""
    return "  ".join(f"{number} {word}" for number, word in enumerate(words, 1))


@contextlib.contextmanager
def open_terminal() -> Iterator[Terminal]:
    """Yield the terminal of this process, whose keys arrive one by one; without one, no keys."""
    if not sys.stdin.isatty():
        yield Terminal(_show, lambda: "", present=False)
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    try:
        yield Terminal(_show, lambda: _read_key(file), present=True)
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def _show(text: str) -> None:
    tqdm.write(text)  # above a bar of progress
    sys.stdout.flush()


def _read_key(file: int) -> str:
    if not select.select([file], [], [], 0)[0]:
        return ""
    return os.read(file, 1).decode(errors="ignore")
