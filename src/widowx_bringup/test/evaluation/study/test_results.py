"""Results of studies: the table, and files with rows that have no evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from widowx_bringup.evaluation.results import Summary
from widowx_bringup.evaluation.study.results import Outcome, table, write

SUMMARY = Summary("ptr", 3, 4, 0, 0.75, 0.3, 0.95, 20.0, 0, 0, 0)
OUTCOMES = [
    Outcome("ptr", "PTR", "Table 1", 12.34, "", 300, SUMMARY),
    Outcome("bc", "BC", "", 0.0, "agent.lr is 'fast'", None, None),
]


def test_a_failure_stands_below_the_table() -> None:
    header, ptr, bc, failure = table(OUTCOMES).splitlines()
    assert header.split()[0] == "method"
    assert ptr.split() == [
        "PTR",
        "3/4",
        "75%",
        "30%",
        "…",
        "95%",
        "300",
        "12.3",
        "Table",
        "1",
    ]
    assert bc.split() == ["BC", "–", "–", "0.0"]
    assert failure == "BC failed: agent.lr is 'fast'"


def test_rows_are_compared_with_the_first_on_the_same_scenes() -> None:
    counts = {"ptr": (True,) * 9 + (False,), "bc": (False,) * 8 + (True,) * 2}
    rows = [
        Outcome(name, name, "", 1.0, "", None, SUMMARY, solved)
        for name, solved in counts.items()
    ]
    other = Outcome("few", "few", "", 1.0, "", None, SUMMARY, (True,))
    _, ptr, bc, few = table([*rows, other]).splitlines()
    assert "8 : 1 " in bc
    assert "p = 0.04" in bc
    assert ":" not in ptr + few


def test_files_have_every_row(tmp_path: Path) -> None:
    write(tmp_path, OUTCOMES, {"plan": "demo"})
    with (tmp_path / "study.csv").open(newline="") as file:
        ptr, bc = csv.DictReader(file)
    assert (ptr["successes"], ptr["rate"], ptr["step"]) == ("3", "0.75", "300")
    assert (bc["successes"], bc["problem"]) == ("", "agent.lr is 'fast'")
    content = json.loads((tmp_path / "study.json").read_text())
    assert content["about"] == {"plan": "demo"}
    assert content["rows"][1]["summary"] is None
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
