"""PTR's update on a GPU, with and without a CUDA graph: time, matrix rate, idle time, memory.

    .venv/bin/python bench/gpu_bench.py

ResNet-34, -18, -50 and the small encoder at 64x64, batch 64, bfloat16, frames on the card. The
matrix rate is measured in the same run; the operations of an update are counted by PyTorch, and
their rate is shown as a share of it. All times are between CUDA events. Idle is the share of the
time in which the card waits for the host: what an update takes beyond the replays, one right
after the other, of a graph of the same kernels. Without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from update_bench import write_store

from ptr_training.agents import Agent
from ptr_training.data.distributed import DistributedContext
from ptr_training.data.store import EpisodeStore
from ptr_training.training.accelerate import (
    WARM_UPS,
    CapturedUpdate,
    CudaGraph,
    make_update,
)
from ptr_training.training.build import restore_agent
from ptr_training.training.config import from_dict
from ptr_training.training.stages import start_pretraining

NETWORKS = ("resnet34", "small", "resnet18", "resnet50")


def seconds(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Return the time of one call, the mean of several, after those that a graph needs first."""
    for _ in range(WARM_UPS + 2):
        work()
    if device.type != "cuda":
        before = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - before) / repeats
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(repeats):
        work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3 / repeats


def matrix_rate(device: torch.device, size: int) -> float:
    """Return the rate of a bfloat16 matrix product [FLOP/s]."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * size**3 / seconds(lambda: a @ b, 20, device)


def operations(agent: Agent, batch: Any) -> float:
    """Return the floating-point operations of an update, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
    return float(counter.get_total_flops())


def measure(
    store: EpisodeStore, network: str, mode: str, arguments: argparse.Namespace, rate: float
) -> str:
    """Return a row of the table.

    Args:
        store: What batches are drawn from.
        network: The encoder.
        mode: See `make_update`.
        arguments: Of the command.
        rate: Of a matrix product [FLOP/s].
    """
    device = torch.device(arguments.device)
    config = from_dict(
        {
            "batch_size": arguments.batch_size,
            "bf16": True,
            "network": {"encoder": network, "film": network == "small"},
        }
    )
    start, replay = start_pretraining(config, [store], [])
    agent = restore_agent(start, device)
    replay.to_device(device)
    batches = replay.batches(device, DistributedContext(), 0)
    one = next(batches)[0]
    count = operations(agent, one)
    update = make_update(agent, mode)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    fed = seconds(lambda: update(next(batches)[0]), arguments.updates, device)
    row = f"{network:<9} {mode:<6} {fed * 1e3:8.2f} ms an update  {count / fed / rate:6.1%}"
    if device.type == "cuda":
        memory = torch.cuda.max_memory_reserved(device) / 2**30
        if mode == "off":  # the same kernels as a graph, to be started at once
            update = CapturedUpdate(agent, CudaGraph(device, agent.rng.generator))
        alone = seconds(lambda: update(one), arguments.updates, device)
        idle = max(0.0, 1.0 - alone / fed)
        row += f"  idle {idle:6.1%}  {memory:6.2f} GiB"
    return row


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cpu only to try this script")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--matrix", type=int, default=8192, help="size of the matrices")
    parser.add_argument("--size", type=int, default=64, help="side of the images [pixels]")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU: not measured")
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    modes = ["off"]
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device), "PyTorch", torch.__version__)
        modes = ["off", "graph"]
    rate = matrix_rate(device, arguments.matrix)
    print(f"matrix product, bfloat16: {rate / 1e12:.2f} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder, "store"), 100, 38, arguments.size)
        for network in arguments.networks:
            for mode in modes:
                print(measure(store, network, mode, arguments, rate), flush=True)


if __name__ == "__main__":
    main()
