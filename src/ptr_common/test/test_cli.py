"""The command `ptr`: overview, unknown verbs, and how errors end."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ptr_common import cli


def test_overview_names_every_verb_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    for verb in ("pretrain", "finetune", "select", "bundle"):
        assert f"  {verb} " in text
    assert "Choose the checkpoint to deploy" in text


def test_overview_does_not_import_pytorch() -> None:
    code = "import sys; from ptr_common.cli import main; main([]); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


def test_unknown_verb_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pretrian"]) == 2
    assert "no verb 'pretrian'; did you mean pretrain" in capsys.readouterr().err


def test_error_for_the_user_has_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["select", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ptr select: ")
    assert error.count("\n") == 1


def test_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: EntryPoint) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EntryPoint, "load", stop)
    assert cli.main(["select"]) == 130
