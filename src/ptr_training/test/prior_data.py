"""Prior data made up here, in the layouts of BridgeData that `ptr import` reads."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptr_training.importers.base import ImportOptions
from ptr_training.importers.import_store import Request
from ptr_training.importers.rlds import masked_crc

FOLDER = "bridge_data_v1/berkeley/toykitchen1/put_carrot_on_plate"
DATED = f"{FOLDER}/2021-08-01_10-20-30"
TOPICS = ("/D435/color/image_raw", "/blue/image_raw", "/wrist/image_raw")


@dataclass
class Demonstration:
    """T actions between T + 1 observations of two cameras, different in everything."""

    cameras: list[list[np.ndarray]]  # images (24, 32, 3)
    states: np.ndarray  # (T + 1, 7)
    actions: np.ndarray  # (T, 7)

    @classmethod
    def make(cls, length: int = 5, seed: int = 0) -> Demonstration:
        """Return a demonstration of `length` steps; the first action is zero."""
        rng = np.random.default_rng([seed, length])
        cameras = [[_image(rng) for _ in range(length + 1)] for _ in range(2)]
        actions = np.column_stack(
            [rng.uniform(-0.04, 0.04, (length, 6)), rng.uniform(0, 1, length)]
        )
        actions[0, :6] = 1e-9
        return cls(cameras, rng.normal(size=(length + 1, 7)), actions)

    def frames(self, size: int, camera: int = 0) -> np.ndarray:
        """Return what a store must hold of the encoded images, (T + 1, size, size, 3)."""
        decoded = (
            cv2.imdecode(np.frombuffer(jpeg(each), np.uint8), cv2.IMREAD_COLOR)
            for each in self.cameras[camera]
        )
        return np.stack(
            [
                cv2.resize(each[..., ::-1], (size, size), interpolation=cv2.INTER_AREA)
                for each in decoded
            ]
        )


def _image(rng: np.random.Generator) -> np.ndarray:
    return np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    """Return an RGB image as a JPEG."""
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


class Payload:
    """Pickled, it asks for a command to be run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {self.marker}",)


def write_raw(
    root: Path,
    demonstration: Demonstration,
    number: int = 0,
    dated: str = DATED,
    language: str | None = None,
) -> Path:
    """Write a folder as the robot records it; return it."""
    folder = root / dated / "raw" / f"traj_group{number // 1000}" / f"traj{number}"
    for camera, images in enumerate(demonstration.cameras):
        (folder / f"images{camera}").mkdir(parents=True)
        for step, image in enumerate(images):
            (folder / f"images{camera}" / f"im_{step}.jpg").write_bytes(jpeg(image))
    stamps = [1627800000.5 + 0.2 * step for step in range(len(demonstration.states))]
    observations = {
        "full_state": demonstration.states,
        "time_stamp": stamps,
        "qpos": np.zeros((3, 6)),
        "env_done": [False],
    }
    (folder / "obs_dict.pkl").write_bytes(pickle.dumps(observations))
    steps = [
        {"actions": action, "policy_type": "VRTeleopPolicy"}
        for action in demonstration.actions
    ]
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(steps))
    if language is not None:
        (folder / "lang.txt").write_text(language)
    config = {
        "agent": {
            "env": [
                "VR_WidowX",
                {"camera_topics": list(TOPICS[: len(demonstration.cameras)])},
            ]
        }
    }
    (root / dated / "config.json").write_text(json.dumps(config))
    return folder


def numpy_episode(demonstration: Demonstration, **more: Any) -> dict[str, Any]:
    """Return an episode as the converters of BridgeData keep it.

    The frames are shared between the two lists.
    """
    observations = [
        {"images0": first, "images1": second, "state": state}
        for first, second, state in zip(
            *demonstration.cameras, demonstration.states, strict=True
        )
    ]
    actions = list(demonstration.actions)
    content = {
        "observations": observations[:-1],
        "next_observations": observations[1:],
        "actions": actions,
    }
    return content | {"terminals": [0] * len(actions)} | more


def write_numpy(file: Path, episodes: Sequence[Any]) -> Path:
    """Write an out.npy; return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    array = np.empty(len(episodes), object)
    array[:] = episodes
    np.save(
        file, array, allow_pickle=True
    )  # writes a pickle, as BridgeData's converters do; loads none
    return file


def rlds_features(
    demonstration: Demonstration, episode_id: int | None = 0, **more: list
) -> dict[str, list]:
    """Return the features of an RLDS record.

    Its last step is padding, so that all T actions have a successor.
    """
    length = len(demonstration.states)
    features = {
        "steps/observation/state": demonstration.states.astype(np.float32).ravel().tolist(),
        "steps/action": [
            *demonstration.actions.astype(np.float32).ravel().tolist(),
            *[0.0] * 7,
        ],
        "steps/is_last": [0] * (length - 1) + [1],
        "steps/language_instruction": [b"put carrot on plate"] * length,
        "episode_metadata/file_path": [
            f"/nfs/author/numpy_256/{FOLDER}/train/out.npy".encode()
        ],
        "episode_metadata/has_image_0": [0],
    }
    for camera, images in enumerate(demonstration.cameras):
        features[f"steps/observation/image_{camera}"] = [jpeg(image) for image in images]
    if episode_id is not None:
        features["episode_metadata/episode_id"] = [episode_id]
    return features | more


def example(features: dict[str, list], packed: bool = True) -> bytes:
    """Return a serialised tf.train.Example of lists of floats, integers or byte strings."""
    entries = (
        _field(1, _field(1, name.encode()) + _field(2, _feature(values, packed)))
        for name, values in features.items()
    )
    return _field(1, b"".join(entries))


def _feature(values: list, packed: bool) -> bytes:
    if all(isinstance(value, bytes) for value in values):
        return _field(1, b"".join(_field(1, value) for value in values))
    if isinstance(values[0], float):
        number, wire, items = 2, 5, [struct.pack("<f", value) for value in values]
    else:
        number, wire, items = 3, 0, [_varint(value) for value in values]
    key = _varint(1 << 3 | wire)
    return _field(
        number,
        _field(1, b"".join(items)) if packed else b"".join(key + item for item in items),
    )


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def framed(payload: bytes) -> bytes:
    """Return a payload as a record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return (
        length
        + struct.pack("<I", masked_crc(length))
        + payload
        + struct.pack("<I", masked_crc(payload))
    )


def write_shard(file: Path, payloads: Iterable[bytes]) -> Path:
    """Write a TFRecord file; return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(map(framed, payloads)))
    return file


def rlds_payloads(count: int, **more: list) -> list[bytes]:
    """Return records of episodes of 3, 4, … steps."""
    payloads = []
    for number in range(count):
        made = Demonstration.make(3 + number, seed=number)
        payloads.append(example(rlds_features(made, number, **more)))
    return payloads


def import_request(tmp_path: Path, source: Path, **changes: Any) -> Request:
    """Return a request to import RLDS in one process, as images of 8x8 pixels."""
    info = {"image_height": 8, "image_width": 8}
    out = tmp_path / "store"
    return replace(
        Request("rlds", (source,), out, ImportOptions(), info, workers=1), **changes
    )


def write_rlds(tmp_path: Path, count: int = 5) -> Path:
    """Write a shard of `count` episodes; return it."""
    shard = tmp_path / "prior" / "x.tfrecord-00000-of-00001"
    return write_shard(shard, rlds_payloads(count))


def folder_contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}
