"""The simulated world: scenes, states, time and success."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.protocol import JointTarget
from widowx_bringup.sim.families.put import CONTAINERS, OBJECTS
from widowx_bringup.sim.scene import SimulatorError
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.tasks import TARGET_TASK, parse_task, sample_layout
from widowx_bringup.sim.world import World

TASK = parse_task(TARGET_TASK)
LAYOUT = sample_layout(TARGET_TASK, 1)


@pytest.fixture(scope="module")
def world() -> World:
    return World(epoch_ns=5_000_000_000)


@pytest.fixture
def scene(world: World) -> World:
    world.reset(LAYOUT)
    return world


def put(world: World, position: np.ndarray) -> None:
    """Place the task's object, standing still."""
    index = world.model.joint(TASK.object)
    world.data.qpos[index.qposadr[0] : index.qposadr[0] + 7] = [*position, 1, 0, 0, 0]
    world.data.qvel[index.dofadr[0] : index.dofadr[0] + 6] = 0


def place_on_plate(world: World, height: float = 0.0) -> None:
    container = CONTAINERS[TASK.container]
    lift = container.floor + OBJECTS[TASK.object].half_size[2] + height
    put(world, world.container_position(TASK.container) + np.array([0, 0, lift]))


# --- scene --------------------------------------------------------------------------------


def test_time_starts_at_the_epoch_and_never_goes_back() -> None:
    world = World(epoch_ns=1_000)
    assert world.time_ns == 1_000
    world.advance(0.2)
    world.reset(sample_layout(TARGET_TASK, 0))
    assert world.time_ns == 200_001_000


def test_time_steps_that_do_not_divide_the_physics_add_up(scene: World) -> None:
    start = scene.time_ns
    for _ in range(30):
        scene.advance(1 / 30)
    assert abs(scene.time_ns - start - 1_000_000_000) <= 2_000_000


def test_the_arm_starts_where_the_layout_says_with_the_gripper_down(scene: World) -> None:
    proprio = EefController(SimulatedArm(scene), Kinematics()).state().proprio
    x, y, z, yaw = LAYOUT.start
    np.testing.assert_allclose(proprio[:6], [x, y, z, 0, 0, yaw], atol=1e-3)


def test_objects_of_the_layout_stay_put_and_the_others_are_parked_below_the_table(
    scene: World,
) -> None:
    scene.advance(1.0)
    for name in OBJECTS:
        position, _ = scene.object_pose(name)
        if name in LAYOUT.objects:
            np.testing.assert_allclose(position[:2], LAYOUT.objects[name][:2], atol=2e-3)
            assert position[2] == pytest.approx(OBJECTS[name].half_size[2], abs=2e-3)
        else:
            assert position[2] == -0.5


def test_parked_objects_are_asleep_and_cost_nothing(scene: World) -> None:
    scene.advance(0.2)
    parked = len(OBJECTS) - len(LAYOUT.objects)
    assert (scene.data.tree_asleep >= 0).sum() >= parked


def test_a_scene_is_the_same_after_other_scenes(world: World) -> None:
    layout = sample_layout(TARGET_TASK, 4)

    def run() -> np.ndarray:
        world.reset(layout)
        control = EefController(SimulatedArm(world), Kinematics())
        for _ in range(5):
            control.execute(np.array([0.01, 0, -0.03, 0, 0, 0, 0.0]))
            world.advance(0.2)
        return world.state()

    first = run()
    world.reset(sample_layout("put the red cube in the grey tray", 9))
    world.advance(1.0)
    np.testing.assert_array_equal(run(), first)


def test_a_state_describes_the_scene_to_another_world(scene: World) -> None:
    scene.advance(0.3)
    other = World()
    other.set_state(scene.state())
    np.testing.assert_array_equal(other.state(), scene.state())
    for name in OBJECTS:
        np.testing.assert_array_equal(
            other.object_pose(name)[0], scene.object_pose(name)[0]
        )
    np.testing.assert_array_equal(other.joints, scene.joints)


@pytest.mark.parametrize("state", [np.zeros(3), np.full(56, np.nan)])
def test_a_state_of_another_model_is_refused(world: World, state: np.ndarray) -> None:
    with pytest.raises(SimulatorError, match="world state of the family"):
        world.set_state(state)


def test_a_layout_with_an_unknown_object_is_refused(world: World) -> None:
    strange = replace(LAYOUT, objects={"pink cone": (0.3, 0.0, 0.0)})
    with pytest.raises(SimulatorError, match=r"pink cone.*red cube"):
        world.reset(strange)


def test_an_unreachable_start_is_refused(world: World) -> None:
    with pytest.raises(SimulatorError, match="cannot start at"):
        world.reset(replace(LAYOUT, start=(0.9, 0.0, 0.2, 0.0)))


# --- success ------------------------------------------------------------------------------


def test_a_fresh_scene_is_not_solved(scene: World) -> None:
    scene.advance(0.6)
    assert not scene.success()


def test_an_object_resting_on_the_plate_is_success_once_it_is_stable(scene: World) -> None:
    place_on_plate(scene)
    scene.advance(0.1)
    assert not scene.success()
    scene.advance(0.4)
    scene.advance(0.2)
    assert scene.success()


def test_an_object_above_the_plate_is_not_success(scene: World) -> None:
    place_on_plate(scene, height=0.05)
    scene.advance(0.02)
    assert not scene.success()


def test_an_object_beside_the_plate_is_not_success(scene: World) -> None:
    place_on_plate(scene)
    position, _ = scene.object_pose(TASK.object)
    put(scene, position + np.array([0, -0.12, 0]))
    for _ in range(4):
        scene.advance(0.2)
    assert not scene.success()


def test_the_distractor_on_the_plate_is_not_success(scene: World) -> None:
    distractor = next(name for name in LAYOUT.objects if name != TASK.object)
    index = scene.model.joint(distractor).qposadr[0]
    scene.data.qpos[index : index + 3] = scene.container_position(
        TASK.container
    ) + np.array([0, 0, 0.03])
    for _ in range(4):
        scene.advance(0.2)
    assert not scene.success()


def test_an_object_on_the_plate_under_a_closed_gripper_is_not_released(
    scene: World,
) -> None:
    place_on_plate(scene)
    SimulatedArm(scene).send(JointTarget(scene.joints, 0.0))
    for _ in range(8):
        scene.advance(0.2)
    assert not scene.success()


def test_success_ends_when_the_object_is_taken_away(scene: World) -> None:
    place_on_plate(scene)
    for _ in range(3):
        scene.advance(0.2)
    assert scene.success()
    put(scene, np.array([0.28, 0.0, 0.02]))
    scene.advance(0.2)
    assert not scene.success()
