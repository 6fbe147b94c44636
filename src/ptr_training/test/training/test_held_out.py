"""Runs that watch themselves on held-out episodes, and end by what they see."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ptr_training.deploy.checkpoint_selection import select
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import (
    chosen_step,
    find_checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from ptr_training.training.train import finetune, pretrain

CLONING = ["agent.clone_steps=100", "agent.clone_lr=1e-30", "pretrain.steps=20"]
"""A policy that never moves: its first evaluation stays the best."""


def settings(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["network.dropout=0.3", "agent.shared_encoder=false"],
        ["network.norm=batch", "augment.jitter=true", "agent.gripper=binary"],
    ],
)
def test_a_run_that_watches_itself_learns_what_one_that_does_not_learns(
    tmp_path: Path, preset: str, make_store, changes: list[str]
) -> None:
    prior = ["--config", preset, "--data", str(make_store("prior")), "--holdout", "1"]
    for name, every in (("blind", 0), ("watched", 1)):
        watching = settings(f"pretrain.evaluate_every={every}", *changes)
        pretrain([*prior, *watching, "--out", str(tmp_path / name)])
    blind, watched = (
        load_checkpoint(find_checkpoint(tmp_path / name)) for name in ("blind", "watched")
    )
    assert same(blind.agent, watched.agent)
    assert same(blind.sampler, watched.sampler)
    losses = [row["loss"] for row in rows_of(tmp_path / "blind")]
    later = [row["loss"] for row in rows_of(tmp_path / "watched") if row["loss"]]
    assert losses == later


def test_the_critic_is_judged_once_it_learns(
    tmp_path: Path, preset: str, make_store, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    prior = ["--config", preset, "--data", str(make_store("prior")), "--out", str(run)]
    pretrain([*prior, "--holdout", "1", *settings("pretrain.evaluate_every=3")])
    rows = {int(row["step"]): row for row in rows_of(run)}
    assert list(rows) == [2, 3, 4, 6]  # logged every two steps
    assert [bool(row["heldout/error"]) for row in rows.values()] == [
        False,
        True,
        False,
        True,
    ]
    # three steps of cloning come first
    assert not rows[3]["heldout/spearman"]
    assert -1.0 <= float(rows[6]["heldout/spearman"]) <= 1.0
    for name in ("inside", "above"):
        assert 0.0 <= float(rows[6][f"heldout/{name}"]) <= 1.0
    assert float(rows[6]["heldout/td_error"]) > 0.0
    lines = [line for line in capsys.readouterr().err.splitlines() if "step 6 of" in line]
    assert "held out: spearman " in lines[0]


def test_held_out_episodes_are_of_each_task_and_not_trained_on(
    tmp_path: Path, preset: str, make_store
) -> None:
    store = str(make_store("prior"))
    for name, count in (("all", "0"), ("some", "2")):
        out = ["--out", str(tmp_path / name), "--steps", "1"]
        pretrain(["--config", preset, "--data", store, "--holdout", count, *out])
    held_out = json.loads((tmp_path / "some" / "data.json").read_text())["prior"][0]
    assert sorted(episode[0] for episode in held_out["holdout"]) == ["a", "a", "b", "b"]
    everything = json.loads((tmp_path / "all" / "data.json").read_text())["prior"][0]
    assert "holdout" not in everything
    none = ["--config", preset, "--data", store, "--holdout", "3", "--out", str(tmp_path)]
    with pytest.raises(
        TrainingError, match=r"3 successful episodes of 'a' and 3 are to be"
    ):
        pretrain(none)


def test_fine_tuning_sees_what_the_selection_sees(
    tmp_path: Path, pretrained: Path, make_store
) -> None:
    run = tmp_path / "fine"
    target = ["--target", str(make_store("demos", tasks=("new",), per_task=4))]
    watching = settings("finetune.evaluate_every=2")
    finetune(["--from", str(pretrained), *target, "--out", str(run), *watching])
    scores = {score.step: score for score in select(run).scores}
    for row in rows_of(run):
        score = scores[int(row["step"])]
        for name in ("spearman", "inside", "above", "error"):
            found = float(row[f"heldout/{name}"])
            assert found == pytest.approx(getattr(score, name), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pretrain.evaluate_every=5"], "pretrain.holdout is 0: no episode is held out"),
        (["finetune.early_stop.metric=error"], "finetune.evaluate_every is 0; say after"),
        (["finetune.early_stop.metric=speerman"], "did you mean spearman"),
        (["finetune.early_stop.patience=0"], "patience is 0; it must be at least 1"),
        (["finetune.evaluate_every=-1"], "finetune.evaluate_every is -1; it must be at"),
        (
            [
                "agent={name: bc}",
                "finetune.evaluate_every=1",
                "finetune.early_stop.metric=spearman",
            ],
            "which needs a critic; this agent has none: use error",
        ),
        (
            ["agent={name: mae}", "finetune.evaluate_every=1"],
            "this agent has no policy to evaluate",
        ),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(
    tmp_path: Path, preset: str, changes: list[str], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        pretrain(["--config", preset, *settings(*changes), "--print-config"])


@pytest.fixture
def still(tmp_path: Path, preset: str, make_store) -> list[str]:
    """Return the command of a run that does not get better and stops for it."""
    stop = ["pretrain.early_stop.metric=error", "pretrain.early_stop.patience=2"]
    watching = ["pretrain.evaluate_every=2", "pretrain.keep=1", "pretrain.holdout=1", *stop]
    store = str(make_store("prior"))
    return ["--config", preset, "--data", store, *settings(*CLONING, *watching)]


def test_a_stage_ends_once_nothing_gets_better_and_keeps_the_best(
    tmp_path: Path, still: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    pretrain([*still, "--out", str(out)])
    assert [int(row["step"]) for row in rows_of(out)] == [2, 4, 6]
    assert list(list_checkpoints(out)) == [2, 6]
    assert json.loads((out / "best.json").read_text())["step"] == 2
    assert chosen_step(out) == 2
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(
        f"{out}: ended early at step 6 of 20: heldout/error did not get "
    )
    assert "below the " in said
    assert "checkpoints/step_2.pt is the best" in said
    pretrain([*still, "--out", str(out), "--resume"])  # it has ended: nothing to do
    assert capsys.readouterr().out.splitlines()[-1] == said
    more = settings("pretrain.early_stop.patience=4")
    pretrain([*still, "--out", str(out), "--resume", *more])
    assert [int(row["step"]) for row in rows_of(out)] == [2, 4, 6, 8, 10]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, still: list[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]
    pretrain([*still, *out, "--steps", "4"])
    pretrain([*still, *out, "--resume"])
    assert [int(row["step"]) for row in rows_of(tmp_path / "run")] == [2, 4, 6]


def test_the_next_stage_begins_with_the_best_checkpoint(
    tmp_path: Path, still: list[str], make_store
) -> None:
    run, fine = tmp_path / "run", tmp_path / "fine"
    pretrain([*still, "--target-task", "new", "--out", str(run)])
    target = str(make_store("demos", tasks=("new",), per_task=2))
    finetune(["--from", str(run), "--target", target, "--out", str(fine), "--steps", "1"])
    assert load_checkpoint(find_checkpoint(fine, 0)).agent["steps"] == 2
