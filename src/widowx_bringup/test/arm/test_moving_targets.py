"""The speed limit of an arm that moves when the next target comes, at any rate of commands."""

from __future__ import annotations

import numpy as np
import pytest
from arm_strategies import LIMITS, PERIOD_NS, passed, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, pose_from_proprio
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.limits import limit_joints
from widowx_bringup.arm.refusal import Kind, StepResult
from widowx_bringup.arm.step_budget import CAPACITY, StepBudget
from widowx_bringup.arm.trapezoidal_profile import SetPoints, TrapezoidalProfile
from widowx_bringup.sim.simulated_devices import SimulatedArm
from widowx_bringup.sim.world import World

KINEMATICS = Kinematics()
PROFILE_SPEED = 0.9 * np.pi  # largest speed of a set-point [rad/s]
INSTANT = 0.005  # between two looks at the set-points [s]


def make_profile() -> TrapezoidalProfile:
    times = (LIMITS.profile_time, LIMITS.profile_acceleration_time)
    return TrapezoidalProfile(np.zeros(6), *times)


requests = st.tuples(
    arrays.arrays(float, 6, elements=st.sampled_from([-3.0, -0.4, 0.0, 0.4, 3.0])),
    st.integers(1, 60),
)
"""A target (6,) [rad] and the instants until the next one."""


@settings(max_examples=30)
@given(st.lists(requests, min_size=2, max_size=6))
def test_no_set_point_is_faster_than_the_limit_whenever_targets_come(
    sequence: list[tuple[np.ndarray, int]],
) -> None:
    profile = make_profile()
    before = profile.set_points
    for target, pause in sequence:
        limited = passed(limit_joints(target, before.positions, LIMITS, before))
        profile.plan(limited.value)
        for _ in range(pause):
            profile.advance(1, INSTANT)
            present = profile.set_points
            assert np.abs(present.velocities).max() <= PROFILE_SPEED + 1e-9
            acceleration = np.abs(present.velocities - before.velocities) / INSTANT
            assert acceleration.max() <= PROFILE_SPEED / 0.1 + 1e-6
            before = present


def test_a_moving_arm_may_always_be_sent_to_where_it_would_come_to_rest() -> None:
    present = SetPoints(np.zeros(6), np.array([PROFILE_SPEED, 0, 0, 0, 0, 0]))
    resting = present.velocities * LIMITS.profile_acceleration_time / 2
    result = passed(limit_joints(resting, np.zeros(6), LIMITS, present))
    assert result.clipped == ()
    np.testing.assert_allclose(result.value, resting, atol=1e-12)


def test_a_target_behind_a_joint_at_full_speed_first_stops_it() -> None:
    present = SetPoints(np.zeros(6), np.array([PROFILE_SPEED, 0, 0, 0, 0, 0]))
    result = passed(limit_joints(np.full(6, -0.1), np.zeros(6), LIMITS, present))
    assert result.clipped == (Kind.JOINT_SPEED,)
    assert result.value[0] == pytest.approx(PROFILE_SPEED * 0.05)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("instants", [1, 4, 40])
