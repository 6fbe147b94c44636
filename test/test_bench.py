"""Every bench starts: what it imports exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = sorted((Path(__file__).parents[1] / "bench").glob("*_bench.py"))


@pytest.mark.parametrize("bench", BENCHES, ids=lambda path: path.stem)
def test_bench_says_what_it_measures(bench: Path) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    command = [sys.executable, str(bench), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
