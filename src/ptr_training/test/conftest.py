"""A toy world for learning: a picture of a dot, and the step towards the middle as the action."""

from __future__ import annotations

import contextlib
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lerobot_reference
import numpy as np
import pytest
import torch
import yaml
from scripted_bags import Script

from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.models.frozen import R3MNetwork
from ptr_training.training.train import finetune, pretrain

SIZE = 16
torch.set_num_threads(1)  # the networks are tiny: threads would only wait for each other
MakeStore = Callable[..., Path]


def toy_picture(place: np.ndarray) -> np.ndarray:
    """A white dot at a place in [-1, 1]^2 on black."""
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    row, column = np.clip(((place + 1) / 2 * (SIZE - 3)).round().astype(int), 0, SIZE - 3)
    picture[row : row + 3, column : column + 3] = 255
    return picture


def toy_episode(
    name: str, task: str, seed: int, length: int = 8, outcome: str = "success"
) -> Episode:
    """A dot that moves to the middle of the picture; dx and dy follow from where it is."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1, 1, 2)
    frames = np.zeros((length + 1, SIZE, SIZE, 3), np.uint8)
    actions = np.zeros((length, 7), np.float32)
    for t in range(length + 1):
        frames[t] = toy_picture(place)
        if t < length:
            actions[t, :2] = -0.04 * place
            actions[t, 6] = float(t >= length - 3)
            place = place * 0.6
    proprio = rng.normal(size=(length + 1, 7)).astype(np.float32) * 0.1
    stamps = np.arange(length + 1) * 200_000_000
    return Episode(
        name, task, frames, stamps, proprio, actions, actions, outcome, seed=seed
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the data set that LeRobot wrote, to be altered."""
    return Path(shutil.copytree(lerobot_reference.FOLDER, tmp_path / "reference"))


@pytest.fixture
def script() -> Script:
    """Return an empty recording, to be filled with episodes."""
    return Script()


@pytest.fixture
def full_disk() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Return a context in which no file of this process grows beyond 4 kB, as on a full disk."""

    @contextlib.contextmanager
    def limit() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def preset_values() -> dict[str, Any]:
    """Return a configuration that trains in seconds, as a preset holds it."""
    return {
        "agent": {
            "name": "cql",
            "shared_encoder": True,
            "clone_steps": 3,
            "bc_weight": 10.0,
        },
        "network": {
            "encoder": "small",
            "film": True,
            "latent": 16,
            "hidden": [16],
            "spatial_features": 2,
        },
        "augment": {"shift": 1, "jitter": False},
        "pretrain": {"steps": 6, "checkpoint_every": 3},
        "finetune": {"steps": 4, "checkpoint_every": 2, "mix": 0.5, "holdout": 1},
        "batch_size": 8,
        "log_every": 2,
        "threads": 1,
    }


@pytest.fixture
def preset(tmp_path: Path, preset_values: dict[str, Any]) -> str:
    """Return the path of that configuration."""
    path = tmp_path / "preset.yaml"
    path.write_text(yaml.safe_dump(preset_values))
    return str(path)


def write_toy_store(
    path: Path, tasks: tuple[str, ...] = ("a", "b"), per_task: int = 3, **changes: object
) -> Path:
    """Write a toy store and return its folder.

    Args:
        path: The folder.
        tasks: Names of its tasks.
        per_task: Episodes of each task.
        changes: Changed fields of its `DatasetInfo`.
    """
    values = {
        "camera": "front",
        "camera_width": 48,
        "camera_height": 32,
        "image_height": SIZE,
        "image_width": SIZE,
    }
    info = DatasetInfo(path.name, **(values | changes))  # type: ignore[arg-type]
    with EpisodeWriter(path, info) as writer:
        for number in range(per_task * len(tasks)):
            task = tasks[number % len(tasks)]
            seed = hash_free_seed(path.name, number)
            writer.add(toy_episode(f"{task}-{number}", task, seed))
    return path


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Return a function that writes a toy store of a name; see `write_toy_store`."""

    def make(name: str, *arguments: Any, **changes: Any) -> Path:
        return write_toy_store(tmp_path / name, *arguments, **changes)

    return make


TrainOnDemos = Callable[..., Path]


@pytest.fixture
def train_on_demos(
    tmp_path: Path, preset_values: dict[str, Any], make_store: MakeStore
) -> TrainOnDemos:
    """Return a function that trains an agent on the store `demos` and returns its run folder."""
    store = make_store("demos", tasks=("new",), per_task=4)

    def train(name: str, agent: dict[str, Any], **changes: Any) -> Path:
        values = {**preset_values, "agent": agent, **changes}
        preset = tmp_path / f"{name}.yaml"
        preset.write_text(yaml.safe_dump(values))
        run = tmp_path / name
        finetune(["--config", str(preset), "--target", str(store), "--out", str(run)])
        return run

    return train


def hash_free_seed(name: str, number: int) -> int:
    """Return a seed that depends on both and not on the process."""
    return sum(name.encode()) * 1000 + number


@pytest.fixture(scope="session")
def r3m(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the form of R3M's, with random weights: its own are not ours to give."""
    torch.manual_seed(0)
    network = R3MNetwork()
    names = {
        f"module.convnet.{name}": value for name, value in network.state_dict().items()
    }
    others = {"module.lang_rew.pred.0.weight": torch.zeros(3)}  # its language head
    path = tmp_path_factory.mktemp("r3m") / "model.pt"
    torch.save({"r3m": {**names, **others}, "global_step": 7}, path)
    return path


@pytest.fixture
def pretrained(tmp_path: Path, preset: str, make_store) -> Path:
    """Return a pre-trained run of the tasks a and b, with an id for the task new."""
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
