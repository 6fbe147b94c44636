"""Random scenes for demonstrations: on the table, apart, and never one that is evaluated."""

from __future__ import annotations

import numpy as np
import pytest

from widowx_bringup.benchmark.scenes import (
    APART,
    NEAR,
    SPREAD,
    is_like,
    random_scene,
    turned,
)
from widowx_bringup.benchmark.tasks import TASKS, BenchmarkError
from widowx_bringup.benchmark.world import Scene

CARROT, EGGPLANT = TASKS[1], TASKS[3]
CORNERS = [(-0.235, -0.075), (-0.235, 0.075), (-0.085, -0.075), (-0.085, 0.075)]
UPRIGHT = np.array([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])


def fixed_scenes() -> list[Scene]:
    """Return scenes on four corners, as those of the carrot."""
    scenes = []
    for first in CORNERS:
        for second in CORNERS:
            if first != second:
                scenes.append(Scene(np.array([[*first, 0.89], [*second, 0.87]]), UPRIGHT))
    return scenes


def test_random_scenes_differ_from_every_evaluated_one() -> None:
    fixed = fixed_scenes()
    for seed in range(200):
        scene = random_scene(CARROT, fixed, np.random.default_rng(seed))
        assert not is_like(scene.positions, fixed)
        assert np.linalg.norm(scene.positions[0, :2] - scene.positions[1, :2]) > 0.9 * APART
        assert np.abs(scene.positions[:, :2] - [-0.16, 0.0]).max() <= SPREAD
        assert scene.positions[:, 2].tolist() == [0.89, 0.87]


def test_a_scene_is_alike_only_if_both_objects_stand_there() -> None:
    fixed = fixed_scenes()
    positions = fixed[5].positions.copy()
    positions[0, 0] += 0.9 * NEAR
    assert is_like(positions, fixed)
    positions[0, 0] += 0.2 * NEAR
    assert not is_like(positions, fixed)


def test_the_same_seed_gives_the_same_scene() -> None:
    first, second = (
        random_scene(CARROT, fixed_scenes(), np.random.default_rng(3)) for _ in range(2)
    )
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.quaternions, second.quaternions)


def test_a_turn_is_about_the_vertical() -> None:
    quarter = turned(np.array([1.0, 0, 0, 0]), np.pi / 2)
    assert quarter == pytest.approx([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    assert np.linalg.norm(turned(np.array([0.5, 0.5, 0.5, 0.5]), 1.0)) == pytest.approx(1.0)


def test_a_task_of_another_kind_has_no_random_scenes() -> None:
    with pytest.raises(BenchmarkError, match="collect spoon, carrot, cubes"):
        random_scene(EGGPLANT, fixed_scenes(), np.random.default_rng(0))
