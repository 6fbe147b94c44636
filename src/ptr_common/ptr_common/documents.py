"""JSON and YAML of files that anybody may have written: bounded, each field checked when taken."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import PtrError
from .names import did_you_mean

MAX_BYTES = 1 << 28
"""Largest document that is read [bytes]."""

MAX_DEPTH = 64
"""Deepest nesting of a YAML document. No file of ours is nested deeper than ten."""

MAX_NODES = 2_000_000
"""Most values of a YAML document, each alias counted as what it stands for."""

# Both build plain values only and refuse tags that name Python objects, as yaml.safe_load does.
# The one written in C, where PyYAML has it, is ten times as fast.
_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MISSING: Any = object()
"""Default of a field that must be there."""


def parse_json(content: bytes | str) -> Any:
    """Return the values of a JSON document; raises ValueError if it is none, or nested too deep."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def parse_yaml(content: bytes | str) -> Any:
    """Return the plain values of a YAML document.

    Raises:
        yaml.YAMLError: If it is none, is nested deeper than `MAX_DEPTH`, or holds more than
            `MAX_NODES` values, its aliases written out.
    """
    try:
        _check_size(yaml.parse(content, Loader=_SAFE_LOADER))
        return yaml.load(content, Loader=_SAFE_LOADER)  # runs no code: see _SAFE_LOADER
    except (ValueError, RecursionError, OverflowError, AttributeError, TypeError) as error:
        # dates that are none, numbers of too many digits, keys that are lists
        raise yaml.YAMLError(f"a value that cannot be built: {error}") from error


