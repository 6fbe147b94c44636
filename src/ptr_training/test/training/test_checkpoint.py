"""Checkpoint files: what is refused, and which file of a run is found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptr_training.training.checkpoint import (
    CheckpointError,
    chosen_step,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
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


def test_the_step_of_select_is_read_and_none_without_it(tmp_path: Path) -> None:
    assert chosen_step(tmp_path) is None
    (tmp_path / "select").mkdir()
    choice = tmp_path / "select" / "choice.json"
    choice.write_text('{"step": 40}')
    assert chosen_step(tmp_path) == 40
    for damaged in ('{"step"', "{}", "3", '{"step": null}'):
        choice.write_text(damaged)
        with pytest.raises(
            CheckpointError, match=r"choice.json is damaged; run `ptr select`"
        ):
            chosen_step(tmp_path)


def test_checkpoints_are_listed_by_step_and_other_files_ignored(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("step_10.pt", "step_9.pt", "step_x.pt", "step_11.pt.partial"):
        (tmp_path / "checkpoints" / name).touch()
    assert list(list_checkpoints(tmp_path)) == [9, 10]
    assert find_checkpoint(tmp_path).name == "step_10.pt"
    assert find_checkpoint(tmp_path, 9).name == "step_9.pt"
    assert find_checkpoint(tmp_path / "checkpoints" / "step_9.pt", 10).name == "step_9.pt"


def test_a_checkpoint_file_keeps_the_names_of_its_format(pretrained: Path) -> None:
    values = torch.load(find_checkpoint(pretrained), weights_only=True)
    names = "step config problem tasks card data agent sampler format_version"
    assert list(values) == names.split()
    assert values["format_version"] == 2


def test_a_checkpoint_of_another_version_is_refused(pretrained: Path) -> None:
    path = find_checkpoint(pretrained)
    torch.save({**torch.load(path, weights_only=True), "format_version": 1}, path)
    with pytest.raises(CheckpointError, match="format_version is 1, this version reads 2"):
        load_checkpoint(path)


def test_a_saved_checkpoint_reads_back_equal(tmp_path: Path, pretrained: Path) -> None:
    saved = load_checkpoint(find_checkpoint(pretrained))
    saved.save(tmp_path / "copy.pt")
    copy = load_checkpoint(tmp_path / "copy.pt")
    for name in ("step", "config", "data_spec", "task_ids", "info", "data"):
        assert getattr(copy, name) == getattr(saved, name)
    assert torch.equal(copy.sampler, saved.sampler)
    for name, value in saved.agent["weights"].items():
        assert torch.equal(copy.agent["weights"][name], value)
