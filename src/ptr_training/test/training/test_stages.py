"""What the two stages start from: task ids, the split of the demonstrations, refused data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from ptr_training.training.train import finetune, pretrain


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(find_checkpoint(run)).agent["weights"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


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


def test_checkpoints_are_saved_at_the_further_steps_as_well(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    target = make_store("target", tasks=("new",), per_task=4)
    where = ["--target", str(target), "--out", str(tmp_path / "fine"), "--holdout", "2"]
    settings = [
        "finetune.steps=6",
        "finetune.checkpoint_every=4",
        "finetune.checkpoint_at=[1,3]",
    ]
    options = [word for setting in settings for word in ("--set", setting)]
    finetune(["--from", str(pretrained), *where, *options])
    assert list(list_checkpoints(tmp_path / "fine")) == [0, 1, 3, 4, 6]


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


def test_a_task_is_retargeted_before_its_demonstrations_are_there(
    tmp_path: Path, preset: str, make_store
) -> None:
    prior = make_store("prior", tasks=("a", "b"), per_task=2)
    where = ["--config", preset, "--data", str(prior), "--out", str(tmp_path / "pre")]
    pretrain([*where, "--retarget", "new=b"])
    tasks = load_checkpoint(find_checkpoint(tmp_path / "pre")).task_ids
    assert tasks.id("new") == tasks.id("b")
    target = make_store("target", tasks=("new",), per_task=3)
    stores = ["--target", str(target), "--prior", str(prior)]
    origin = ["--from", str(tmp_path / "pre"), "--out", str(tmp_path / "fine")]
    finetune([*origin, *stores, "--holdout", "1"])
    tasks = load_checkpoint(find_checkpoint(tmp_path / "fine")).task_ids
    assert (tasks.names, tasks.id("new")) == (["a", "b"], 1)
    with pytest.raises(TrainingError, match="unknown task 'c'"):
        pretrain([*where[:-1], str(tmp_path / "other"), "--retarget", "new=c"])


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
    with pytest.raises(TrainingError, match="unknown task 'c'; known are: 'a', 'b', 'new'"):
        finetune(
            ["--from", str(pretrained), *where, "--retarget", "b with another object=c"]
        )
    with pytest.raises(TrainingError, match="write two names with = between them"):
        finetune(["--from", str(pretrained), *where, "--retarget", "b"])


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
