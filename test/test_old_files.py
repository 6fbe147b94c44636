"""What version 0.1.0 wrote is read by the code of today: a bag, a store, a checkpoint, bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptr_common import cli
from ptr_policy_node.policy import load_bundle
from ptr_training.data.store import EpisodeStore
from ptr_training.training.checkpoint import load_checkpoint

OLD = Path(__file__).parent / "files_of_0.1.0"
CHECKPOINT = OLD / "run" / "checkpoints" / "step_6.pt"
TASK = "put the yellow cube on the white plate"


def test_a_store_has_its_episodes_and_every_value() -> None:
    store = EpisodeStore.open(OLD / "store")
    assert [(entry.task, entry.length) for entry in store.entries] == [
        (TASK, 29),
        (TASK, 20),
    ]
    assert int(np.asarray(store.frames).sum()) == 4762168
    assert float(store.steps["proprio"].sum()) == pytest.approx(51.86625671386719)
    assert float(store.steps["reward"].sum()) == 6.0


def test_a_bag_becomes_the_episode_that_it_became_then(tmp_path: Path) -> None:
    options = ["--command", "requested", "--image-size", "16"]
    assert (
        cli.main(["export", str(OLD / "bags"), *options, "--out", str(tmp_path / "store")])
        == 0
    )
    now, then = EpisodeStore.open(tmp_path / "store"), EpisodeStore.open(OLD / "store")
    entry = then.entries[1]
    rows = slice(entry.start, entry.start + entry.length + 1)
    assert now.entries[0].id == entry.id
    assert np.array_equal(now.frames, then.frames[rows])
    for name in (
        "step",
        "stamp_ns",
        "proprio",
        "requested",
        "executed",
        "reward",
        "is_last",
    ):
        assert np.array_equal(now.steps[name], then.steps[name][rows]), name


def test_a_checkpoint_has_its_weights() -> None:
    checkpoint = load_checkpoint(CHECKPOINT)
    assert checkpoint.step == 6
    assert checkpoint.config.accelerate == "auto"  # it has `compile: false`
    total = sum(
        float(value.double().sum()) for value in checkpoint.agent["weights"].values()
    )
    assert total == pytest.approx(23.753011726447397)


def test_fine_tuning_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    options = ["--holdout", "1", "--steps", "2", "--out", str(tmp_path / "run")]
    assert (
        cli.main(
            [
                "finetune",
                "--from",
                str(CHECKPOINT),
                "--target",
                str(OLD / "store"),
                *options,
            ]
        )
        == 0
    )
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "step_2.pt").step == 2


@pytest.mark.parametrize("name", ["bundle", "bundle_torchscript"])
def test_a_bundle_reproduces_its_golden_outputs(name: str) -> None:
    policy = load_bundle(OLD / name)
    assert policy.info.tasks[0] == TASK


def test_both_forms_of_a_bundle_hold_the_agent_of_the_checkpoint() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    actions = []
    for name in ("bundle", "bundle_torchscript"):
        torch.manual_seed(0)
        actions.append(load_bundle(OLD / name).act(image, np.zeros(7), TASK).action)
    assert np.abs(actions[0] - actions[1]).max() < 1e-6
