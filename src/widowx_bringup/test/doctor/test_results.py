"""Findings are told line by line and written for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from widowx_bringup.doctor.results import (
    Check,
    CheckResult,
    count,
    examine,
    load,
    missing,
    save,
    tell,
)

FINDINGS = {
    "good": CheckResult("ok", "all well", "never told", {"rate": 30.0}),
    "absent": missing("no arm", "plug it in", needed=False),
    "slow": CheckResult("warn", "slow disk", "buy another"),
}


def checks(findings: dict[str, CheckResult]) -> list[Check]:
    return [
        Check("things", name, lambda finding=finding: finding)
        for name, finding in findings.items()
    ]


def test_a_remedy_is_told_below_what_is_wrong_and_nowhere_else(
    capsys: pytest.CaptureFixture,
) -> None:
    tell(examine(checks(FINDINGS)))
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["things", "ok", "none", "warn", "→"]
    assert told[-1].endswith("→ buy another")


def test_words_stand_in_columns_and_without_colour_in_a_pipe(
    capsys: pytest.CaptureFixture,
) -> None:
    tell(examine(checks(FINDINGS)))
    told = capsys.readouterr().out
    found = [
        line.index(finding.found)
        for line, finding in zip(told.splitlines()[1:4], FINDINGS.values(), strict=True)
    ]
    assert len(set(found)) == 1
    assert "\x1b" not in told


def test_each_line_is_told_as_its_check_ends(capsys: pytest.CaptureFixture) -> None:
    before = []

    def last() -> CheckResult:
        before.append(capsys.readouterr().out)
        return CheckResult("ok", "done")

    tell(examine([*checks(FINDINGS), Check("things", "last", last)]))
    assert "buy another" in before[0]


def test_a_check_that_breaks_is_a_failure_and_the_next_one_follows(
    capsys: pytest.CaptureFixture,
) -> None:
    def broken() -> CheckResult:
        raise ZeroDivisionError("by nothing")

    lines = tell(examine([Check("things", "broken", broken), *checks(FINDINGS)]))
    assert [line.finding.level for line in lines] == ["fail", "ok", "none", "warn"]
    told = capsys.readouterr().out
    assert "ZeroDivisionError: by nothing" in told
    assert "Traceback" not in told


def test_what_is_missing_fails_only_where_it_is_needed() -> None:
    assert missing("no arm", "plug it in", needed=True) == CheckResult(
        "fail", "no arm", "plug it in"
    )
    assert missing("no arm", "plug it in", needed=False).level == "none"


def test_lines_come_back_from_their_file(tmp_path: Path) -> None:
    lines = list(examine(checks(FINDINGS)))
    save(lines, tmp_path / "found.json", robot=True, levels=count(lines))
    assert load(tmp_path / "found.json") == lines
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["robot"] is True
    assert document["levels"] == {"ok": 1, "none": 1, "warn": 1, "fail": 0}


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text('{"format_version": 99, "lines": []}')
    with pytest.raises(PtrError, match="format_version 99, not 1"):
        load(tmp_path / "found.json")
