"""Arm and camera of the simulated world behind the protocols of real devices."""

from __future__ import annotations

import numpy as np
import pytest

from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import Arm, JointTarget
from widowx_bringup.camera.protocol import Camera
from widowx_bringup.sim import rendering
from widowx_bringup.sim.rendering import RenderingError
from widowx_bringup.sim.simulated_devices import SimulatedArm, SimulatedCamera
from widowx_bringup.sim.tasks import TARGET_TASK, sample_layout
from widowx_bringup.sim.world import World

LAYOUT = sample_layout(TARGET_TASK, 1)


@pytest.fixture(scope="module")
def world() -> World:
    return World(epoch_ns=5_000_000_000)


@pytest.fixture
def scene(world: World) -> World:
    world.reset(LAYOUT)
    return world


def test_the_simulated_arm_reaches_a_target_within_a_control_period_or_two(
    scene: World,
) -> None:
    arm: Arm = SimulatedArm(scene)
    start = arm.read().positions
    target = start + np.array([0.1, -0.05, 0.1, 0.0, -0.1, 0.2])
    arm.send(JointTarget(target, 1.0))
    scene.advance(0.6)
    np.testing.assert_allclose(arm.read().positions, target, atol=0.01)


def test_hold_stops_the_arm_on_its_way(scene: World) -> None:
    arm = SimulatedArm(scene)
    arm.send(JointTarget(arm.read().positions + np.array([0.4, 0, 0, 0, 0, 0]), 1.0))
    scene.advance(0.12)
    arm.hold()
    held = arm.read().positions
    scene.advance(0.5)
    assert np.abs(arm.read().positions - held).max() < 0.05
    assert np.abs(arm.read().velocities).max() < 0.01


def test_the_empty_gripper_reads_a_fifth_when_closed_and_one_when_open(
    scene: World,
) -> None:
    arm = SimulatedArm(scene)
    assert arm.read().gripper == pytest.approx(1.0, abs=0.02)
    arm.send(JointTarget(arm.read().positions, 0.0))
    scene.advance(1.5)
    assert arm.read().gripper == pytest.approx(0.2, abs=0.03)


def test_the_gripper_needs_a_realistic_time_to_close(scene: World) -> None:
    arm = SimulatedArm(scene)
    arm.send(JointTarget(arm.read().positions, 0.0))
    scene.advance(0.1)
    assert arm.read().gripper > 0.6


def test_ten_full_steps_sideways_follow_the_commanded_path(scene: World) -> None:
    control = EefController(SimulatedArm(scene), Kinematics(), Limits())
    for _ in range(5):
        control.execute(np.array([0, 0.02, 0, 0, 0, 0, 1.0]))
        scene.advance(0.2)
    target = control.target
    assert target is not None
    lag = np.linalg.norm(control.state().T_base_eef[:3, 3] - target[:3, 3])
    assert lag < 0.01


def test_the_camera_stamps_its_image_with_simulated_time(scene: World) -> None:
    try:
        rendering.choose_backend()
    except RenderingError as error:
        pytest.skip(str(error))
    camera: Camera = SimulatedCamera(scene, "over_shoulder", 64, 48, rate=30.0)
    camera.connect()
    frame = camera.read_latest()
    assert frame.stamp_ns == scene.time_ns
    assert frame.image.shape == (camera.features.height, camera.features.width, 3)
