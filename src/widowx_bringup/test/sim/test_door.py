"""Doors: what counts as open, how they differ, and how the demonstrator opens them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scripted_rollouts import demonstrate

from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.sim import rendering
from widowx_bringup.sim.demonstrations import Demonstrator, Settings
from widowx_bringup.sim.families.door import FAMILIES, LABEL, PRIOR_TASKS, TARGET_TASK
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.tasks import expert, sample_layout
from widowx_bringup.sim.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def turn(world: World, degrees: float) -> None:
    """Put the microwave's door at an angle, and let 0.6 s pass."""
    world.data.joint("microwave").qpos[0] = math.radians(degrees)
    for _ in range(3):
        world.advance(0.2)


def test_a_door_is_open_from_45_degrees_on_and_its_score_is_the_share(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 0))
    turn(world, 0.0)
    assert (world.score(), world.success()) == (pytest.approx(0.0, abs=1e-3), False)
    turn(world, 30.0)
    assert world.score() == pytest.approx(2 / 3, abs=0.02)
    assert not world.success()
    turn(world, 46.0)
    assert (world.score(), world.success()) == (1.0, True)


def test_a_door_stays_where_it_is_left(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 0))
    turn(world, 20.0)
    world.advance(2.0)
    assert math.degrees(world.hinge_angle("microwave")) == pytest.approx(20.0, abs=0.5)


@pytest.mark.parametrize("name", [*PRIOR_TASKS, TARGET_TASK])
def test_the_demonstrator_opens_every_door(world: World, name: str) -> None:
    assert demonstrate(world, name, 1, noise=0.0, max_steps=60).success


def test_it_pulls_the_handle_lets_go_and_pushes_the_door_from_inside(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 1))
    act = expert(world, TARGET_TASK)
    control = EefController(SimulatedArm(world), Kinematics())
    angles, depths = [0.0], []
    for _ in range(40):
        before = control.state().proprio
        control.execute(act(before))
        world.advance(0.2)
        angles.append(math.degrees(world.hinge_angle("microwave")))
        if angles[-1] > angles[-2] + 1.0:
            door = FAMILIES[-1].door
            hinge = world.container_position(door.name)[:2]
            hinge[1] += door.side * door.width / 2
            _, outward = door.axes(math.radians(angles[-2]))
            depths.append(float((before[:2] - hinge) @ outward))
    assert depths[0] > 0.01  # in front of the panel: it pulls
    assert depths[-1] < -0.005  # behind it: it pushes
    assert max(angles) > 45.0


def test_no_two_doors_look_alike_and_the_held_out_one_has_another_scene() -> None:
    doors = [family.door for family in FAMILIES]
    assert len(doors) == 13
    assert len({door.rgb for door in doors}) == 13
    assert len({(d.width, d.height, d.side, d.handle_radius) for d in doors}) > 10
    prior = {family.look for family in FAMILIES[:-1]}
    assert len(prior) == 4
    assert FAMILIES[-1].look not in prior


def test_the_episodes_of_all_prior_doors_share_one_name() -> None:
    try:
        rendering.choose_backend()
    except RenderingError as error:
        pytest.skip(str(error))
    demonstrator = Demonstrator(Settings(0, 0.0, (48, 64), (32, 32)))
    tasks = [demonstrator.demonstrate(name, 0).episode.task for name in PRIOR_TASKS[:2]]
    assert tasks == [LABEL, LABEL]
    assert demonstrator.demonstrate(TARGET_TASK, 0).episode.task == TARGET_TASK


def test_another_world_has_the_angle_of_the_door_from_the_state_alone(world: World) -> None:
    world.reset(sample_layout(TARGET_TASK, 2))
    turn(world, 33.0)
    other = World()
    other.set_state(world.state(), world.family)
    np.testing.assert_array_equal(other.state(), world.state())
    assert other.hinge_angle("microwave") == world.hinge_angle("microwave")
