"""The table of `ptr doctor`, its options and its exit status."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from widowx_bringup.doctor import main as doctor
from widowx_bringup.doctor.results import Check, CheckResult, load


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> dict[str, CheckResult]:
    """Results by the names of the checks, instead of checks of this computer."""
    results_by_name: dict[str, CheckResult] = {}

    def checks(_: argparse.Namespace) -> Iterator[Check]:
        for name, result in results_by_name.items():
            yield Check("things", name, lambda result=result: result)

    monkeypatch.setattr(doctor, "checks", checks)
    return results_by_name


def test_warnings_do_not_fail_the_run(
    results: dict[str, CheckResult], capsys: pytest.CaptureFixture
) -> None:
    results.update(
        good=CheckResult("ok", ""),
        absent=CheckResult("none", ""),
        slow=CheckResult("warn", "", "buy another"),
    )
    assert doctor.main([]) == 0
    printed = capsys.readouterr().out
    assert "1 ok, 1 none, 1 warn, 0 fail" in printed
    assert "ptr doctor --robot" in printed


def test_a_failure_fails_the_run_and_says_what_to_do(
    results: dict[str, CheckResult], capsys: pytest.CaptureFixture
) -> None:
    results["bad"] = CheckResult("fail", "no such library", "install it")
    assert doctor.main(["--robot"]) == 1
    printed = capsys.readouterr().out
    assert "no such library" in printed
    assert "install it" in printed


def test_results_are_written_as_json(
    results: dict[str, CheckResult], tmp_path: Path
) -> None:
    results["disk"] = CheckResult("ok", "fast", values={"rate": 3e8})
    doctor.main(["--json", str(tmp_path / "results.json")])
    (line,) = load(tmp_path / "results.json")
    assert (line.group, line.name, line.result) == ("things", "disk", results["disk"])


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--json", "folder", "folder is a folder; name a file in it"),
        ("--bags", "file", "file is not a folder; choose another path"),
        ("--snapshots", "file", "file is not a folder; choose another path"),
    ],
)
def test_a_path_that_cannot_be_used_is_refused_before_any_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(doctor, "checks", lambda _: pytest.fail("a check ran"))
    with pytest.raises(PtrError, match=message):
        doctor.main([option, str(tmp_path / name)])


def test_every_option_has_a_help_text_and_its_default() -> None:
    for action in doctor._parser()._actions[1:]:
        assert action.help, action.option_strings
        assert "default:" in action.help, action.option_strings


def test_the_help_text_needs_no_ros(capfd: pytest.CaptureFixture) -> None:
    program = (
        "import sys; sys.modules['rclpy'] = None\n"
        "from widowx_bringup.doctor import main\n"
        "main.main(['--help'])"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert "usage: ptr doctor" in capfd.readouterr().out


def test_every_subject_is_checked() -> None:
    options = argparse.Namespace(robot=False, bags=Path("bags"), snapshots=Path("runs"))
    names = [(check.group, check.name) for check in doctor.checks(options)]
    assert len(set(names)) == len(names)
    assert list(dict.fromkeys(group for group, _ in names)) == [
        "software",
        "ROS graph",
        "cameras",
        "arm",
        "computer",
        "benchmark",
    ]


@pytest.mark.parametrize(
    ("version", "level"),
    [((3, 9), "fail"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "fail")],
)
def test_a_python_without_wheels_fails(version: tuple[int, int], level: str) -> None:
    assert doctor.check_python(version).level == level
