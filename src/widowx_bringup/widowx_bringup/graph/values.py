"""Arguments of a graph on a command line: words `name:=value`."""

from __future__ import annotations

from collections.abc import Sequence

from .spec import GraphError


def parse_values(words: Sequence[str]) -> dict[str, str]:
    """Return the mapping of words `name:=value`.

    Raises:
        GraphError: If a word has no `:=`.
    """
    values = {}
    for word in words:
        name, assignment, value = word.partition(":=")
        if not assignment:
            raise GraphError(f"{word!r} is no argument; write name:=value")
        values[name] = value
    return values
