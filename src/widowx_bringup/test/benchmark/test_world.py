"""The genuine simulator: scenes by episode id, poses, gripper; solved by the demonstrator.

Skipped without ManiSkill, a Vulkan driver, or the assets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ptr_common.action_space import CONTROL_RATE, RELEASED
from ptr_training.data.store import EpisodeStore
from widowx_bringup.benchmark.assets import TaskAssets, assets_folder, check_assets, listed
from widowx_bringup.benchmark.collect import CollectSettings, collect
from widowx_bringup.benchmark.contract import CAMERA
from widowx_bringup.benchmark.demonstrator import SimplerDemonstrator
from widowx_bringup.benchmark.driver import check_driver, missing_modules
from widowx_bringup.benchmark.scenes import is_like, random_scene
from widowx_bringup.benchmark.tasks import SCENES, TASKS, BenchmarkError
from widowx_bringup.benchmark.world import SimplerWorld

CARROT = TASKS[1]
PLACES = (
    Path(__file__).parents[4] / "../shared/data/simpler_assets",
    Path(__file__).parents[4] / "../../shared/data/simpler_assets",
    assets_folder(None),
)


def find_assets() -> Path:
    """Return a folder with the carrot's assets, or skip the test."""
    for folder in PLACES:
        if not check_assets(folder, CARROT).missing:
            return folder
    pytest.skip(f"assets are missing: {listed(check_assets(PLACES[-1], CARROT).missing)}")


@pytest.fixture(scope="module")
def world() -> Iterator[SimplerWorld]:
    if absent := missing_modules():
        pytest.skip(f"not installed: {', '.join(absent)}")
    folder = find_assets()
    try:
        check_driver()
    except BenchmarkError as error:
        pytest.skip(str(error))
    before = dict(os.environ)
    opened = SimplerWorld(CARROT, folder)
    yield opened
    opened.close()
    os.environ.clear()
    os.environ.update(before)


def test_a_scene_is_that_of_its_episode_id(world: SimplerWorld) -> None:
    world.reset(0)
    carrot, plate = world.objects()
    # carrot at (-0.235, -0.075), plate at (-0.235, 0.075) in the world; the base is turned by pi
    assert carrot[:2, 3] == pytest.approx([0.382, 0.103], abs=0.005)
    assert plate[:2, 3] == pytest.approx([0.382, -0.047], abs=0.005)
    world.reset(SCENES - 1)
    assert np.abs(world.objects()[0][:2, 3] - carrot[:2, 3]).max() > 0.1
    world.reset(0)
    assert world.objects()[0] == pytest.approx(carrot, abs=1e-3)
    with pytest.raises(BenchmarkError, match="no scene 24"):
        world.reset(SCENES)


def test_a_scene_does_not_depend_on_where_the_last_episode_left_the_arm(
    world: SimplerWorld,
) -> None:
    world.reset(0)
    expected = world.objects()
    demonstrator = SimplerDemonstrator(world)
    for _ in range(10):  # until the gripper is shut where the carrot will be put
        action = demonstrator.act()
        world.step(action)
        demonstrator.executed(action)
    assert np.linalg.norm(world.proprio[:2] - expected[0][:2, 3]) < 0.02
    world.reset(0)
    for pose, before in zip(world.objects(), expected, strict=True):
        assert pose == pytest.approx(before, abs=1e-3)


def test_the_arm_begins_gripper_down_and_open_in_the_base_frame(
    world: SimplerWorld,
) -> None:
    world.reset(0)
    assert world.proprio[:3] == pytest.approx([0.292, -0.006, 0.135], abs=0.005)
    assert world.proprio[3:6] == pytest.approx(np.zeros(3), abs=0.1)
    assert world.proprio[6] == pytest.approx(1.0, abs=0.05)
    assert world.image.shape == (480, 640, 3)
    assert world.image.std() > 20


def test_the_photograph_stands_behind_the_scene_as_in_maniskill(
    world: SimplerWorld,
) -> None:
    world.reset(3)
    environment = world._environment
    ours = world.image
    environment.rgb_overlay_mode = "background"
    theirs = environment.get_obs()["sensor_data"][CAMERA]["rgb"][0].numpy()
    environment.rgb_overlay_mode = "none"
    assert np.array_equal(ours, theirs)
    assert ours.dtype == np.uint8


def test_an_action_moves_along_the_base_and_closes_the_gripper(world: SimplerWorld) -> None:
    world.reset(0)
    before = world.proprio
    for _ in range(2):
        world.step(np.array([0.04, 0, 0, 0, 0, 0.1, 0.0]))
    for _ in range(2):
        world.step(np.array([0, 0, 0, 0, 0, 0, 0.0]))
    moved = world.proprio - before
    assert moved[:2] == pytest.approx([0.08, 0.0], abs=0.01)
    assert moved[5] == pytest.approx(0.2, abs=0.04)
    assert world.proprio[6] == pytest.approx(0.0, abs=0.05)


def test_the_demonstrator_solves_a_scene_within_the_length_of_the_task(
    world: SimplerWorld,
) -> None:
    world.reset(7)
    demonstrator = SimplerDemonstrator(world)
    for _ in range(CARROT.steps):
        if world.success:
            break
        action = demonstrator.act()
        world.step(action)
        demonstrator.executed(action)
    assert world.success
    assert world.held


def test_demonstrations_become_an_ordinary_store(
    world: SimplerWorld, tmp_path: Path
) -> None:
    settings = CollectSettings(per_task=1, seed=0, noise=0.1, image_size=(48, 64))
    collect([TaskAssets(CARROT, ())], find_assets(), settings, tmp_path / "store")
    store = EpisodeStore.open(tmp_path / "store")
    (episode,) = store
    assert episode.success
    assert episode.task == CARROT.instruction
    assert episode.frames.shape == (len(episode) + 1, 48, 64, 3)
    assert np.diff(episode.stamps_ns) == pytest.approx(1e9 / CONTROL_RATE)
    assert episode.proprio[-1, 6] > RELEASED


def test_no_demonstrated_scene_is_one_of_those_evaluated(world: SimplerWorld) -> None:
    fixed = [world.fixed_scene(scene) for scene in range(SCENES)]
    assert is_like(fixed[7].positions, fixed)
    for seed in range(50):
        scene = random_scene(CARROT, fixed, np.random.default_rng(seed))
        assert not is_like(scene.positions, fixed)
