"""Scenarios 1 and 3 of the paper in simulation: what is new in them, and their demonstrator."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scripted_rollouts import demonstrate

from widowx_bringup.sim.families import kitchen, put, retarget, sort
from widowx_bringup.sim.families.sampling import CLEARANCE
from widowx_bringup.sim.tasks import FAMILIES, TASKS, parse_task, sample_layout
from widowx_bringup.sim.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("name", [retarget.TARGET_TASK, *kitchen.TASKS])
def test_the_demonstrator_solves_every_target_task(world: World, name: str) -> None:
    longest = parse_task(name).demonstration_steps
    assert demonstrate(world, name, 0, noise=0.0, max_steps=longest).success


def test_a_retargeted_task_has_the_object_of_a_prior_task_and_a_container_of_none() -> None:
    for name, prior in retarget.EXISTING.items():
        task, existing = retarget.TASKS[name], put.TASKS[prior]
        assert prior in put.PRIOR_TASKS
        assert task.object == existing.object
        assert task.container not in put.CONTAINERS
        containers = sample_layout(name, 3).containers
        assert {task.container, existing.container} <= set(containers)


def test_the_kitchen_shares_no_object_and_no_container_with_another_family() -> None:
    others = {*put.OBJECTS, *put.CONTAINERS, *sort.OBJECTS, *sort.CONTAINERS}
    assert not {*kitchen.OBJECTS, *kitchen.CONTAINERS} & others
    assert len(kitchen.TASKS) == 4


def test_the_kitchen_has_two_distractors_that_stand_apart() -> None:
    for name in kitchen.TASKS:
        layout = sample_layout(name, 5)
        places = np.array([pose[:2] for pose in layout.objects.values()])
        assert len(places) == 3
        assert min(math.dist(a, b) for a, b in combinations(places, 2)) >= CLEARANCE


def test_table_light_and_camera_of_the_kitchen_are_others(world: World) -> None:
    world.reset(sample_layout(put.TARGET_TASK, 0))
    usual = world.model
    world.reset(sample_layout(next(iter(kitchen.TASKS)), 0))
    model = world.model
    assert model is not usual
    assert (model.ntex, usual.ntex) == (1, 0)
    assert not np.allclose(model.light_dir, usual.light_dir)
    assert not np.allclose(model.cam_pos, usual.cam_pos)


def test_furniture_touches_nothing(world: World) -> None:
    world.reset(sample_layout(next(iter(kitchen.TASKS)), 0))
    model = world.model
    for item in kitchen.LOOK.furniture:
        near = np.abs(model.geom_pos - item.place).max(axis=1) < 1e-9
        (geom,) = np.flatnonzero(near & (model.geom_bodyid == 0))
        assert (model.geom_contype[geom], model.geom_conaffinity[geom]) == (0, 0)


def test_no_two_families_have_a_task_of_the_same_name() -> None:
    assert len(TASKS) == sum(len(family.tasks) for family in FAMILIES.values())
