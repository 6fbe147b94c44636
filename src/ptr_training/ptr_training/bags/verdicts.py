"""Verdicts that people gave after a bag was closed: `ptr export --verdicts FILE`.

A rollout that ends by its time limit ends with STOP, and its bag has no verdict; what a person says
afterwards is in `results.csv` of the evaluation or session, or in `verdicts.jsonl` of
`ptr teleop --watch --out`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ptr_common.documents import parse_json, read_document

from .errors import BagError

VERDICTS = ("success", "failure", "discarded")
"""What a line of `verdicts.jsonl` says."""


def read_verdicts(file: Path) -> dict[str, str]:
    """Return the outcome of each judged episode, by its id.

    The last verdict on an episode counts. Rows of `results.csv` without a verdict (`aborted`) and
    without a bag say nothing.

    Args:
        file: `results.csv`, or a file of JSON lines.

    Returns:
        One of `VERDICTS` for each.

    Raises:
        BagError: If the file cannot be read or a line is no verdict.
    """
    text = read_document(file, BagError).decode("utf-8", errors="replace")
    lines = _of_lines if file.suffix == ".jsonl" else _of_table
    return dict(lines(file, text))


def _of_table(file: Path, text: str) -> Iterator[tuple[str, str]]:
    """Yield episode and outcome of each counted row of a table of results."""
    reader = csv.DictReader(io.StringIO(text))
    missing = {"bag", "success", "aborted"} - set(reader.fieldnames or ())
    if missing:
        raise BagError(
            f"{file} has no column {', '.join(sorted(missing))}; verdicts come from results.csv of "
            "`ptr evaluate` and `ptr session`, or verdicts.jsonl of `ptr teleop --watch --out`"
        )
    for number, row in enumerate(reader, 2):
        said = (row["success"], row["aborted"])
        if not set(said) <= {"True", "False"}:
            raise BagError(
                f"{file}, line {number}: success and aborted are {said[0]!r} and {said[1]!r}; "
                "allowed are True and False"
            )
        if row["bag"] and row["aborted"] == "False":
            solved = row["success"] == "True"
            yield PurePosixPath(row["bag"]).name, "success" if solved else "failure"


def _of_lines(file: Path, text: str) -> Iterator[tuple[str, str]]:
    """Yield episode and outcome of each line of JSON."""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            said: Any = parse_json(line)
        except ValueError as error:
            raise BagError(f"{file}, line {number} is no JSON: {error}") from error
        said = said if isinstance(said, dict) else {}
        episode, verdict = said.get("episode"), said.get("verdict")
        if not isinstance(episode, str) or verdict not in VERDICTS:
            raise BagError(
                f"{file}, line {number}: episode and verdict are {episode!r} and {verdict!r}; "
                f"allowed are an id and {', '.join(VERDICTS)}"
            )
        yield episode, verdict
