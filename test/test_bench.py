"""Every bench starts: what it imports exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHES = sorted((Path(__file__).parents[1] / "bench").glob("*_bench.py"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a GPU")
def test_bench_of_the_gpu_without_one_measures_nothing() -> None:
    bench = next(path for path in BENCHES if path.stem == "gpu_bench")
    done = subprocess.run([sys.executable, str(bench)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no GPU: not measured\n")


@pytest.mark.parametrize("bench", BENCHES, ids=lambda path: path.stem)
def test_bench_says_what_it_measures(bench: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    command = [sys.executable, str(bench), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
