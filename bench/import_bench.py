"""Images per CPU-second of `ptr import bridge-raw` against decoding and resizing alone.

The images are JPEGs of 640x480 pixels.

All take the same files in the same run, in turns, in one process. `ptr import` does more
(pickles, hashes, commands, audit, journal, store); `ptr merge` is an import in four shards, and
the merge of them. The converters of BridgeData use Pillow
and its Lanczos kernel; ours is that of the robot.

    python bench/import_bench.py [--episodes 20] [--frames 40] [--size 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from export_bench import QUALITY, make_image
from PIL import Image  # comes with Matplotlib

from ptr_common.images import resize_area
from ptr_training.importers.import_store import Request, import_store
from ptr_training.importers.shards import Shard, import_shard, merge_shards

FOLDER = "bridge_data_v1/berkeley/toykitchen1/put_carrot_on_plate/2021-08-01_10-20-30"


def write_episodes(root: Path, episodes: int, frames: int) -> None:
    """Write demonstrations as the robot of BridgeData does, with one camera."""
    (root / FOLDER).mkdir(parents=True)
    config = {"agent": {"env": ["VR_WidowX", {"camera_topics": ["/D435/color/image_raw"]}]}}
    (root / FOLDER / "config.json").write_text(json.dumps(config))
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    pictures = [
        cv2.imencode(".jpg", make_image(seed)[..., ::-1], quality)[1].tobytes()
        for seed in range(8)
    ]
    for number in range(episodes):
        folder = root / FOLDER / "raw/traj_group0" / f"traj{number}"
        (folder / "images0").mkdir(parents=True)
        for frame in range(frames):
            (folder / "images0" / f"im_{frame}.jpg").write_bytes(
                pictures[(number + frame) % len(pictures)]
            )
        states = {
            "full_state": np.zeros((frames, 7)),
            "time_stamp": (0.2 * np.arange(frames)).tolist(),
        }
        (folder / "obs_dict.pkl").write_bytes(pickle.dumps(states))
        steps = [{"actions": np.full(7, 0.01)} for _ in range(frames - 1)]
        (folder / "policy_out.pkl").write_bytes(pickle.dumps(steps))


def read_with_opencv(root: Path, size: int) -> None:
    """Decode every picture in full and resize it as the robot does."""
    for file in root.rglob("*.jpg"):
        picture = np.asarray(cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR))
        resize_area(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (size, size))


def read_with_pillow(root: Path, size: int) -> None:
    """Decode every picture in full and resize it as the converters of BridgeData do."""
    for file in root.rglob("*.jpg"):
        np.asarray(Image.open(file).resize((size, size), Image.Resampling.LANCZOS))


def read_with_import(root: Path, size: int) -> None:
    """Run all of `ptr import`, into a store that is thrown away."""
    quiet = contextlib.redirect_stderr(io.StringIO())  # no progress bars
    with tempfile.TemporaryDirectory(dir=root.parent) as folder, quiet:
        info = {"image_height": size, "image_width": size}
        import_store(
            Request("bridge-raw", (root,), Path(folder) / "store", info=info, workers=1)
        )


def read_in_shards(root: Path, size: int) -> None:
    """Run `ptr import` in four shards, and `ptr merge`."""
    quiet = contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory(dir=root.parent) as folder, quiet:
        info = {"image_height": size, "image_width": size}
        out = Path(folder) / "store"
        request = Request("bridge-raw", (root,), out, info=info, workers=1)
        for index in range(4):
            import_shard(request, Shard(index, 4))
        merge_shards(out)


def rate(read: Callable[[Path, int], None], root: Path, size: int, pictures: int) -> float:
    """Return pictures per CPU-second."""
    start = time.process_time()
    read(root, size)
    return pictures / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--frames", type=int, default=40, help="of each episode")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    readers = {
        "OpenCV": read_with_opencv,
        "Pillow": read_with_pillow,
        "ptr import": read_with_import,
        "ptr merge": read_in_shards,
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "prior"
        write_episodes(root, arguments.episodes, arguments.frames)
        pictures = arguments.episodes * arguments.frames
        for name in [*readers] * arguments.rounds:
            rates[name].append(rate(readers[name], root, arguments.size, pictures))
    for name, values in rates.items():
        ratios = [
            ours / theirs for ours, theirs in zip(rates["ptr import"], values, strict=True)
        ]
        median, low, high = statistics.median(values), min(values), max(values)
        print(
            f"{name:<11} {median:6.0f} pictures/CPU-s  (of {low:.0f} to {high:.0f})", end=""
        )
        print(
            ""
            if name == "ptr import"
            else f"; ptr import {statistics.median(ratios):.2f} times as many"
        )


if __name__ == "__main__":
    main()