def _check_size(events: Iterable[Any]) -> None:
    """Raise yaml.YAMLError if the events of a document make too many values, or too deep ones."""
    anchors: dict[str, tuple[int, int]] = {}  # size and depth of what an alias stands for
    open_nodes: list[tuple[str | None, int, int]] = [(None, 0, 0)]  # anchor, size, depth
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1, 1))
            size, depth = 0, 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size, depth = open_nodes.pop()
            if anchor:
                anchors[anchor] = (size, depth)
        elif isinstance(event, yaml.AliasEvent):
            # an alias inside of what it stands for would never end
            size, depth = anchors.get(event.anchor, (MAX_NODES + 1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            size, depth = 1, 0
            if event.anchor:
                anchors[event.anchor] = (1, 0)
        else:
            continue
        anchor, own, deepest = open_nodes[-1]
        open_nodes[-1] = (anchor, own + size, max(deepest, depth + 1))
        if own + size > MAX_NODES or len(open_nodes) + depth > MAX_DEPTH:
            raise yaml.YAMLError(
                f"more than {MAX_NODES} values, its aliases written out, or nested deeper "
                f"than {MAX_DEPTH}"
            )


def read_document(file: Path, error: type[PtrError]) -> bytes:
    """Return the content of a file of text.

    Raises:
        PtrError: Of the type `error`, if it cannot be read or is larger than `MAX_BYTES`.
    """
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            raise error(f"{file} has {size} bytes; at most {MAX_BYTES} are read")
        return file.read_bytes()
    except OSError as problem:
        raise error(f"{file} cannot be read: {problem.strerror}") from problem


def read_json(file: Path, error: type[PtrError]) -> Any:
    """Return the values of a JSON file; raises `error` if it is damaged, naming the file."""
    try:
        return parse_json(read_document(file, error))
    except ValueError as problem:
        raise error(f"{file} is truncated or not JSON: {problem}") from problem


def read_yaml(file: Path, error: type[PtrError]) -> Any:
    """Return the values of a YAML file; raises `error` if it is damaged, naming the file."""
    content = read_document(file, error)
    try:
        return parse_yaml(content)
    except yaml.YAMLError as problem:
        raise error(f"{file} cannot be read: {problem}") from problem


class Fields:
    """The fields of a table in a document; each one is checked when it is taken.

    Args:
        values: The table, as JSON or YAML holds it.
        where: The file, and the place in it, for messages.
        error: Type of the errors.
        prefix: What stands before the names of its fields in messages, such as `camera.`.
        remedy: What to do about a wrong value, for messages.

    Raises:
        PtrError: Of the type `error`, if it is no table; from each method, if the field is
            missing or of another kind. The message names file, field and value.
    """

    def __init__(
        self,
        values: Any,
        where: Path | str,
        error: type[PtrError],
        *,
        prefix: str = "",
        remedy: str = "",
    ) -> None:
        self._where, self._error, self._prefix = where, error, prefix
        self._remedy = f" ({remedy})" if remedy else ""
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            name = prefix.rstrip(".") or "the document"
            raise error(
                f"{where}: {name} is {_shown(values)}; expected a table of named values"
                + self._remedy
            )
        self.values: dict[str, Any] = values

    def text(
        self,
        name: str,
        default: Any = MISSING,
        *,
        allowed: tuple[str, ...] = (),
        filled: bool = False,
    ) -> str:
        """Return a text.

        Args:
            name: Of the field.
            default: Where the field is missing.
            allowed: The texts allowed; empty: any.
            filled: Refuse the empty text.
        """
        value = self._take(name, default)
        fits = isinstance(value, str) and (not allowed or value in allowed)
        if not fits or (filled and not value.strip()):
            self.refuse(
                name, " or ".join(allowed) or "text" + " that is not empty" * filled
            )
        return str(value)

    def texts(self, name: str, default: Any = MISSING) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self._take(name, default)
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(item, str) for item in value
        ):
            self.refuse(name, "a list of texts")
        return tuple(value)

    def integer(self, name: str, low: int, high: int, default: Any = MISSING) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._take(name, default)
        if type(value) is not int or not low <= value <= high:
            self.refuse(name, f"a whole number from {low} to {high}")
        return int(value)

    def number(self, name: str, low: float, high: float, default: Any = MISSING) -> float:
        """Return a finite number from `low` to `high`."""
        value = self._take(name, default)
        if type(value) not in (int, float) or not low <= value <= high:
            self.refuse(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def numbers(self, name: str, length: int) -> tuple[float, ...]:
        """Return a list of so many finite numbers."""
        value = self._take(name, MISSING)
        fits = isinstance(value, (list, tuple)) and len(value) == length
        if not fits or not all(_is_finite(item) for item in value):
            self.refuse(name, f"a list of {length} finite numbers")
        return tuple(float(item) for item in value)

    def flag(self, name: str, default: Any = MISSING) -> bool:
        """Return a truth value."""
        value = self._take(name, default)
        if type(value) is not bool:
            self.refuse(name, "true or false")
        return bool(value)

    def table(self, name: str, default: Any = MISSING) -> Fields:
        """Return a table."""
        return self.inner(self._take(name, default), name)

    def inner(self, values: Any, name: str) -> Fields:
        """Return the fields of a table inside this one, which messages call `name`."""
        return Fields(
            values,
            self._where,
            self._error,
            prefix=f"{self._prefix}{name}.",
            remedy=self._remedy[2:-1],
        )

    def refuse_unknown(self, known: Sequence[str]) -> None:
        """Raise the error if the table has an entry of another name."""
        for key in self.values:
            if key not in known:
                hint = did_you_mean(key, known)
                raise self._error(
                    f"{self._where} has an unknown entry {self._prefix}{key}; {hint}"
                )

    def tables(self, name: str) -> list[dict[str, Any]]:
        """Return a list of tables with names of text."""
        value = self._take(name, MISSING)
        if not isinstance(value, (list, tuple)) or not all(map(_is_table, value)):
            self.refuse(name, "a list of tables")
        return list(value)

    def refuse(self, name: str, expected: str) -> None:
        """Raise the error that a field has the value that it has."""
        raise self._error(
            f"{self._where}: {self._prefix}{name} is {_shown(self.values.get(name))}; "
            f"expected {expected}{self._remedy}"
        )

    def _take(self, name: str, default: Any) -> Any:
        """Return a value, or the default where it is missing."""
        if name in self.values:
            return self.values[name]
        if default is MISSING:
            raise self._error(
                f"{self._where} is incomplete: it lacks {self._prefix}{name}{self._remedy}"
            )
        return default


def _is_finite(value: Any) -> bool:
    """Return whether a value is a number, and finite."""
    return type(value) in (int, float) and abs(value) < math.inf


def _shown(value: Any) -> str:
    """Return a value as a message shows it, shortened."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _is_table(value: Any) -> bool:
    """Return whether a value is a table whose fields have names of text."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)
