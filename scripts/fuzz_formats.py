"""The formats that `fuzz.py` damages: how a small genuine input of each is made and read."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src/ptr_training/test"))  # makers of small genuine files

from ptr_common.files import sha256  # noqa: E402

OLD = ROOT / "test" / "files_of_0.1.0"


@dataclass(frozen=True)
class Format:
    """A kind of file: how a genuine one is made, damaged and read."""

    name: str
    make: Callable[[Path], None]  # fills an empty folder
    files: tuple[str, ...]  # those that are damaged
    read: Callable[[Path], Any]  # what the files hold, to compare; raises PtrError
    sealed: bool = False  # no altered value may be accepted
    repair: Callable[[Path, str], None] | None = None  # makes checksums right again


def _copied(source: Path) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return make


def _resign_bundle(folder: Path, name: str) -> None:
    """Make the checksum of a program right, as a stranger would."""
    values = json.loads((folder / "bundle.json").read_text())
    values["sha256"][name] = sha256(folder / name)
    (folder / "bundle.json").write_text(json.dumps(values))


def _read_bundle(folder: Path) -> Any:
    from ptr_policy_node.policy import load_bundle

    policy = load_bundle(folder)
    camera = policy.info.camera
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    return policy.act(image, np.zeros(7), policy.info.tasks[0]).action.tolist()


def _resign_store(folder: Path, name: str) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    key = name.partition(".")[0]
    if key in card["sha256"]:
        card["sha256"][key] = sha256(folder / name)
        (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))


def _read_store(folder: Path) -> Any:
    from ptr_training.data.store import EpisodeStore

    store = EpisodeStore.open(folder)
    store.check_pixels()
    return [len(store), store.steps.tobytes(), store.pixels_sha256]


def _make_checkpoint(folder: Path) -> None:
    """Write the old checkpoint anew, so that it has a digest."""
    from ptr_training.training.checkpoint import load_checkpoint

    load_checkpoint(OLD / "run/checkpoints/step_6.pt").save(folder / "step_6.pt")


def _read_checkpoint(folder: Path) -> Any:
    from ptr_training.training.checkpoint import load_checkpoint

    weights = load_checkpoint(folder / "step_6.pt").agent["weights"]
    return [value.numpy().tobytes() for value in weights.values()]


def _make_choice(folder: Path) -> None:
    (folder / "select").mkdir()
    (folder / "select" / "choice.json").write_text('{"step": 6, "scores": [1.0]}')
    shutil.copy(ROOT / "config/train/demo_cql.yaml", folder / "config.yaml")


def _read_choice(folder: Path) -> Any:
    from ptr_training.training.checkpoint import chosen_step
    from ptr_training.training.config import load_config

    load_config(folder / "config.yaml")
    return chosen_step(folder)


def _make_raw(folder: Path) -> None:
    from prior_data import Demonstration, write_raw

    write_raw(folder, Demonstration.make(), language="put carrot\n")


def _make_numpy(folder: Path) -> None:
    from prior_data import Demonstration, numpy_episode, write_numpy

    write_numpy(
        folder / "toykitchen1/put/train/out.npy", [numpy_episode(Demonstration.make())]
    )


def _make_rlds(folder: Path) -> None:
    from prior_data import Demonstration, example, rlds_features, write_shard

    write_shard(folder / SHARD, [example(rlds_features(Demonstration.make()))])


def _importer(name: str, camera: str = "") -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from ptr_training.importers.base import ImportOptions, SkipRecord
        from ptr_training.importers.formats import FORMATS
        from ptr_training.importers.to_episode import to_episode

        episodes = []
        for record in FORMATS[name].find([folder]):
            try:
                source = FORMATS[name].read(record, ImportOptions(camera=camera))
                episode, _ = to_episode(source, ImportOptions(), (16, 16))
            except SkipRecord:
                continue
            episodes.append(pickle.dumps(vars(episode)))
        return episodes

    return read


def _read_bag(folder: Path) -> Any:
    from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes

    found = read_episodes(folder, ReadOptions(16, command="requested", check_crc=True))
    return [pickle.dumps(vars(episode)) for episode in found.episodes]


BAG = "ef396b9e-e72f-4b7b-a33c-8a2e27641f4c_0.mcap"
RAW = (
    "bridge_data_v1/berkeley/toykitchen1/put_carrot_on_plate/"
    "2021-08-01_10-20-30/raw/traj_group0/traj0"
)
SHARD = "x-train.tfrecord-00000-of-00001"
LEROBOT = ROOT / "src/ptr_training/test/importers/lerobot_0.6.1"

FORMATS = (
    Format(
        "bundle",
        _copied(OLD / "bundle"),
        ("bundle.json", "golden.npz", "act.pt2", "q.pt2"),
        _read_bundle,
        repair=_resign_bundle,
    ),
    Format(
        "bundle-sealed",
        _copied(OLD / "bundle"),
        ("golden.npz", "act.pt2", "q.pt2"),
        _read_bundle,
        sealed=True,
    ),
    Format(
        "bundle-torchscript",
        _copied(OLD / "bundle_torchscript"),
        ("bundle.json", "golden.npz", "policy.pt"),
        _read_bundle,
        repair=_resign_bundle,
    ),
    Format("checkpoint", _make_checkpoint, ("step_6.pt",), _read_checkpoint, sealed=True),
    Format(
        "store",
        _copied(OLD / "store"),
        ("card.yaml", "episodes.json", "steps.npy", "frames.npy"),
        _read_store,
        repair=_resign_store,
    ),
    Format(
        "store-sealed",
        _copied(OLD / "store"),
        ("episodes.json", "steps.npy", "frames.npy"),
        _read_store,
        sealed=True,
    ),
    Format("run", _make_choice, ("select/choice.json", "config.yaml"), _read_choice),
    Format(
        "numpy", _make_numpy, ("toykitchen1/put/train/out.npy",), _importer("bridge-numpy")
    ),
    Format(
        "raw",
        _make_raw,
        tuple(
            f"{RAW}/{name}"
            for name in ("obs_dict.pkl", "policy_out.pkl", "lang.txt", "images0/im_1.jpg")
        ),
        _importer("bridge-raw"),
    ),
    Format("rlds", _make_rlds, (SHARD,), _importer("rlds")),
    Format(
        "lerobot",
        _copied(LEROBOT),
        (
            "meta/info.json",
            "meta/tasks.parquet",
            "meta/episodes/chunk-000/file-000.parquet",
            "data/chunk-000/file-000.parquet",
        ),
        _importer("lerobot", "image_0"),
    ),
    Format("bag", _copied(OLD / "bags/first"), (BAG, "metadata.yaml"), _read_bag),
)
