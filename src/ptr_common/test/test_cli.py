"""The command `ptr`: overview, version, unknown verbs, and how errors end."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ptr_common import cli, verbs

HEAVY = ("torch", "rclpy", "mujoco", "matplotlib", "numpy", "cv2")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview_names_every_verb_with_its_summary(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    for names in verbs.PACKAGES.values():
        for name in names:
            assert f"\n  {name} " in text
    assert "Choose the checkpoint to deploy" in text


def test_overview_imports_nothing_heavy() -> None:
    code = (
        "import json, sys; from ptr_common.cli import main; main([]); "
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_version_names_version_and_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ptr 0.1.0 (")


def test_unknown_verb_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrian"]) == 2
    error = capsys.readouterr().err
    assert "no verb 'pretrian'; did you mean pretrain? Known are: benchmark, " in error


def test_error_for_the_user_has_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["select", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ptr select: ")
    assert error.count("\n") == 1


def run_verb(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str = "ptr_common",
) -> int:
    """Run `ptr do`, whose function is a module's `main` with this body."""
    file = tmp_path / "verb_module.py"
    file.write_text(f"def main(argv):\n    {source}\n")
    scope = {"__name__": f"{package}.verb_module"}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    entry = EntryPoint("do", "verb_module:main", verbs.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: scope["main"])
    monkeypatch.setattr(cli, "find_verbs", lambda: {"do": verbs.Verb("do", package, entry)})
    return cli.main(["do"])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "raise ValueError('rate is -1; allowed are 1 to 9')",
            "rate is -1; allowed are 1 to 9",
        ),
        ("int('x')", "invalid literal for int() with base 10: 'x'"),
        ("open('/no/such/file')", "[Errno 2] No such file or directory: '/no/such/file'"),
        (
            "import no_such_module",
            "this verb needs the Python package no-such-module: make setup, or "
            "pip install no-such-module",
        ),
    ],
)
def test_what_the_user_can_mend_ends_with_one_sentence(
    source: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_verb(source, tmp_path, monkeypatch) == 2
    assert capsys.readouterr().err == f"ptr do: {sentence}\n"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1 / 0", ZeroDivisionError),
        ("import statistics; statistics.NormalDist(0, -1)", ValueError),
        ("import ptr_common.no_such_module", ModuleNotFoundError),
    ],
)
def test_a_mistake_of_the_program_keeps_its_traceback(
    source: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(kind):
        run_verb(source, tmp_path, monkeypatch)


def test_a_verb_without_its_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verbs, "entry_points", lambda group: ())
    assert cli.main(["--help"]) == 0
    assert cli.main(["pretrain"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "ptr pretrain: this verb needs the package ptr_training: make setup, or "
        "pip install src/ptr_training\n"
    )


def test_ros_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(self: EntryPoint) -> None:
        raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")

    monkeypatch.setattr(EntryPoint, "load", load)
    assert cli.main(["record"]) == 2
    assert (
        "ptr record: this verb needs ROS 2 (rclpy): make setup" in capsys.readouterr().err
    )


def test_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: EntryPoint) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EntryPoint, "load", stop)
    assert cli.main(["select"]) == 130
