"""The training loop: resuming, stopping, divergence, and the run folder."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from ptr_common import cli
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from ptr_training.training.train import pretrain


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(find_checkpoint(run)).agent["weights"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_pretraining_writes_a_run_folder(pretrained: Path) -> None:
    assert list(list_checkpoints(pretrained)) == [3, 6]  # the newest two
    tasks = yaml.safe_load((pretrained / "tasks.yaml").read_text())
    assert tasks == {"width": 7, "names": ["a", "b", "new"], "aliases": {}}
    assert (
        yaml.safe_load((pretrained / "config.yaml").read_text())["agent"]["clone_steps"]
        == 3
    )
    rows = list(csv.DictReader((pretrained / "metrics.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert not rows[0]["q_data"]
    assert float(rows[2]["q_data"]) == float(rows[2]["q_data"])
    assert list(pretrained.glob("events.out.tfevents*"))


def test_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, preset: str, make_store
) -> None:
    prior = ["--config", preset, "--data", str(make_store("prior"))]
    pretrain([*prior, "--out", str(tmp_path / "whole")])
    pretrain([*prior, "--out", str(tmp_path / "parts"), "--steps", "4"])
    pretrain([*prior, "--out", str(tmp_path / "parts"), "--resume"])
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    for one, other in zip(
        csv.DictReader((tmp_path / "whole" / "metrics.csv").open()),
        csv.DictReader((tmp_path / "parts" / "metrics.csv").open()),
        strict=True,
    ):
        assert one == other
    before = (tmp_path / "parts" / "checkpoints" / "step_6.pt").stat().st_mtime_ns
    pretrain(
        [*prior, "--out", str(tmp_path / "parts"), "--resume"]
    )  # complete: nothing to do
    assert (tmp_path / "parts" / "checkpoints" / "step_6.pt").stat().st_mtime_ns == before


def test_existing_run_is_not_overwritten(
    tmp_path: Path, pretrained: Path, preset: str
) -> None:
    with pytest.raises(TrainingError, match="holds a run already; add --resume"):
        pretrain(
            [
                "--config",
                preset,
                "--data",
                str(tmp_path / "prior"),
                "--out",
                str(pretrained),
            ]
        )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "agent.alpha=3"], r"agent.alpha was 10.0 in the run and is 3.0 now"),
        (["--seed", "7"], "seed was 0 in the run and is 7 now"),
    ],
)
def test_resuming_with_another_configuration_is_refused(
    tmp_path: Path, pretrained: Path, preset: str, extra: list[str], message: str
) -> None:
    command = [
        "--config",
        preset,
        "--data",
        str(tmp_path / "prior"),
        "--target-task",
        "new",
        "--out",
        str(pretrained),
    ]
    with pytest.raises(TrainingError, match=message):
        pretrain([*command, "--resume", *extra])


def test_resuming_with_other_data_is_refused(
    tmp_path: Path, pretrained: Path, preset: str, make_store
) -> None:
    other = make_store("other")
    with pytest.raises(
        TrainingError, match=r"data.prior.0.name was 'prior' in the run and is 'other' now"
    ):
        pretrain(
            [
                "--config",
                preset,
                "--data",
                str(other),
                "--target-task",
                "new",
                "--out",
                str(pretrained),
                "--resume",
            ]
        )


def test_interrupt_saves_a_checkpoint_and_ends_with_130(
    tmp_path: Path, preset: str, make_store
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "ptr_common.cli",
        "pretrain",
        "--config",
        preset,
        "--data",
        str(make_store("prior")),
    ]
    process = subprocess.Popen(
        [*command, "--steps", "100000", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not any(
            step >= 3 for step in list_checkpoints(out)
        ):  # each of them is soon replaced by a newer one
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors
    checkpoint = load_checkpoint(find_checkpoint(out))
    assert checkpoint.agent["steps"] == checkpoint.step >= 3
    assert not [path for path in out.rglob("*") if path.name.endswith(".partial")]


def test_run_that_diverges_ends_and_keeps_no_useless_checkpoint(
    tmp_path: Path, preset: str, make_store
) -> None:
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    wild = ["--set", "agent.clone_lr=1e30", "--set", "pretrain.checkpoint_every=1"]
    with pytest.raises(
        TrainingError, match=r"training has diverged at step \d+: .*run is from before"
    ):
        pretrain(["--config", preset, *where, *wild])
    newest = load_checkpoint(find_checkpoint(tmp_path / "run"))
    assert all(
        value.isfinite().all()
        for name, value in newest.agent["weights"].items()
        if value.is_floating_point()
    )


def test_q_that_leaves_the_possible_returns_is_reported_once(
    tmp_path: Path, preset: str, make_store, capsys
) -> None:
    where = [
        "--data",
        str(make_store("prior")),
        "--out",
        str(tmp_path / "run"),
        "--steps",
        "12",
    ]
    wild = [
        "--set",
        "agent.clone_steps=0",
        "--set",
        "agent.min_q_version=v1",
        "--set",
        "agent.alpha=300",
        "--set",
        "agent.critic_lr=1.0",
    ]
    pretrain(["--config", preset, *where, *wild])
    assert (
        capsys.readouterr().err.count("Q diverges: its mean over demonstrated actions is")
        == 1
    )


def test_unwritable_folder_is_one_line(
    tmp_path: Path, make_store, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    data = ["--config", preset, "--data", str(make_store("prior"))]
    assert cli.main(["pretrain", *data, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "file" in capsys.readouterr().err


def test_progress_without_a_terminal_is_a_line_at_each_log_interval(
    tmp_path: Path, preset: str, make_store, capsys
) -> None:
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    pretrain(["--config", preset, *where])
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("run: step")]
    assert len(lines) == 3
    for line, step in zip(lines, (2, 4, 6), strict=True):
        number = r"-?[\d.e+-]+"
        pattern = rf"run: step {step} of 6, loss {number}, [\d.]+ steps/s, \d\d:\d\d left"
        assert re.fullmatch(pattern, line), line


def test_the_last_line_says_what_was_written_where(
    tmp_path: Path, preset: str, make_store, capsys
) -> None:
    out = tmp_path / "run"
    command = ["--config", preset, "--data", str(make_store("prior")), "--out", str(out)]
    pretrain(command)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(rf"{out}: step 6 of 6 reached in \d\d:\d\d; wrote config.yaml", last)
    assert last.endswith("checkpoints/step_N.pt of N = 3, 6")
    pretrain([*command, "--resume"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{out}: step 6 of 6 was reached before; nothing to do"


def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, preset: str, make_store
) -> None:
    where = ["--data", str(make_store("prior")), "--out", str(tmp_path / "run")]
    if torch.cuda.is_available():
        pytest.skip("this computer has a GPU")
    with pytest.raises(TrainingError, match="device is cuda:7, but PyTorch finds no GPU"):
        pretrain(["--config", preset, *where, "--set", "device=cuda:7"])
