"""The table of `ptr doctor` and its exit status."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from widowx_bringup.doctor import main as doctor
from widowx_bringup.doctor.results import Check, CheckResult, load


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> dict[str, CheckResult]:
    """What the checks find, instead of looking at this machine."""
    found: dict[str, CheckResult] = {}

    def checks(_: argparse.Namespace) -> Iterator[Check]:
        for name in found:
            yield Check("things", name, lambda name=name: found[name])

    monkeypatch.setattr(doctor, "checks", checks)
    return found


def test_warnings_do_not_fail_the_run(
    findings: dict[str, CheckResult], capsys: pytest.CaptureFixture
) -> None:
    findings.update(
        good=CheckResult("ok", ""),
        absent=CheckResult("none", ""),
        slow=CheckResult("warn", "", "mend it"),
    )
    assert doctor.main([]) == 0
    told = capsys.readouterr().out
    assert "1 ok, 1 none, 1 warn, 0 fail" in told
    assert "ptr doctor --robot" in told


def test_a_failure_is_the_exit_status(
    findings: dict[str, CheckResult], capsys: pytest.CaptureFixture
) -> None:
    findings["bad"] = CheckResult("fail", "no such library", "install it")
    assert doctor.main(["--robot"]) == 1
    told = capsys.readouterr().out
    assert "no such library" in told
    assert "install it" in told


def test_results_are_written_for_machines(
    findings: dict[str, CheckResult], tmp_path: Path
) -> None:
    findings["disk"] = CheckResult("ok", "fast", values={"rate": 3e8})
    doctor.main(["--json", str(tmp_path / "found.json")])
    (line,) = load(tmp_path / "found.json")
    assert (line.group, line.name, line.finding) == ("things", "disk", findings["disk"])


def test_every_subject_is_looked_at() -> None:
    options = argparse.Namespace(robot=False, bags=Path("bags"), snapshots=Path("runs"))
    names = [(check.group, check.name) for check in doctor.checks(options)]
    assert len(set(names)) == len(names)
    assert list(dict.fromkeys(group for group, _ in names)) == [
        "software",
        "ROS graph",
        "cameras",
        "arm",
        "computer",
    ]


@pytest.mark.parametrize(
    ("version", "level"),
    [((3, 9), "fail"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "fail")],
)
def test_a_python_without_wheels_fails(version: tuple[int, int], level: str) -> None:
    assert doctor.python(version).level == level


def test_versions_name_python_packages_and_revision() -> None:
    found = doctor.versions()
    assert found["numpy"][0].isdigit()
    assert "(" in found["project"]