def test_a_joint_sent_to_the_end_of_its_range_again_and_again_stays_inside(
    sign: float, instants: int
) -> None:
    profile = make_profile()
    end = (LIMITS.joint_high if sign > 0 else LIMITS.joint_low)[1]
    furthest = 0.0
    for _ in range(400 // instants):
        present = profile.set_points
        target = np.full(6, sign * 3.0)
        limited = passed(limit_joints(target, present.positions, LIMITS, present))
        profile.plan(limited.value)
        furthest = max(furthest, (sign * profile.advance(instants, INSTANT)[:, 1]).max())
    assert furthest == pytest.approx(abs(end), abs=1e-3)
    assert furthest <= abs(end) + 1e-9


def test_joints_far_from_where_their_servos_were_sent_are_refused() -> None:
    present = SetPoints(np.array([0, 0, 1.0, 0, 0, 0]), np.zeros(6))
    refusal = refused(limit_joints(np.zeros(6), np.zeros(6), LIMITS, present))
    assert refusal.kind is Kind.READING
    expected = "joint 2 is at 0.00 rad, but its servo was sent to 1.00 rad"
    assert refusal.text.startswith(expected)


# --- in simulation --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def place(world: World, y: float) -> EefController:
    """Put the arm above the table, and return a controller of it."""
    pose = pose_from_proprio(np.array([0.3, y, 0.15, 0, 0, 0]))
    joints = KINEMATICS.inverse(pose, np.array([0, 0, 0.2, 0, 1.37, 0]))
    assert isinstance(joints, np.ndarray)
    world.place_arm(joints)
    return EefController(SimulatedArm(world), KINEMATICS)


def fastest_joint(world: World, seconds: float) -> float:
    """Simulate some time, and return the largest speed of a joint in it [rad/s]."""
    speeds = []
    for _ in range(round(seconds / 0.002)):
        world.advance(0.002)
        speeds.append(np.abs(world.joint_velocities).max())
    return max(speeds)


@pytest.mark.parametrize("period", [0.2, 0.1])
def test_alternating_longest_steps_stay_below_the_speed_limit(
    world: World, period: float
) -> None:
    signs = np.array([1, 1, 1, 1, -1, 1])
    control = place(world, 0.0)
    clipped: set[Kind] = set()
    for number in range(12):
        step = np.append((ACTION_HIGH if number % 2 else ACTION_LOW)[:6] * signs, 1.0)
        clipped.update(control.execute(step).clipped)
        assert fastest_joint(world, period) <= LIMITS.joint_speed
    assert Kind.JOINT_SPEED in clipped or Kind.COMMAND_RATE in clipped


def distance_moved(world: World, period: float, seconds: float) -> float:
    """Command the longest step to the side in each period, and return the distance [m]."""
    control = place(world, -0.2)
    start = world.eef_pose()[:3, 3]
    for _ in range(round(seconds / period)):
        control.execute(np.array([0, 0.05, 0, 0, 0, 0, 1.0]))
        world.advance(period)
    return float(np.linalg.norm(world.eef_pose()[:3, 3] - start))


@pytest.mark.parametrize("period", [0.05, 0.01])
def test_faster_commands_move_the_arm_no_faster(world: World, period: float) -> None:
    at_control_rate = distance_moved(world, 0.2, 1.0)
    assert distance_moved(world, period, 1.0) == pytest.approx(at_control_rate, rel=0.1)


# --- the budget of steps --------------------------------------------------------------------


def test_longest_steps_pass_whole_at_the_control_rate_also_one_that_is_early() -> None:
    budget = StepBudget()
    for stamp in (0, PERIOD_NS, 2 * PERIOD_NS - 20_000_000, 3 * PERIOD_NS):
        limited = budget.limit(ACTION_HIGH, stamp)
        assert limited.clipped == ()
        budget.spend(limited.value)


def test_a_step_beyond_the_budget_is_shortened_and_its_gripper_is_kept() -> None:
    budget = StepBudget()
    budget.spend(budget.limit(ACTION_HIGH, 0).value)
    limited = budget.limit(ACTION_HIGH, PERIOD_NS // 4)
    assert limited.clipped == (Kind.COMMAND_RATE,)
    share = CAPACITY - 1 + 0.25
    np.testing.assert_allclose(limited.value[:6], share * ACTION_HIGH[:6], rtol=1e-6)
    assert limited.value[6] == ACTION_HIGH[6]


def test_time_that_goes_back_earns_no_step() -> None:
    budget = StepBudget()
    budget.spend(budget.limit(ACTION_HIGH, PERIOD_NS).value)
    limited = budget.limit(ACTION_HIGH, 0)
    np.testing.assert_allclose(limited.value[:6], 0.1 * ACTION_HIGH[:6], rtol=1e-6)


def test_a_step_that_was_not_sent_costs_nothing() -> None:
    budget = StepBudget()
    for _ in range(3):
        assert budget.limit(ACTION_HIGH, 0).clipped == ()


def test_a_reset_does_not_fill_the_budget(world: World) -> None:
    control = place(world, 0.0)
    results: list[StepResult] = []
    for _ in range(3):
        results.append(control.execute(np.array([0, 0.05, 0, 0, 0, 0, 1.0])))
        control.reset()
    assert results[0].clipped == ()
    assert Kind.COMMAND_RATE in results[1].clipped
