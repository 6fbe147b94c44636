"""A second computer: robot and peer in two network namespaces of `bench/network_bench.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "network_bench.py"
NOT_PERMITTED = 77


@pytest.fixture(scope="module")
def sights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the peers reached, by the name of the case."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    file = tmp_path_factory.mktemp("network") / "sights.json"
    arguments = ["--seconds", "0", "--silence", "2", "--jobs", "5", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, str(BENCH), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NOT_PERMITTED:
        pytest.skip(done.stderr.strip())
    assert file.exists(), done.stderr
    found: dict[str, Any] = json.loads(file.read_text())["sights"]
    return found


@pytest.mark.parametrize(
    "case",
    [
        "robot with our profile, default peer",
        "robot with our profile, default peer beside it",
        "default robot, peer with our profile",
        "simulation, LOCALHOST peer beside it",
    ],
)
def test_a_peer_lists_echoes_and_calls(sights: dict[str, Any], case: str) -> None:
    sight = sights[case]
    assert sight["nodes"] == ["robot"]
    assert sight["states"]
    assert sight["images"]
    assert sight["held"]


def test_a_simulation_does_not_answer_another_computer_that_names_its_own(
    sights: dict[str, Any],
) -> None:
    sight = sights["simulation, peer that names its computer"]
    assert (sight["nodes"], sight["states"], sight["images"]) == ([], 0, 0)
    assert not sight["held"]
