"""What to answer to a name that does not exist: the nearest known one, and all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
