"""CPU time of gradient steps: the demonstration's presets, and PTR against the official passes.

    .venv/bin/python bench/update_bench.py

1. The presets `demo_bc`, `demo_ptr` (in float32 and bfloat16) and `demo_cql`, sampling of the batch
included, in turns.
2. ResNet-34 at 128x128, batch 8: this code in float32 and bfloat16, and `literal_cql.py`,
   in turns; CPU seconds a sample, and how far the losses of the first update are apart.
3. Gathering a batch of 64 transitions at 128x128 from a mapped store, against a plain copy
of as many bytes.

The episodes are noise: what is in a picture does not change the time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from literal_cql import LiteralCQL

from ptr_training.agents import AGENTS, Agent
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter
from ptr_training.data.replay import Replay
from ptr_training.data.store import EpisodeStore
from ptr_training.training.build import build_agent, restore_agent
from ptr_training.training.config import Config, from_dict, load_config
from ptr_training.training.device import keep_freed_memory
from ptr_training.training.stages import start_pretraining

CRITIC = ["agent.clone_steps=0"]  # after the warm start
PRESETS = {
    "demo_bc": ("demo_bc", []),
    "demo_ptr": ("demo_ptr", CRITIC),
    "demo_ptr, bf16": ("demo_ptr", [*CRITIC, "bf16=true"]),
    "demo_cql": ("demo_cql", CRITIC),
}
TASK = "put the red cube on the white plate"


def write_store(
    path: Path, episodes: int = 50, steps: int = 25, size: int = 64
) -> EpisodeStore:
    """Write episodes of random pictures and motions."""
    rng = np.random.default_rng(0)
    card = DatasetInfo("noise", "camera", 320, 240, size, size, command="requested")
    with EpisodeWriter(path, card) as writer:
        for index in range(episodes):
            frames = rng.integers(0, 256, (steps + 1, size, size, 3), np.uint8)
            actions = rng.uniform(-0.02, 0.02, (steps, 7)).astype(np.float32)
            proprio = rng.normal(size=(steps + 1, 7)).astype(np.float32)
            stamps = np.arange(steps + 1) * 200_000_000
            writer.add(
                Episode(
                    str(index), TASK, frames, stamps, proprio, actions, actions, "success"
                )
            )
    return EpisodeStore.open(path)


def small_steps(store: EpisodeStore, updates: int) -> None:
    """Time the demonstration's presets."""
    works = {}
    for name, (preset, changes) in PRESETS.items():
        start, replay = start_pretraining(load_config(preset, changes), [store], [])
        agent = restore_agent(start, torch.device("cpu"))
        works[name] = partial(_sample_and_update, agent, replay)
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(updates + 3):
        for name, work in works.items():
            seconds = timed(work)[0]
            if turn >= 3:
                times[name].append(seconds)
    for name, each in times.items():
        p10, p90 = np.percentile(each, (10, 90)) * 1e3
        print(
            f"{name:<14} {statistics.median(each) * 1e3:6.1f} ms an update  "
            f"({p10:.1f} to {p90:.1f})"
        )
    pairs = zip(times["demo_ptr, bf16"], times["demo_ptr"], strict=True)
    ratio = statistics.median(half / full for half, full in pairs)
    print(f"demo_ptr, bfloat16 / float32 {ratio:.2f}")


def _sample_and_update(agent: Agent, replay: Replay) -> None:
    agent.update(replay.sample())


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of a call and what it returns."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def large_steps(store: EpisodeStore, rounds: int, batch_size: int = 8) -> None:
    """Time the update of the official launch settings in three forms, in turns."""
    config = from_dict({"batch_size": batch_size})
    start, replay = start_pretraining(config, [store], [])
    agents = {"passes of the official code, float32": _literal(config, start.data_spec)}
    for name, values in (("float32", {}), ("bfloat16", {"bf16": True})):
        changed = from_dict({"batch_size": batch_size, **values})
        agents[name] = build_agent(changed, start.data_spec, torch.device("cpu"))
    times: dict[str, list[float]] = {name: [] for name in agents}
    losses = {}
    for turn in range(rounds + 1):
        batch = replay.sample()
        for name, agent in agents.items():
            seconds, metrics = timed(lambda: agent.update(batch))  # noqa: B023
            if turn:
                times[name].append(seconds / batch_size)
            else:
                losses[name] = [float(metrics[key]) for key in ("loss", "actor_loss")]
    slow, fast, half = (statistics.median(each) for each in times.values())
    for name, each in times.items():
        print(
            f"ResNet-34, {name:<38} {statistics.median(each):6.3f} CPU-s a sample "
            f"({min(each):.3f} to {max(each):.3f})"
        )
    literal, ours, _ = losses.values()
    apart = max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(literal, ours, strict=True))
    print(
        f"official passes / float32 {slow / fast:.2f}, float32 / bfloat16 {fast / half:.2f}; "
        f"losses {apart:.1e} apart"
    )


def _literal(config: Config, problem: Any) -> Any:
    AGENTS["literal"] = LiteralCQL
    return build_agent(
        from_dict(config.to_dict() | {"agent": {"name": "literal"}}),
        problem,
        torch.device("cpu"),
    )


def loading(store: EpisodeStore, rounds: int) -> None:
    """Time batches of 64 transitions in turns with copies of as many bytes: random rows, one piece.

    Each has an array of its own, as a batch must: one that only a copy writes to would stay
    in the cache for it.
    """
    _, replay = start_pretraining(from_dict({}), [store], [])
    frames, rng = np.asarray(store.frames), np.random.default_rng(0)

    def copy_rows() -> np.ndarray:
        out = np.empty((64, 2, *frames.shape[1:]), np.uint8)
        for place, row in enumerate(rng.integers(len(frames) - 1, size=64).tolist()):
            out[place] = frames[row : row + 2]
        return out

    def copy_piece() -> np.ndarray:
        first = int(rng.integers(len(frames) - 128))
        return frames[first : first + 128].copy()

    works: dict[str, Callable[[], Any]] = {
        "batch": replay.sample,
        "rows": copy_rows,
        "piece": copy_piece,
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            before = time.perf_counter()
            result = work()
            times[name].append(time.perf_counter() - before)
            del result
    batch, rows, piece = (statistics.median(each) * 1e3 for each in times.values())
    print(f"batch of 64 from the store  {batch:.3f} ms")
    print(f"copying 64 pairs of frames  {rows:.3f} ms, ratio {batch / rows:.2f}")
    print(f"copying as much in a piece  {piece:.3f} ms, ratio {batch / piece:.2f}")


def main() -> None:
    """Run the three measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=60, help="of the small encoder")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the ResNet-34, some 15 s each"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the training loop does
    with tempfile.TemporaryDirectory() as folder:
        small_steps(write_store(Path(folder, "small")), arguments.updates)
        large = write_store(Path(folder, "large"), episodes=100, steps=38, size=128)
        loading(large, 500)
        large_steps(large, arguments.rounds)


if __name__ == "__main__":
    main()
