"""The benchmark as a whole, with a world that stands in for the simulator."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simpler_standin import StandInWorld, write_assets

from widowx_bringup.benchmark.assets import check_assets
from widowx_bringup.benchmark.policies import Contestant
from widowx_bringup.benchmark.rollout import plan, roll_out
from widowx_bringup.benchmark.run import Benchmark, run
from widowx_bringup.benchmark.tasks import TASKS, BenchmarkError
from widowx_bringup.evaluation.results import read_results

CARROT = replace(TASKS[1], steps=3)


class Gripper:
    """Commands the gripper only, one value a step."""

    def __init__(self, *values: float) -> None:
        self._values = values
        self._step = 0

    def reset(self, task: object) -> None:
        """Begin with the first value."""
        self._step = 0

    def act(self, image: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """Return the next value, and 5 cm too much of a step."""
        value = self._values[min(self._step, len(self._values) - 1)]
        self._step += 1
        return np.array([0.1, 0, 0, 0, 0, 0, value])


def contestant(name: str, *values: float, identity: str = "") -> Contestant:
    """Return a policy that commands the gripper."""
    return Contestant(name, identity or name, lambda _: Gripper(*values))


@pytest.fixture
def benchmark(tmp_path: Path) -> Callable[..., Any]:
    """Return a benchmark of two scenes of a short task, without films."""
    found = replace(check_assets(write_assets(tmp_path / "assets", CARROT), CARROT))

    def make(*contestants: Contestant, **changes: Any) -> Benchmark:
        values = {
            "contestants": contestants,
            "tasks": [found],
            "assets": tmp_path / "assets",
            "scenes": 2,
            "out": tmp_path / "out",
            "films": False,
            "open_world": StandInWorld,
        }
        return Benchmark(**values | changes)

    return make


def test_solved_is_what_the_last_step_shows() -> None:
    world = StandInWorld(CARROT, Path())
    row, episode = roll_out(world, Gripper(0.0, 1.0, 0.0), plan("a", "carrot", 3))
    assert (row.success, row.stage, row.steps) == (False, "solved once", 2)
    assert (row.clipped, row.duration) == (3, pytest.approx(0.6))
    row, episode = roll_out(world, Gripper(0.0, 1.0), plan("a", "carrot", 3))
    assert (row.success, row.stage, row.steps) == (True, "solved", 2)
    assert episode.frames.shape == (4, 240, 320, 3)
    assert episode.requested[0, 0] == pytest.approx(0.1)
    assert episode.executed[0, 0] == pytest.approx(0.05)
    row, _ = roll_out(world, Gripper(0.0), plan("a", "carrot", 3))
    assert (row.success, row.stage, row.steps) == (False, "held", 3)


def test_every_policy_gets_the_same_scenes_by_episode_id(
    benchmark: Callable[..., Benchmark], tmp_path: Path
) -> None:
    done = run(benchmark(contestant("good", 1.0), contestant("bad", 0.0)))
    scenes = [(row.method, row.rollout) for row in done.results["carrot"]]
    assert scenes == [("good", 0), ("bad", 0), ("good", 1), ("bad", 1)]
    assert [row.success for row in done.results["carrot"]] == [True, False, True, False]
    out = tmp_path / "out"
    assert (out / "carrot/strips/good_001.jpg").is_file()
    assert (out / "carrot/scenes.jpg").is_file()
    with (out / "table.csv").open() as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    assert (rows["good"]["solved"], rows["bad"]["solved"]) == ("2", "0")
    assert "not all 24 scenes" in (out / "index.html").read_text()
    assert json.loads((out / "table.json").read_text())["cells"][0]["rate"] == 1.0


def test_a_second_run_carries_out_only_what_is_missing(
    benchmark: Callable[..., Benchmark], tmp_path: Path
) -> None:
    worlds = []

    def open_world(task: Any, assets: Path) -> StandInWorld:
        worlds.append(StandInWorld(task, assets))
        return worlds[-1]

    first = benchmark(contestant("a", 1.0), scenes=1, open_world=open_world)
    run(first)
    second = (contestant("a", 1.0), contestant("b", 0.0))
    done = run(benchmark(*second, open_world=open_world))
    assert worlds[1].steps == 3 * CARROT.steps
    rows = read_results(tmp_path / "out/carrot")
    assert rows == done.results["carrot"]
    assert sorted((row.method, row.rollout) for row in rows) == [
        *(("a", 0), ("a", 1), ("b", 0), ("b", 1))
    ]
    run(benchmark(*second, open_world=open_world))
    assert len(worlds) == 2  # nothing was missing


def test_another_policy_of_the_same_name_is_refused(
    benchmark: Callable[..., Benchmark],
) -> None:
    run(benchmark(contestant("a", 1.0), scenes=1))
    with pytest.raises(BenchmarkError, match="another policy 'a'"):
        run(benchmark(contestant("a", 1.0, identity="other")))
    with pytest.raises(BenchmarkError, match="policies of one name: a, a"):
        run(benchmark(contestant("a", 1.0), contestant("a", 0.0)))


def test_assets_that_changed_since_are_refused(
    benchmark: Callable[..., Benchmark],
) -> None:
    whole = benchmark(contestant("a", 1.0), scenes=1)
    run(whole)
    changed = [replace(whole.tasks[0], replaced="the table")]
    with pytest.raises(BenchmarkError, match="another state of the assets 'carrot'"):
        run(benchmark(contestant("a", 1.0), tasks=changed))


def test_a_task_that_was_left_out_is_named_in_the_table(
    benchmark: Callable[..., Benchmark], tmp_path: Path
) -> None:
    absent = check_assets(tmp_path / "assets", TASKS[3])
    whole = benchmark(contestant("a", 1.0))
    done = run(replace(whole, tasks=[*whole.tasks, absent]))
    assert "eggplant: left out" in (tmp_path / "out/index.html").read_text()
    assert list(done.results) == ["carrot"]
