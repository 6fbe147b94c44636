"""Bin sorting: what its prior scenes hold, what counts as sorted, and its demonstrator."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_rollouts import demonstrate

from widowx_bringup.sim.families.sort import (
    CONTAINERS,
    OBJECTS,
    PRIOR_OBJECTS,
    PRIOR_TASKS,
    TARGET,
    TARGET_OBJECTS,
    TASKS,
    TEN_OBJECTS_TASKS,
)
from widowx_bringup.sim.scene import SimulatorError
from widowx_bringup.sim.tasks import parse_tasks, sample_layout
from widowx_bringup.sim.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def put(world: World, item: str, container: str) -> None:
    """Place an object in the middle of a bin, standing still."""
    index = world.model.joint(item)
    place = world.container_position(container)
    place[2] = CONTAINERS[container].floor + OBJECTS[item].half_size[2]
    world.data.qpos[index.qposadr[0] : index.qposadr[0] + 7] = [*place, 1, 0, 0, 0]
    world.data.qvel[index.dofadr[0] : index.dofadr[0] + 6] = 0


def settle(world: World) -> None:
    for _ in range(4):
        world.advance(0.2)


@pytest.mark.parametrize(
    ("group", "tasks", "objects"),
    [
        ("sorting", PRIOR_TASKS, [*PRIOR_OBJECTS, *TARGET_OBJECTS]),
        ("sorting-ten", TEN_OBJECTS_TASKS, PRIOR_OBJECTS),
    ],
)
def test_prior_tasks_put_each_object_into_either_bin(
    group: str, tasks: tuple[str, ...], objects: list[str]
) -> None:
    assert parse_tasks([group]) == list(tasks)
    moves = {TASKS[name].moves for name in tasks}
    assert moves == {((item, where),) for item in objects for where in CONTAINERS}
    assert len(tasks) == 2 * len(objects)


@pytest.mark.parametrize("name", TASKS)
def test_the_target_objects_meet_in_the_scenes_of_the_target_tasks_only(name: str) -> None:
    for seed in range(20):
        objects = set(sample_layout(name, seed).objects)
        assert len(objects) == 2
        assert {item for item, _ in TASKS[name].moves} <= objects
        assert (objects == set(TARGET_OBJECTS)) == (len(TASKS[name].moves) == 2)
        if name in TEN_OBJECTS_TASKS:
            assert objects <= set(PRIOR_OBJECTS)


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_stands_where_a_layout_puts_it(world: World, name: str) -> None:
    layout = sample_layout(f"put the {name} in the left bin", 1)
    world.reset(layout)
    world.advance(1.0)
    position, _ = world.object_pose(name)
    np.testing.assert_allclose(position[:2], layout.objects[name][:2], atol=3e-3)
    assert position[2] == pytest.approx(OBJECTS[name].half_size[2], abs=3e-3)


def test_the_task_is_solved_only_once_both_objects_are_in_their_own_bins(
    world: World,
) -> None:
    world.reset(sample_layout(TARGET.name, 0))
    settle(world)
    assert (world.score(), world.success()) == (0.0, False)
    put(world, "cylinder", "left bin")
    settle(world)
    assert (world.score(), world.success()) == (0.5, False)
    put(world, "teapot", "right bin")
    settle(world)
    assert (world.score(), world.success()) == (1.0, True)


def test_an_object_in_the_bin_of_the_other_one_counts_for_nothing(world: World) -> None:
    world.reset(sample_layout(TARGET.name, 0))
    put(world, "cylinder", "right bin")
    put(world, "teapot", "left bin")
    settle(world)
    assert (world.score(), world.success()) == (0.0, False)


def test_the_demonstrator_sorts_both_objects_one_after_the_other(world: World) -> None:
    episode = demonstrate(world, TARGET.name, 3, noise=0.0, max_steps=150)
    assert episode.success
    gripper = episode.requested[:, 6]
    closings = np.flatnonzero((gripper[1:] == 0) & (gripper[:-1] == 1))
    assert len(closings) == 2
    assert closings[1] - closings[0] > 20
    assert world.score() == 1.0


@pytest.mark.parametrize("name", PRIOR_TASKS[::2])
def test_the_demonstrator_solves_the_prior_tasks(world: World, name: str) -> None:
    assert demonstrate(world, name, 1, noise=0.0, max_steps=80).success


def test_a_world_goes_from_family_to_family_and_back_to_the_same_scene(
    world: World,
) -> None:
    other = World()
    for name in ("put the red cube on the white plate", TARGET.name):
        world.reset(sample_layout(name, 2))
        world.advance(0.3)
        other.set_state(world.state(), world.family)
        np.testing.assert_array_equal(other.state(), world.state())


def test_a_state_of_an_unknown_family_is_refused(world: World) -> None:
    with pytest.raises(
        SimulatorError, match=r"no family of tasks .fold.; it has put, sort, "
    ):
        world.set_state(np.zeros(3), "fold")
