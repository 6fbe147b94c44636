"""A run small enough for a test that learns a task from pictures: move a dot to the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import toy_picture
from ptr_training.training.build import restore_agent
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.train import finetune

AGENTS = {
    "bc": {"name": "bc", "lr": 3e-3},
    "cql": {
        "name": "cql",
        "shared_encoder": True,
        "clone_steps": 300,
        "clone_lr": 3e-3,
        "bc_weight": 20.0,
        "alpha": 0.5,
    },
}


@pytest.mark.parametrize("name", AGENTS)
def test_trained_policy_brings_the_dot_to_the_middle(
    name: str, tmp_path: Path, preset_values: dict, make_store
) -> None:
    values = preset_values | {
        "agent": AGENTS[name],
        "finetune": {"steps": 350, "checkpoint_every": 350},
        "batch_size": 32,
    }
    values["augment"] = {
        "shift": 0,
        "jitter": False,
    }  # a shifted dot would be somewhere else
    values["network"] |= {"latent": 32, "hidden": [32, 32]}
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump(values))
    store = make_store("demos", tasks=("middle",), per_task=40)
    finetune(
        ["--config", str(preset), "--target", str(store), "--out", str(tmp_path / "run")]
    )
    policy = (
        restore_agent(
            load_checkpoint(find_checkpoint(tmp_path / "run")), torch.device("cpu")
        )
        .deployed()
        .eval()
    )
    rng, solved = np.random.default_rng(7), 0
    for _ in range(20):
        place = rng.uniform(-1, 1, 2)
        for _ in range(8):
            picture = torch.from_numpy(toy_picture(place))[None]
            with torch.inference_mode():
                action, _ = policy.act(
                    picture, torch.zeros(1, 7), torch.zeros(1, dtype=torch.int64)
                )
            place = place + 0.4 * action[0, :2].numpy() / 0.04
        solved += bool(np.abs(place).max() < 0.25)
    assert solved >= 16  # an untrained policy solves one
