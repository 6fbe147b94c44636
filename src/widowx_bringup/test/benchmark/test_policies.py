"""Bundles in the benchmark: checked before anything runs, and acting on the whole image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_bundle

from ptr_policy_node.bundle import BundleError
from widowx_bringup.benchmark.policies import BundlePolicy, bundle_contestant
from widowx_bringup.benchmark.tasks import TASKS, BenchmarkError

CARROT = TASKS[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows the carrot's task by the benchmark's words and one other."""
    path = tmp_path_factory.mktemp("bundles") / "toy"
    info = replace(toy_bundle.INFO, tasks=("Put carrot on plate", "stir"))
    toy_bundle.write(path, info)
    return path


def test_a_bundle_that_knows_the_instruction_is_taken(bundle: Path) -> None:
    contestant = bundle_contestant("toy", bundle, [CARROT], {})
    assert contestant.name == "toy"
    assert len(contestant.identity) == 64


def test_a_bundle_without_the_task_says_what_it_has_and_how_to_choose(bundle: Path) -> None:
    with pytest.raises(BenchmarkError) as refused:
        bundle_contestant("toy", bundle, [TASKS[0]], {})
    said = str(refused.value)
    assert "has no task 'put the spoon on the towel'" in said
    assert "'Put carrot on plate', 'stir'" in said
    assert "--task-name spoon='…'" in said
    bundle_contestant("toy", bundle, [TASKS[0]], {"spoon": "stir"})


def test_a_bundle_of_another_rate_is_refused(tmp_path: Path) -> None:
    toy_bundle.write(tmp_path / "fast", replace(toy_bundle.INFO, rate=10.0))
    with pytest.raises(BenchmarkError, match=r"acts at 10 Hz.* at 5 Hz"):
        bundle_contestant("fast", tmp_path / "fast", [CARROT], {"carrot": "a"})


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        bundle_contestant("none", tmp_path, [CARROT], {})


def test_a_bundle_acts_on_the_image_in_the_size_of_its_camera(bundle: Path) -> None:
    policy = BundlePolicy(bundle, {"carrot": "stir"})
    policy.reset(CARROT)
    image = np.full((480, 640, 3), 102, np.uint8)
    proprio = np.arange(7.0)
    # the toy acts by gain times proprioception, brightness and task id
    expected = 0.01 * proprio + 0.01 * (102 / 255 + 1)
    assert policy.act(image, proprio) == pytest.approx(expected, abs=1e-5)
