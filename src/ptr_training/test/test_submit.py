"""Commands as jobs: submitit's own executor for this computer, and what Slurm is asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from prior_data import folder_contents, write_rlds

from ptr_common import cli

pytest.importorskip("submitit")


def local(tmp_path: Path, *options: str) -> list[str]:
    """Return the beginning of a command that runs jobs on this computer."""
    return ["submit", "--cluster", "local", "--folder", str(tmp_path / "jobs"), *options]


def test_shards_read_by_jobs_of_this_computer_are_the_import(tmp_path: Path) -> None:
    data = str(write_rlds(tmp_path, 5))
    options = ["--image-size", "8", "--workers", "1", "--out"]
    store, whole = tmp_path / "store", tmp_path / "whole" / "store"
    read = ["import", "rlds", data, *options, str(store), "--shard", "{job}/{jobs}"]
    assert cli.main([*local(tmp_path, "--jobs", "2"), "--", *read]) == 0
    assert cli.main(["merge", str(store)]) == 0
    assert cli.main(["import", "rlds", data, *options, str(whole)]) == 0
    assert folder_contents(store) == folder_contents(whole)


def test_failed_job_is_named_with_its_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["import", "rlds", str(tmp_path / "nothing"), "--out", str(tmp_path / "store")]
    assert cli.main([*local(tmp_path), "--", *bad]) == 1
    output = capsys.readouterr().out
    assert "failed: see" in output
    (log,) = (tmp_path / "jobs").glob("*_log.err")
    assert str(log) in output
    assert "holds no TFRecord shard" in log.read_text()


def test_a_command_is_required(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(local(tmp_path)) == 2
    assert "stands behind --" in capsys.readouterr().err


def test_without_slurm_the_other_choice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["submit", "--", "pretrain"]) == 2
    assert "no command sbatch" in capsys.readouterr().err


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for Slurm's sbatch on the path; return the file to which it copies scripts."""
    folder = tmp_path / "bin"
    folder.mkdir()
    seen = tmp_path / "seen.sh"
    for name, does in (
        ("sbatch", f'cp "$1" {seen}; echo "Submitted batch job 17"'),
        ("srun", "true"),
    ):
        file = folder / name
        file.write_text(f"#!/bin/sh\n{does}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return seen


def test_slurm_is_asked_for_what_the_options_say(
    tmp_path: Path, sbatch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--jobs", "3", "--at-once", "2", "--minutes", "90", "--gpus", "2"]
    options += ["--cpus", "4", "--processes", "2", "--memory", "32", "--partition", "long"]
    folder = ["--folder", str(tmp_path / "jobs")]
    command = ["pretrain", "--config", "ptr", "--seed", "{job}"]
    assert cli.main(["submit", *options, *folder, "--", *command]) == 0
    asked = sbatch.read_text()
    for line in (
        "--array=0-2%2",
        "--time=90",
        "--gpus-per-node=2",
        "--cpus-per-task=8",
        "--mem=32GB",
        "--partition=long",
    ):
        assert f"#SBATCH {line}" in asked
    assert "17_2: ptr pretrain --config ptr --seed 2   >" in capsys.readouterr().out
