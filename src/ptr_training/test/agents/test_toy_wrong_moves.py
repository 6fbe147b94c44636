"""Learning by Q where cloning fails: demonstrations that arrive, and go the wrong way on two of
five steps.

A dot has to reach a ring. Every demonstration ends there, so the return tells right moves from
wrong ones; their mean, which a clone learns, is a fifth of a right move and comes too late.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.training.build import restore_agent
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.train import pretrain

SIZE = 32  # of a picture [pixels]
STEP = 0.25  # longest move; the field is [-1, 1]^2
NEAR = 0.25  # distance at which the dot has arrived
BOUND = 0.05  # action of a longest move [m]
LIMIT = 14  # moves that a policy has; a straight way takes at most 10
WRONG = 0.4  # share of the demonstrated moves that go the opposite way


def picture(dot: np.ndarray, ring: np.ndarray) -> np.ndarray:
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    rows, columns = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) * 2.4 - 1.2
    image[np.hypot(rows - ring[0], columns - ring[1]) < 0.22, 1] = 255
    image[np.hypot(rows - dot[0], columns - dot[1]) < 0.16, 0] = 255
    return image


def start(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return places of the dot and of the ring, apart from each other."""
    while True:
        dot, ring = rng.uniform(-1, 1, (2, 2))
        if np.linalg.norm(dot - ring) > 0.8:
            return dot, ring


def moved(dot: np.ndarray, move: np.ndarray) -> np.ndarray:
    return np.clip(dot + move, -1.2, 1.2)


def demonstrate(number: int) -> Episode:
    rng = np.random.default_rng(number)
    dot, ring = start(rng)
    frames, actions = [picture(dot, ring)], []
    while np.linalg.norm(dot - ring) > NEAR:
        way = (ring - dot) / np.linalg.norm(ring - dot)
        move = STEP * way * (-1 if rng.random() < WRONG else 1)
        actions.append([*(BOUND * move / STEP), 0, 0, 0, 0, 0])
        dot = moved(dot, move)
        frames.append(picture(dot, ring))
    count = len(actions)
    return Episode(
        id=f"e{number}",
        task="reach the ring",
        frames=np.stack(frames),
        stamps_ns=np.arange(count + 1) * 200_000_000,
        proprio=np.zeros((count + 1, 7), np.float32),
        requested=np.array(actions, np.float32),
        executed=np.array(actions, np.float32),
        outcome="success",
    )


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "demos"
    info = DatasetInfo(
        "demos", "front", SIZE, SIZE, image_height=SIZE, image_width=SIZE, last_n=1
    )
    with EpisodeWriter(path, info) as writer:
        for number in range(300):
            writer.add(demonstrate(number))
    return path


NETWORK = {
    "encoder": "small",
    "aggregation": "softmax",  # says where dot and ring are within few updates
    "film": True,
    "hidden": [64, 64],
    "latent": 64,
}
LEARNERS: dict[str, dict[str, Any]] = {
    "bc": {"name": "bc", "lr": 1e-3},
    "cql": {  # the actor's loss is T log pi - Q: no cloning, neither at first nor beside it
        "name": "cql",
        "shared_encoder": True,
        "discount": 0.9,
        "polyak": 0.01,
        "mc_weight": 0.3,
        "alpha": 1.0,
        "n_backup_actions": 2,
        "n_policy_actions": 2,
        "n_random_actions": 2,
        "temperature_lr": 1e-3,
        "actor_lr": 1e-3,
        "critic_lr": 2e-3,
    },
    "cql_weighted": {
        "name": "cql_weighted",
        "reward_scale": 1.0,
        "reward_shift": 0.0,
        "discount": 0.9,
        "mc_weight": 1.0,
        "alpha": 0.0,
        "n_policy_actions": 1,
        "n_random_actions": 1,
        "clone_steps": 0,
        "judge_steps": 400,
        "shared_encoder": True,
        "decay_steps": 1000,
        "actor_lr": 1e-3,
        "critic_lr": 1e-3,
        "bc_weight": 1.0,
    },
}
UPDATES = {"bc": 1000, "cql": 1600, "cql_weighted": 1000}


def success_rate(run: Path) -> float:
    checkpoint = load_checkpoint(find_checkpoint(run))
    policy = restore_agent(checkpoint, torch.device("cpu")).deployed().eval()
    rng, solved = np.random.default_rng(10_000), 0
    for _ in range(100):
        dot, ring = start(rng)
        for _ in range(LIMIT):
            image = torch.from_numpy(picture(dot, ring))[None]
            with torch.inference_mode():
                action, _ = policy.act(
                    image, torch.zeros(1, 7), torch.zeros(1, dtype=torch.int64)
                )
            dot = moved(dot, STEP * action[0, :2].numpy() / BOUND)
            if np.linalg.norm(dot - ring) <= NEAR:
                solved += 1
                break
    return solved / 100


def train(learner: str, demonstrations: Path, folder: Path, **settings: object) -> float:
    """Train one of `LEARNERS`, with changed settings, and return its success rate."""
    values = {
        "agent": LEARNERS[learner] | settings,
        "network": NETWORK,
        "augment": {"shift": 3, "jitter": False},
        "pretrain": {"steps": UPDATES[learner], "checkpoint_every": UPDATES[learner]},
        "batch_size": 64,
        "min_action_std": 0.05,
        "log_every": 500,
        "threads": 1,
    }
    preset = folder / "preset.yaml"
    preset.write_text(yaml.safe_dump(values))
    run = folder / "run"
    pretrain(["--config", str(preset), "--data", str(demonstrations), "--out", str(run)])
    return success_rate(run)


def test_clone_is_too_slow(demonstrations: Path, tmp_path: Path) -> None:
    assert train("bc", demonstrations, tmp_path) <= 0.4


def test_actor_that_follows_a_conservative_critic_arrives(
    demonstrations: Path, tmp_path: Path
) -> None:
    assert train("cql", demonstrations, tmp_path) >= 0.9


def test_clone_of_what_a_critic_approves_arrives(
    demonstrations: Path, tmp_path: Path
) -> None:
    rate = train("cql_weighted", demonstrations, tmp_path)
    assert rate >= 0.9


def test_same_learner_without_the_critics_say_is_too_slow(
    demonstrations: Path, tmp_path: Path
) -> None:
    """So it is the critic that decides."""
    rate = train("cql_weighted", demonstrations, tmp_path, advantage="none")
    assert rate <= 0.4
