"""Networks of earlier training: R3M's file, a masked autoencoder, AW-BC's teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from ptr_common.files import sha256
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig
from ptr_training.models.frozen import R3MNetwork
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.pretrained import (
    open_mae,
    open_network,
    open_r3m,
    open_teacher,
    weights_digest,
)
from ptr_training.training.train import pretrain


def test_missing_weights_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError,
        match=r"there is no file .*gone.pt; get the ResNet-50 of https://github.com",
    ):
        open_r3m(tmp_path / "gone.pt")


def test_damaged_and_foreign_weights_are_refused(tmp_path: Path, r3m: Path) -> None:
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(r3m.read_bytes()[:10_000])
    with pytest.raises(TrainingError, match="cannot be read"):
        open_r3m(damaged)
    other = tmp_path / "other.pt"
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, other)
    with pytest.raises(
        TrainingError,
        match=r"is no ResNet-50 as R3M's: 318 of 318 tensors .* the first conv1.weight",
    ):
        open_r3m(other)


class Malicious:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path(self.target),)

    def __init__(self, target: Path) -> None:
        self.target = str(target)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "trace"
    torch.save({"r3m": Malicious(trace)}, path)
    with pytest.raises(TrainingError, match="cannot be read"):
        open_r3m(path)
    assert not trace.exists()


def test_a_run_of_another_agent_is_no_masked_autoencoder(
    tmp_path: Path, preset: str, make_store
) -> None:
    pretrain(
        [
            "--config",
            preset,
            "--data",
            str(make_store("prior")),
            "--out",
            str(tmp_path / "ptr"),
        ]
    )
    with pytest.raises(TrainingError, match="is a run of agent cql; expected mae"):
        open_mae(tmp_path / "ptr")


@pytest.mark.parametrize(
    ("critic", "changes", "message"),
    [
        ({"name": "bc"}, {}, "has agent bc; expected cql"),
        (
            {"name": "cql"},
            {"network": {"encoder": "impala", "hidden": [16]}},
            "has networks NetworkConfig",
        ),
        ({"name": "cql", "independent_encoders": True}, {}, "has an encoder for each head"),
    ],
)
def test_a_critic_that_does_not_fit_is_refused(
    train_on_demos, critic: dict, changes: dict, message: str
) -> None:
    teacher = train_on_demos("teacher", critic, **changes)
    with pytest.raises(TrainingError, match=message):
        train_on_demos("awbc", {"name": "awbc", "critic": str(teacher)})


def test_a_critic_of_other_data_is_refused(train_on_demos) -> None:
    run = train_on_demos("ptr", {"name": "cql"})
    saved = load_checkpoint(find_checkpoint(run))
    other = dataclasses.replace(saved.data_spec, height=99)
    with pytest.raises(TrainingError, match=r"agent.critic: .*ptr has data DataSpec"):
        open_teacher(str(run), saved.config, other)


def test_the_teacher_is_the_checkpoint_that_select_chose(train_on_demos) -> None:
    run = train_on_demos("ptr", {"name": "cql"})
    saved = load_checkpoint(find_checkpoint(run))
    newest = open_teacher(str(run), saved.config, saved.data_spec)
    (run / "select").mkdir()
    (run / "select" / "choice.json").write_text('{"step": 2}')
    chosen = open_teacher(str(run), saved.config, saved.data_spec)
    expected = load_checkpoint(find_checkpoint(run, 2)).agent["weights"]
    assert all(torch.equal(value, expected[name]) for name, value in chosen.items())
    assert not all(torch.equal(value, newest[name]) for name, value in chosen.items())


def test_an_encoder_that_is_trained_needs_no_network() -> None:
    assert open_network(NetworkConfig(encoder="small")) is None


def test_r3m_is_opened_with_the_weights_of_its_file(r3m: Path) -> None:
    network = open_network(NetworkConfig(encoder="r3m", weights=str(r3m)))
    assert isinstance(network, R3MNetwork)
    saved = torch.load(r3m, weights_only=True)["r3m"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, saved[f"module.convnet.{name}"]), name


def test_the_digest_of_a_run_is_that_of_its_newest_checkpoint(train_on_demos) -> None:
    run = train_on_demos("bc", {"name": "bc"})
    newest = find_checkpoint(run)
    assert weights_digest(str(run)) == weights_digest(str(newest)) == sha256(newest)
