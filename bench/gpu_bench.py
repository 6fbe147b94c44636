"""PTR's update on a GPU: share of the card's matrix rate, and whether the replay keeps it waiting.

    .venv/bin/python bench/gpu_bench.py

ResNet-34 at 128x128, batch 64, bfloat16, frames resident on the card and mapped from disk,
with and without torch.compile. The matrix rate is measured in the same run; an update
counts 101.6 GFLOP a sample. Busy is the time of updates on one batch over the time of as
many updates on batches from the replay. Without a GPU there is nothing to do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from update_bench import write_store

from ptr_training.data.distributed import DistributedContext
from ptr_training.training.build import restore_agent
from ptr_training.training.config import from_dict
from ptr_training.training.stages import start_pretraining

GFLOP_A_SAMPLE = 101.6  # counted in test_cql.py


def seconds(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Return the time of one call, the mean of several, after two to warm up."""
    for _ in range(2):
        work()
    wait(device)
    before = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(device)
    return (time.perf_counter() - before) / repeats


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, size: int) -> float:
    """Return the rate of a bfloat16 matrix product [FLOP/s]."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * size**3 / seconds(lambda: a @ b, 20, device)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cpu only to try this script")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--matrix", type=int, default=8192, help="size of the matrices")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    rate = matrix_rate(device, arguments.matrix)
    print(f"matrix product, bfloat16: {rate / 1e12:.2f} TFLOP/s")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder, "store"), episodes=100, steps=38, size=128)
        for resident, compiled in ((True, False), (False, False), (True, True)):
            config = from_dict(
                {"batch_size": arguments.batch_size, "bf16": True, "compile": compiled}
            )
            start, replay = start_pretraining(config, [store], [])
            agent = restore_agent(start, device)
            if compiled:
                agent.compile_encoders()
            if resident:
                replay.to_device(device)
            batches = replay.batches(
                device, DistributedContext(), 0 if resident or device.type == "cpu" else 2
            )
            one, _ = next(batches)
            alone = seconds(lambda: agent.update(one), arguments.updates, device)  # noqa: B023
            fed = seconds(lambda: agent.update(next(batches)[0]), arguments.updates, device)  # noqa: B023
            batches.close()
            reached = GFLOP_A_SAMPLE * 1e9 * arguments.batch_size / fed
            frames = "resident" if resident else "mapped"
            how = f"{frames:<9}{'compiled' if compiled else 'eager':<9}"
            print(
                f"{how} {fed * 1e3:8.1f} ms an update, {reached / rate:5.1%} of that rate, "
                f"busy {alone / fed:5.1%}"
            )


if __name__ == "__main__":
    main()
