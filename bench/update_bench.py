"""CPU time of one gradient step with the demonstration's presets, sampling of the batch included.

    .venv/bin/python bench/update_bench.py

The episodes are noise of the demonstration's size: what is in a picture does not change the time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ptr_training.config import Config, load_config
from ptr_training.episodes import Card, Episode, EpisodeStore, EpisodeWriter
from ptr_training.train import start_pretraining

PRESETS = {"demo_bc": [], "demo_ptr": ["agent.clone_steps=0"]}
TASK = "put the red cube on the white plate"


def write_store(path: Path, episodes: int = 50, steps: int = 25, size: int = 64) -> EpisodeStore:
    """Write episodes of random pictures and motions."""
    rng = np.random.default_rng(0)
    card = Card("noise", "camera", 320, 240, size, size, command="requested")
    with EpisodeWriter(path, card) as writer:
        for index in range(episodes):
            frames = rng.integers(0, 256, (steps + 1, size, size, 3), np.uint8)
            actions = rng.uniform(-0.02, 0.02, (steps, 7)).astype(np.float32)
            proprio = rng.normal(size=(steps + 1, 7)).astype(np.float32)
            stamps = np.arange(steps + 1) * 200_000_000
            writer.add(Episode(str(index), TASK, frames, stamps, proprio, actions, actions, "success"))
    return EpisodeStore.open(path)


def measure(config: Config, store: EpisodeStore, updates: int) -> list[float]:
    """Return the CPU time of each update [s], after three to warm up."""
    start, replay = start_pretraining(config, [store], [])
    agent = start.build_agent(torch.device("cpu"))
    times = []
    for _ in range(updates + 3):
        before = time.process_time()
        agent.update(replay.sample())
        times.append(time.process_time() - before)
    return times[3:]


def main() -> None:
    """Measure the presets in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder, "store"))
        for name, changes in PRESETS.items():
            times = measure(load_config(name, changes), store, arguments.updates)
            p10, p90 = np.percentile(times, (10, 90)) * 1e3
            print(f"{name:<10} {statistics.median(times) * 1e3:6.1f} ms an update  ({p10:.1f} to {p90:.1f})")


if __name__ == "__main__":
    main()
