"""Results are printed line by line and written as JSON."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from widowx_bringup.doctor.results import (
    Check,
    CheckResult,
    Line,
    count,
    load,
    missing,
    print_results,
    run_checks,
    save,
)

RESULTS = {
    "good": CheckResult("ok", "all well", "never printed", {"rate": 30.0}),
    "absent": missing("no arm", "plug it in", needed=False),
    "slow": CheckResult("warn", "slow disk", "buy another"),
}


def checks(results: dict[str, CheckResult]) -> list[Check]:
    return [
        Check("things", name, lambda result=result: result)
        for name, result in results.items()
    ]


def test_a_remedy_is_printed_below_what_is_wrong_and_nowhere_else(
    capsys: pytest.CaptureFixture,
) -> None:
    print_results(run_checks(checks(RESULTS)))
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["things", "ok", "none", "warn", "→"]
    assert printed[-1].endswith("→ buy another")


def test_words_stand_in_columns_and_without_colour_in_a_pipe(
    capsys: pytest.CaptureFixture,
) -> None:
    print_results(run_checks(checks(RESULTS)))
    printed = capsys.readouterr().out
    found = [
        line.index(result.found)
        for line, result in zip(printed.splitlines()[1:4], RESULTS.values(), strict=True)
    ]
    assert len(set(found)) == 1
    assert "\x1b" not in printed


def test_each_line_is_printed_as_its_check_ends(capsys: pytest.CaptureFixture) -> None:
    before = []

    def last() -> CheckResult:
        before.append(capsys.readouterr().out)
        return CheckResult("ok", "done")

    print_results(run_checks([*checks(RESULTS), Check("things", "last", last)]))
    assert "buy another" in before[0]


def test_a_check_that_breaks_is_a_failure_and_the_next_one_follows(
    capsys: pytest.CaptureFixture,
) -> None:
    def broken() -> CheckResult:
        raise ZeroDivisionError("by nothing")

    lines = print_results(run_checks([Check("things", "broken", broken), *checks(RESULTS)]))
    assert [line.result.level for line in lines] == ["fail", "ok", "none", "warn"]
    printed = capsys.readouterr().out
    assert "ZeroDivisionError: by nothing" in printed
    assert "Traceback" not in printed


def test_a_missing_package_is_named_with_what_to_do() -> None:
    def needs_package() -> CheckResult:
        return CheckResult("ok", importlib.import_module("no_such_package").__name__)

    (line,) = run_checks([Check("things", "package", needs_package)])
    assert (line.result.level, line.result.found) == (
        "fail",
        "no_such_package is not installed",
    )
    assert "make setup" in line.result.remedy


def test_the_file_keeps_its_keys(tmp_path: Path) -> None:
    line = Line("things", "disk", 0.5, CheckResult("ok", "fast", "", {"rate": 3e8}))
    save([line], tmp_path / "found.json", robot=True)
    assert json.loads((tmp_path / "found.json").read_text()) == {
        "format_version": 1,
        "robot": True,
        "lines": [
            {
                "group": "things",
                "name": "disk",
                "seconds": 0.5,
                "finding": {
                    "level": "ok",
                    "found": "fast",
                    "remedy": "",
                    "values": {"rate": 3e8},
                },
            }
        ],
    }


def test_what_is_missing_fails_only_where_it_is_needed() -> None:
    assert missing("no arm", "plug it in", needed=True) == CheckResult(
        "fail", "no arm", "plug it in"
    )
    assert missing("no arm", "plug it in", needed=False).level == "none"


def test_lines_come_back_from_their_file(tmp_path: Path) -> None:
    lines = list(run_checks(checks(RESULTS)))
    save(lines, tmp_path / "found.json", robot=True, levels=count(lines))
    assert load(tmp_path / "found.json") == lines
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["robot"] is True
    assert document["levels"] == {"ok": 1, "none": 1, "warn": 1, "fail": 0}


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text('{"format_version": 99, "lines": []}')
    with pytest.raises(PtrError, match="format_version 99, not 1"):
        load(tmp_path / "found.json")
