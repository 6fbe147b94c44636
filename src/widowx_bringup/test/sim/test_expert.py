"""The scripted expert and the noise of its arm."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_rollouts import demonstrate

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.sim.expert import LONGEST_STEP, Disturbance
from widowx_bringup.sim.families.put import TASKS
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.tasks import TARGET_TASK, expert, parse_task, sample_layout
from widowx_bringup.sim.world import World

REQUESTED = np.array([LONGEST_STEP, 0, 0, 0, 0, 0.1, 1.0])


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_solves_every_task_without_noise(world: World, task: str) -> None:
    assert demonstrate(world, task, 0, noise=0.0).success


def test_the_expert_solves_most_scenes_with_noise_and_recovery(world: World) -> None:
    episodes = [demonstrate(world, TARGET_TASK, seed, noise=0.15) for seed in range(20)]
    assert sum(episode.success for episode in episodes) >= 15
    assert np.mean([len(episode) for episode in episodes]) < 35


def test_steps_are_within_the_action_bounds_and_the_gripper_command_is_closed_or_open(
    world: World,
) -> None:
    episode = demonstrate(world, TARGET_TASK, 3, noise=0.15)
    assert (episode.requested >= ACTION_LOW.astype(np.float32)).all()
    assert (episode.requested <= ACTION_HIGH.astype(np.float32)).all()
    assert set(np.unique(episode.requested[:, 6])) == {0.0, 1.0}
    assert np.abs(episode.requested[:, 5]).max() > 0.05  # turns to the cube


def test_the_expert_goes_back_for_an_object_that_was_taken_from_its_fingers(
    world: World,
) -> None:
    layout = sample_layout(TARGET_TASK, 5)
    world.reset(layout)
    task = parse_task(TARGET_TASK)
    act = expert(world, TARGET_TASK)
    control = EefController(SimulatedArm(world), Kinematics())
    address = world.model.joint(task.object).qposadr[0]
    stolen = False
    for _ in range(60):
        control.execute(act(control.state().proprio))
        world.advance(0.2)
        position, _ = world.object_pose(task.object)
        if position[2] > 0.06 and not stolen:
            x, y, yaw = layout.objects[task.object]
            world.data.qpos[address : address + 7] = [
                x,
                y,
                0.02,
                np.cos(yaw / 2),
                0,
                0,
                np.sin(yaw / 2),
            ]
            world.data.qvel[:] = 0
            stolen = True
        if world.success():
            break
    assert stolen
    assert world.success()


# --- noise ----------------------------------------------------------------------------------


def test_without_noise_every_action_is_executed_as_requested() -> None:
    disturb = Disturbance(np.random.default_rng(0), noise=0.0, burst=1.0)
    for _ in range(20):
        np.testing.assert_array_equal(disturb(REQUESTED), REQUESTED)


def test_noise_has_the_std_asked_for_and_less_for_short_steps() -> None:
    disturb = Disturbance(np.random.default_rng(0), noise=0.1, burst=0.0)
    requested = REQUESTED / 2  # far from the bounds
    still = np.array([0, 0, 0, 0, 0, 0, 1.0])
    moving = np.array([disturb(requested) for _ in range(2000)]) - requested
    resting = np.array([disturb(still) for _ in range(2000)]) - still
    std = 0.1 * LONGEST_STEP
    np.testing.assert_allclose(moving[:, :3].std(axis=0), (0.25 + 0.75 / 2) * std, rtol=0.1)
    np.testing.assert_allclose(resting[:, :3].std(axis=0), 0.25 * std, rtol=0.1)
    assert (moving[:, [3, 4, 6]] == 0).all()


def test_an_executed_action_is_within_the_bounds() -> None:
    disturb = Disturbance(np.random.default_rng(0), noise=1.0)
    actions = np.array([disturb(REQUESTED) for _ in range(500)])
    assert (actions >= ACTION_LOW).all()
    assert (actions <= ACTION_HIGH).all()


def test_a_burst_repeats_one_random_step_two_to_five_times() -> None:
    disturb = Disturbance(np.random.default_rng(0), noise=0.1, burst=1.0)
    actions = [tuple(disturb(REQUESTED)) for _ in range(400)]
    lengths = []
    for number, action in enumerate(actions):
        if number and action == actions[number - 1]:
            lengths[-1] += 1
        else:
            lengths.append(1)
    assert set(lengths[:-1]) == {2, 3, 4, 5}
    assert 0.5 < np.mean([action[6] == 0.0 for action in actions]) < 0.9
