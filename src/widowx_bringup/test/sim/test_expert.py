from __future__ import annotations

import numpy as np
import pytest

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW
from ptr_training.data.episode import Episode
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.camera.protocol import CameraFeatures, Frame
from widowx_bringup.sim.expert import Disturbance, Expert
from widowx_bringup.sim.rollout import rollout
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.tasks import TARGET_TASK, TASKS, parse_task, sample_layout
from widowx_bringup.sim.world import SimulatorError, World


class NumberedCamera:
    """Pictures that are told apart without drawing anything."""

    def __init__(self, world: World) -> None:
        self.features = CameraFeatures("numbered", 4, 4, 30.0)
        self._world = world
        self._count = 0

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...

    def read_latest(self, max_age: float = 0.2) -> Frame:
        self._count += 1
        return Frame(self._world.time_ns, np.full((4, 4, 3), self._count % 256, np.uint8))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def demonstrate(
    world: World, task: str, seed: int, noise: float, max_steps: int = 60, linger: int = 2
) -> Episode:
    world.reset(sample_layout(task, seed))
    expert = Expert(world, parse_task(task))
    control = EefController(SimulatedArm(world), Kinematics())
    return rollout(
        world,
        control,
        NumberedCamera(world),
        lambda _, proprio: expert.act(proprio),
        disturb=Disturbance(np.random.default_rng(seed), noise),
        max_steps=max_steps,
        linger=linger,
    )


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
    expert = Expert(world, task)
    control = EefController(SimulatedArm(world), Kinematics())
    address = world.model.joint(task.object).qposadr[0]
    stolen = False
    for _ in range(60):
        control.execute(expert.act(control.state().proprio))
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
