"""What the checks of `ptr doctor` find: a level, words and a remedy; told line by line, and written for machines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file

FORMAT_VERSION = 1

COLOURS = {"ok": "32", "none": "2", "warn": "33", "fail": "31;1"}
"""Levels, mildest first, with the code of a terminal's colour. `none`: not there, and not needed for what was asked."""

INDENT = " " * 24


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        level: One of `COLOURS`.
        found: What is there, in words.
        remedy: What to do about it; empty where all is well.
        values: The figures measured, for machines.
    """

    level: str
    found: str
    remedy: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def missing(found: str, remedy: str, needed: bool) -> CheckResult:
    """Return the finding of what is not there: a failure where it is needed, else `none`."""
    return CheckResult("fail" if needed else "none", found, remedy)


@dataclass(frozen=True)
class Check:
    """One line to be: what it is about, and the function that looks."""

    group: str
    name: str
    look: Callable[[], CheckResult]


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    group: str
    name: str
    seconds: float  # that the check took
    finding: CheckResult


def examine(checks: Iterable[Check]) -> Iterator[Line]:
    """Run checks in order; one that breaks is a failure, and the next one follows."""
    for check in checks:
        started = time.monotonic()
        try:
            finding = check.look()
        except PtrError as error:
            finding = CheckResult("fail", str(error))
        except Exception as error:  # whatever is broken is what we are here to report
            finding = CheckResult(
                "fail",
                f"{type(error).__name__}: {error}",
                "this check broke off; report it, please",
            )
        yield Line(check.group, check.name, round(time.monotonic() - started, 3), finding)


def tell(lines: Iterable[Line]) -> list[Line]:
    """Print each line as it comes, its remedy below it where something is wrong; return them all."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    told: list[Line] = []
    for line in lines:
        if not told or told[-1].group != line.group:
            print(f"{line.group}")
        level = f"{line.finding.level:<4}"
        if colours:
            level = f"\x1b[{COLOURS[line.finding.level]}m{level}\x1b[0m"
        print(f"  {level}  {line.name:<15} {line.finding.found}".rstrip(), flush=True)
        if line.finding.remedy and line.finding.level in ("warn", "fail"):
            print(f"{INDENT}→ {line.finding.remedy}", flush=True)
        told.append(line)
    return told


def count(lines: Iterable[Line]) -> dict[str, int]:
    """Return how many lines have each level."""
    levels = Counter(line.finding.level for line in lines)
    return {level: levels[level] for level in COLOURS}


def save(lines: Iterable[Line], path: Path, **about: Any) -> None:
    """Write lines as JSON, with whatever else is to be known about the run."""
    document = {
        "format_version": FORMAT_VERSION,
        **about,
        "lines": [asdict(line) for line in lines],
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> list[Line]:
    """Return the lines of a file that `save` wrote.

    Raises:
        PtrError: If it has another format version.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("format_version") != FORMAT_VERSION:
        raise PtrError(
            f"{path}: format_version {document.get('format_version')}, not {FORMAT_VERSION}"
        )
    return [
        Line(**{**line, "finding": CheckResult(**line["finding"])})
        for line in document["lines"]
    ]
