"""Rollouts: observations and steps of an episode, its length and its outcome."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_rollouts import NumberedCamera, demonstrate

from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.sim.rollout import rollout
from widowx_bringup.sim.scene import SimulatorError
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.tasks import TARGET_TASK, sample_layout
from widowx_bringup.sim.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_rollout_keeps_observations_and_steps_in_step(world: World) -> None:
    episode = demonstrate(world, TARGET_TASK, 2, noise=0.0)
    T = len(episode)
    assert episode.frames.shape == (T + 1, 4, 4, 3)
    assert episode.proprio.shape == (T + 1, 7)
    assert episode.executed.shape == (T, 7)
    assert (np.diff(episode.stamps_ns) == 200_000_000).all()
    assert episode.frames[:, 0, 0, 0].tolist() == list(range(1, T + 2))
    assert (episode.task, episode.seed, episode.outcome) == (TARGET_TASK, 2, "success")


def test_the_last_transitions_of_a_success_end_in_solved_scenes(world: World) -> None:
    short = demonstrate(world, TARGET_TASK, 2, noise=0.0, linger=0)
    assert len(demonstrate(world, TARGET_TASK, 2, noise=0.0, linger=2)) == len(short) + 2


def test_a_rollout_that_runs_out_of_steps_is_a_failure(world: World) -> None:
    episode = demonstrate(world, TARGET_TASK, 2, noise=0.0, max_steps=5)
    assert len(episode) == 5
    assert episode.outcome == "failure"


def test_a_rollout_needs_a_scene() -> None:
    world = World()
    control = EefController(SimulatedArm(world), Kinematics())
    with pytest.raises(SimulatorError, match=r"World\.reset"):
        rollout(
            world,
            control,
            NumberedCamera(world),
            lambda image, proprio: np.zeros(7),
            max_steps=3,
        )


def test_images_are_resized_before_the_policy_sees_them(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 2))
    seen = []

    def act(image: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        seen.append(image.shape)
        return np.array([0, 0, 0, 0, 0, 0, 1.0])

    episode = rollout(
        world,
        EefController(SimulatedArm(world), Kinematics()),
        NumberedCamera(world),
        act,
        max_steps=2,
        image_size=(2, 3),
    )
    assert seen == [(2, 3, 3)] * 2
    assert episode.frames.shape == (3, 2, 3, 3)


def test_the_disturbance_changes_the_executed_action_and_not_the_requested_one(
    world: World,
) -> None:
    world.reset(sample_layout(TARGET_TASK, 2))
    requested = np.array([0.01, 0, 0, 0, 0, 0, 1.0], np.float32)
    episode = rollout(
        world,
        EefController(SimulatedArm(world), Kinematics()),
        NumberedCamera(world),
        lambda image, proprio: requested,
        disturb=lambda action: -action * [1, 1, 1, 1, 1, 1, -1],
        max_steps=3,
    )
    np.testing.assert_array_equal(episode.requested, np.tile(requested, (3, 1)))
    assert (episode.executed[:, 0] < 0).all()
