"""The two training stages as a user runs them: folders, resuming, stopping, and refusals."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ptr_common import cli
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import (
    CheckpointError,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from ptr_training.training.train import finetune, pretrain


@pytest.fixture
def pretrained(tmp_path: Path, preset: str, make_store) -> Path:
    prior = str(make_store("prior"))
    pretrain(
        [
            "--config",
            preset,
            "--data",
            prior,
            "--target-task",
            "new",
            "--out",
            str(tmp_path / "pre"),
        ]
    )
    return tmp_path / "pre"


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


def test_finetuning_keeps_ids_and_records_the_split(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = make_store("target", tasks=("new",), per_task=4)
    where = [
        "--target",
        str(target),
        "--prior",
        str(tmp_path / "prior"),
        "--out",
        str(tmp_path / "fine"),
    ]
    finetune(["--from", str(pretrained), *where, "--holdout", "2"])
    fine = load_checkpoint(find_checkpoint(tmp_path / "fine"))
    assert list(list_checkpoints(tmp_path / "fine")) == [0, 2, 4]
    assert fine.task_ids.id("new") == 2
    assert fine.agent["steps"] == 10  # nothing is reset at the switch
    data = json.loads((tmp_path / "fine" / "data.json").read_text())
    split = data["target"]
    assert len(split["train"]) == len(split["holdout"]) == 2
    assert set(split["train"]) | set(split["holdout"]) == {
        each.id for each in EpisodeStore.open(target)
    }
    assert data["prior"][0]["sha256"] == EpisodeStore.open(tmp_path / "prior").fingerprint
    assert same(
        weights(pretrained),
        load_checkpoint(tmp_path / "fine" / "checkpoints" / "step_0.pt").agent["weights"],
    )


def test_training_on_demonstrations_alone(tmp_path: Path, preset: str, make_store) -> None:
    target = make_store("target", tasks=("new",), per_task=4)
    finetune(
        [
            "--config",
            preset,
            "--target",
            str(target),
            "--out",
            str(tmp_path / "alone"),
            "--steps",
            "3",
        ]
    )
    checkpoint = load_checkpoint(find_checkpoint(tmp_path / "alone"))
    assert checkpoint.config.finetune.mix == 0.0
    assert checkpoint.data["prior"] == []
    assert checkpoint.step == 3


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


def test_too_few_demonstrations_are_refused(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = make_store("target", tasks=("new",), per_task=2)
    with pytest.raises(
        TrainingError, match="2 successful demonstrations and 2 are to be held out"
    ):
        finetune(
            [
                "--from",
                str(pretrained),
                "--target",
                str(target),
                "--holdout",
                "2",
                "--out",
                str(tmp_path / "f"),
            ]
        )
    assert not (tmp_path / "f").exists()


def test_target_of_another_camera_is_refused(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = make_store("target", tasks=("new",), camera="wrist")
    with pytest.raises(
        TrainingError, match="target has camera 'wrist', the pre-training data has 'front'"
    ):
        finetune(
            [
                "--from",
                str(pretrained),
                "--target",
                str(target),
                "--out",
                str(tmp_path / "f"),
            ]
        )


def test_too_many_targets_are_refused_by_name(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = make_store("target", tasks=("n1", "n2", "n3", "n4", "n5"))
    with pytest.raises(TrainingError, match="no free slot for task 'n5'"):
        finetune(
            [
                "--from",
                str(pretrained),
                "--target",
                str(target),
                "--out",
                str(tmp_path / "f"),
            ]
        )


def test_truncated_checkpoint_is_refused(tmp_path: Path, pretrained: Path) -> None:
    path = find_checkpoint(pretrained)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
        load_checkpoint(path)
    (tmp_path / "foreign.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_missing_checkpoint_names_those_there_are(tmp_path: Path, pretrained: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint of step 5; there are: 3, 6"):
        find_checkpoint(pretrained, 5)
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run folder"):
        find_checkpoint(tmp_path)


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


def test_retargeted_task_uses_the_id_of_the_known_one(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = make_store("target", tasks=("b with another object",), per_task=3)
    where = [
        "--target",
        str(target),
        "--prior",
        str(tmp_path / "prior"),
        "--out",
        str(tmp_path / "fine"),
    ]
    finetune(["--from", str(pretrained), *where, "--retarget", "b with another object=b"])
    tasks = load_checkpoint(find_checkpoint(tmp_path / "fine")).task_ids
    assert tasks.id("b with another object") == tasks.id("b") == 1
    assert tasks.names == ["a", "b", "new"]
    with pytest.raises(TrainingError, match="unknown task 'c'; known: a, b, new"):
        finetune(
            ["--from", str(pretrained), *where, "--retarget", "b with another object=c"]
        )
    with pytest.raises(TrainingError, match="write two names with = between them"):
        finetune(["--from", str(pretrained), *where, "--retarget", "b"])


def test_checkpoint_of_another_architecture_is_refused(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = [
        "--target",
        str(make_store("target", tasks=("new",), per_task=4)),
        "--out",
        str(tmp_path / "fine"),
    ]
    with pytest.raises(
        CheckpointError,
        match=r"does not fit agent cql .*latent=24.*; keep the configuration",
    ):
        finetune(["--from", str(pretrained), *target, "--set", "network.latent=24"])


def test_joint_training_is_described_by_both_sets_of_data(
    tmp_path: Path, preset: str, make_store
) -> None:
    prior, target = make_store("prior"), make_store("target", tasks=("new",), per_task=4)
    where = [
        "--prior",
        str(prior),
        "--target",
        str(target),
        "--out",
        str(tmp_path / "joint"),
    ]
    finetune(["--config", preset, *where])
    saved = load_checkpoint(find_checkpoint(tmp_path / "joint"))
    assert saved.task_ids.names == ["a", "b", "new"]
    proprio = np.concatenate(
        [EpisodeStore.open(path).steps["proprio"] for path in (prior, target)]
    )
    np.testing.assert_allclose(saved.data_spec.proprio_mean, proprio.mean(0), atol=1e-6)


def test_unwritable_folder_is_one_line(
    tmp_path: Path, make_store, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    data = ["--config", preset, "--data", str(make_store("prior"))]
    assert cli.main(["pretrain", *data, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "file" in capsys.readouterr().err
