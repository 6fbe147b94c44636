"""Frozen encoders: R3M's file, a run of a masked autoencoder, features computed once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from small_agents import DATA_SPEC

from ptr_policy_node.policy import load_bundle
from ptr_training.data.augment import to_network
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions
from ptr_training.deploy import bundle_export as export
from ptr_training.deploy.checkpoint_selection import select
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig
from ptr_training.models.encoders import make_encoder
from ptr_training.models.frozen import FrozenEncoder, R3MNetwork, encode_frames
from ptr_training.training.build import restore_agent
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.pretrained import open_mae, open_r3m
from ptr_training.training.train import finetune, pretrain

MAE = {
    "name": "mae",
    "patch": 4,
    "width": 24,
    "layers": 2,
    "decoder_width": 12,
    "decoder_layers": 1,
}


@pytest.fixture
def mae(tmp_path: Path, preset_values: dict[str, Any], make_store) -> Path:
    """Return a run of the masked autoencoder."""
    preset = tmp_path / "mae.yaml"
    preset.write_text(yaml.safe_dump({**preset_values, "agent": MAE}))
    pretrain(
        [
            "--config",
            str(preset),
            "--data",
            str(make_store("prior")),
            "--out",
            str(tmp_path / "mae"),
        ]
    )
    return tmp_path / "mae"


def test_r3m_sees_the_middle_of_a_resized_normalised_picture(r3m: Path) -> None:
    network = FrozenEncoder(open_r3m(r3m)).network
    seen = []
    network.conv1.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    grey = torch.full((1, 3, 64, 64), 0.5)
    assert network(grey).shape == (1, 2048)
    assert seen[0].shape == (1, 3, 224, 224)
    expected = (0.5 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(seen[0][0, :, 100, 100], expected)


@pytest.mark.parametrize("size", [(64, 64), (128, 96), (256, 256)])
def test_r3m_resizes_as_documented_with_antialias(r3m: Path, size: tuple[int, int]) -> None:
    network = FrozenEncoder(open_r3m(r3m)).network
    seen = []
    network.conv1.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    image = torch.rand(1, 3, *size)
    network(image)
    resized = F.interpolate(
        image, size=[256, 256], mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(
        seen[0], (resized[:, :, 16:240, 16:240] - network.mean) / network.std
    )


def test_r3m_refuses_images_that_it_would_have_to_shrink(r3m: Path) -> None:
    problem = dataclasses.replace(DATA_SPEC, height=300, width=400)
    with pytest.raises(
        TrainingError, match="at most 256 pixels each way, those of the store have 400x300"
    ):
        make_encoder(NetworkConfig(encoder="r3m", weights=str(r3m)), problem, open_r3m(r3m))


def test_r3m_has_the_size_of_a_resnet_50() -> None:
    assert sum(each.numel() for each in R3MNetwork().parameters()) == 23_508_032


def test_features_are_normalised_and_stay_the_same_while_training(r3m: Path) -> None:
    encoder, image = FrozenEncoder(open_r3m(r3m)), torch.rand(1, 3, 64, 64)
    features = encoder(image, torch.eye(2)[:1])
    assert float(features.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(features.var(unbiased=False)) == pytest.approx(1.0, abs=0.1)
    encoder.train()
    assert torch.equal(encoder(image, torch.eye(2)[:1]), features)
    assert not any(each.requires_grad for each in encoder.parameters())


def test_every_frame_is_encoded_once_and_like_a_picture_at_run_time(
    mae: Path, tmp_path: Path
) -> None:
    store = EpisodeStore.open(tmp_path / "prior")
    part, encoder = (
        Transitions(store, TaskIds.for_tasks(["a", "b"], 0)),
        FrozenEncoder(open_mae(mae)),
    )
    encode_frames(encoder, [part], torch.device("cpu"))
    assert part.frames.shape == (len(store.frames), 24)
    images = to_network(torch.from_numpy(np.array(store.frames[:5])))
    task = torch.eye(4)[:1].expand(5, -1)
    torch.testing.assert_close(
        encoder(torch.from_numpy(part.frames[:5]), task), encoder(images, task)
    )


@pytest.mark.parametrize("agent", [{"name": "bc"}, {"name": "cql"}])
def test_agents_learn_on_frozen_features(
    agent: dict, mae: Path, tmp_path: Path, preset_values: dict, make_store
) -> None:
    network = {
        **preset_values["network"],
        "film": False,
        "encoder": "mae",
        "weights": str(mae),
        "dropout": 0.1,
    }
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({**preset_values, "agent": agent, "network": network}))
    run = tmp_path / "run"
    target = make_store("target", tasks=("new",), per_task=4)
    finetune(["--config", str(preset), "--target", str(target), "--out", str(run)])
    saved = load_checkpoint(find_checkpoint(run))
    assert not any(
        "encoder.network" in name for name in saved.agent["weights"]
    )  # they stay in their own file
    assert len(saved.data["weights_sha256"]) == 64
    assert select(run).best.step in (2, 4)  # by pictures, as at run time
    module = restore_agent(saved, torch.device("cpu")).deployed().eval()
    frames = torch.from_numpy(np.array(EpisodeStore.open(target).frames[:2]))
    scripted = torch.jit.script(module)
    for each in (module, scripted):
        action, _ = each.act(frames, torch.zeros(2, 7), torch.zeros(2, dtype=torch.int64))
        assert action.isfinite().all()


def test_a_policy_on_r3m_becomes_a_bundle_that_acts(
    r3m: Path, tmp_path: Path, preset_values: dict, make_store
) -> None:
    network = {
        **preset_values["network"],
        "film": False,
        "encoder": "r3m",
        "weights": str(r3m),
    }
    preset = tmp_path / "preset.yaml"
    preset.write_text(
        yaml.safe_dump({**preset_values, "agent": {"name": "bc"}, "network": network})
    )
    target = make_store("target", tasks=("new",), per_task=3)
    finetune(
        ["--config", str(preset), "--target", str(target), "--out", str(tmp_path / "run")]
    )
    export.main(
        [str(tmp_path / "run"), "--out", str(tmp_path / "bundle")]
    )  # checks its golden outputs
    policy = load_bundle(tmp_path / "bundle")
    assert np.isfinite(
        policy.act(np.zeros((32, 48, 3), np.uint8), np.zeros(7, np.float32), "new").action
    ).all()


def test_a_masked_autoencoder_is_not_deployed(mae: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"acts on nothing; name its run as network.weights"
    ):
        restore_agent(load_checkpoint(find_checkpoint(mae)), torch.device("cpu")).deployed()


def test_pictures_that_cannot_be_cut_into_patches_are_refused(
    tmp_path: Path, preset_values: dict, make_store
) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({**preset_values, "agent": {**MAE, "patch": 5}}))
    with pytest.raises(
        TrainingError, match="images of 16 x 16 pixels cannot be cut into patches of 5"
    ):
        pretrain(
            [
                "--config",
                str(preset),
                "--data",
                str(make_store("prior")),
                "--out",
                str(tmp_path / "run"),
            ]
        )
