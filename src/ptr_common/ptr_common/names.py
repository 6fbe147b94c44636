"""Names that people write: those of tasks, and what to answer to one that does not exist."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Characters that show nothing, beside those of the categories Cc and Cf."""

SELECTORS = ((0xFE00, 0xFE0F), (0x180B, 0x180F), (0xE0100, 0xE01EF))
"""Ranges of characters that only choose a variant of the one before."""


def visible_task(name: str) -> str:
    """Return a name in composed letters (NFC) without invisible characters; blanks stay inside."""
    visible = "".join(letter for letter in name if not _is_invisible(letter))
    return unicodedata.normalize("NFC", visible).strip()


def clean_task(name: str) -> str:
    """Return a name as `visible_task` does, with single blanks."""
    return " ".join(visible_task(name).split())


def fold_task(name: str) -> str:
    """Return what two names are compared by: cleaned, without case."""
    return unicodedata.normalize("NFC", clean_task(name).casefold())


def find_task(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a name stands for: itself, or one of another case or blanks.

    None if there is none.
    """
    names = list(known)
    if name in names:
        return name
    folded = fold_task(name)
    return next((other for other in names if fold_task(other) == folded), None)


def _is_invisible(letter: str) -> bool:
    """Return whether a character shows nothing; white space does not count."""
    if letter.isspace():
        return False
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Cn") or letter in INVISIBLE:
        return True
    return any(low <= ord(letter) <= high for low, high in SELECTORS)


def did_you_mean(name: str, known: Iterable[str], *, quote: bool = False) -> str:
    """Return a clause for an error message about an unknown name.

    Args:
        name: The name found.
        known: The names allowed, in the order in which they are listed.
        quote: Put names in quotes, for names of several words.

    Returns:
        "did you mean X? Known are: X, Y, Z", or "known are: X, Y, Z" where no name is near.
    """
    names = list(known)
    shown = list(map(repr, names)) if quote else names
    listed = ", ".join(shown) if shown else "none"
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"did you mean {shown[names.index(near[0])]}? Known are: {listed}"
    return f"known are: {listed}"
