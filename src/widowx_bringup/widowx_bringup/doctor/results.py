"""Results of the checks of `ptr doctor`: run, printed line by line, written as JSON."""

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
"""Levels, mildest first, with their terminal colour codes; `none`: absent, and not needed."""

SETUP = (
    "run `make setup`; on a robot PC, source /opt/ros/…/setup.bash "
    "and the workspace's install/setup.bash"
)
"""Remedy for a missing package."""

INDENT = " " * 24


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        level: One of `COLOURS`.
        found: Description of what was found.
        remedy: What to do about it; empty where nothing is wrong.
        values: Measured figures, for the JSON file.
    """

    level: str
    found: str
    remedy: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def missing(found: str, remedy: str, needed: bool) -> CheckResult:
    """Return the result for an absent part: `fail` where it is needed, `none` otherwise."""
    return CheckResult("fail" if needed else "none", found, remedy)


@dataclass(frozen=True)
class Check:
    """A check that has not run yet.

    Attributes:
        group: Heading of the table under which the result is printed.
        name: What is checked.
        run: Returns the result.
    """

    group: str
    name: str
    run: Callable[[], CheckResult]


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        group: Heading under which the line is printed.
        name: What was checked.
        seconds: Duration of the check [s].
        result: What the check found.
    """

    group: str
    name: str
    seconds: float
    result: CheckResult


def run_checks(checks: Iterable[Check]) -> Iterator[Line]:
    """Run checks in order; an exception in a check is a failure, and the next check follows.

    Args:
        checks: Checks in the order of the table.

    Yields:
        The line of each check as soon as it has run.
    """
    for check in checks:
        started = time.monotonic()
        try:
            result = check.run()
        except PtrError as error:
            result = CheckResult("fail", str(error))
        except ModuleNotFoundError as error:
            result = CheckResult("fail", f"{error.name} is not installed", SETUP)
        except Exception as error:  # any defect of this computer has to be reported
            result = CheckResult(
                "fail",
                f"{type(error).__name__}: {error}",
                "the check itself failed; please report it as a bug",
            )
        seconds = round(time.monotonic() - started, 3)
        yield Line(check.group, check.name, seconds, result)


def print_results(lines: Iterable[Line]) -> list[Line]:
    """Print each line as soon as its check has run, and the remedy below a warning or failure.

    Args:
        lines: Lines in the order of the table.

    Returns:
        All lines.
    """
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    printed: list[Line] = []
    for line in lines:
        if not printed or printed[-1].group != line.group:
            print(line.group)
        _print_line(line, coloured)
        printed.append(line)

    return printed


def _print_line(line: Line, coloured: bool) -> None:
    result = line.result
    level = f"{result.level:<4}"
    if coloured:
        level = f"\x1b[{COLOURS[result.level]}m{level}\x1b[0m"
    print(f"  {level}  {line.name:<15} {result.found}".rstrip(), flush=True)
    if result.remedy and result.level in ("warn", "fail"):
        print(f"{INDENT}→ {result.remedy}", flush=True)


def count(lines: Iterable[Line]) -> dict[str, int]:
    """Return the number of lines of each level, mildest level first."""
    levels = Counter(line.result.level for line in lines)
    return {level: levels[level] for level in COLOURS}


def save(lines: Iterable[Line], path: Path, **about: Any) -> None:
    """Write lines as JSON.

    Args:
        lines: Lines of the table.
        path: The file; its folder is created.
        about: Further entries of the document.
    """
    document = {
        "format_version": FORMAT_VERSION,
        **about,
        "lines": [_to_json(line) for line in lines],
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> list[Line]:
    """Return the lines of a file that `save` wrote.

    Raises:
        PtrError: If the file has another format version.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise PtrError(f"{path}: format_version {version}, not {FORMAT_VERSION}")
    return [_from_json(entry) for entry in document["lines"]]


def _to_json(line: Line) -> dict[str, Any]:
    return {
        "group": line.group,
        "name": line.name,
        "seconds": line.seconds,
        "finding": asdict(line.result),  # the key of the file format
    }


def _from_json(entry: Mapping[str, Any]) -> Line:
    result = CheckResult(**entry["finding"])
    return Line(entry["group"], entry["name"], entry["seconds"], result)
