"""Actions, proprioception and images of the benchmark: each trap that gives 0 % elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, DEFAULT_ROTATION, pose
from ptr_common.rotation import rotation_from_rpy
from widowx_bringup.benchmark.contract import (
    bounded,
    check_rate,
    pose_of,
    to_camera,
    to_proprio,
    to_simpler,
)
from widowx_bringup.benchmark.tasks import BenchmarkError

STILL = np.zeros(7)


def rotation_xyz(angles: np.ndarray) -> np.ndarray:
    """Return Rx(a) Ry(b) Rz(c), (3, 3), as ManiSkill's controller composes it."""
    a, b, c = np.eye(3) * angles
    return rotation_from_rpy(a) @ rotation_from_rpy(b) @ rotation_from_rpy(c)


@pytest.mark.parametrize(("ours", "theirs"), [(0.0, -1.0), (0.5, 0.0), (1.0, 1.0)])
def test_a_gripper_of_0_closed_to_1_open_becomes_minus_1_to_plus_1_open(
    ours: float, theirs: float
) -> None:
    action = STILL.copy()
    action[6] = ours
    assert to_simpler(action)[6] == pytest.approx(theirs)


def test_a_translation_stays_in_metres_of_the_base_frame() -> None:
    action = np.array([0.01, -0.02, 0.05, 0, 0, 0, 1])
    assert to_simpler(action)[:3] == pytest.approx(action[:3])


@pytest.mark.parametrize("seed", range(5))
def test_a_rotation_turns_as_it_does_on_our_arm(seed: int) -> None:
    action = np.random.default_rng(seed).uniform(ACTION_LOW, ACTION_HIGH)
    theirs = to_simpler(action)[3:6]
    assert rotation_xyz(theirs) == pytest.approx(rotation_from_rpy(action[3:6]), abs=1e-6)
    assert not np.allclose(
        theirs, action[3:6], atol=1e-3
    )  # equal triples would turn otherwise


def test_the_gripper_straight_down_has_no_roll_pitch_or_yaw() -> None:
    proprio = to_proprio(np.eye(4), pose(DEFAULT_ROTATION, np.zeros(3)), 0.02)
    assert proprio[3:6] == pytest.approx(np.zeros(3))


def test_a_pose_is_that_in_the_frame_of_a_base_that_is_turned_and_moved() -> None:
    base = pose(rotation_from_rpy(np.array([0, 0, np.pi])), np.array([0.147, 0.028, 0.870]))
    in_base = pose(
        rotation_from_rpy(np.array([0.1, 0.2, 0.3])) @ DEFAULT_ROTATION, np.ones(3)
    )
    proprio = to_proprio(base, base @ in_base, 0.02)
    assert proprio[:6] == pytest.approx([1, 1, 1, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(("finger", "opening"), [(0.015, 0.0), (0.026, 0.5), (0.037, 1.0)])
def test_fingers_from_15_to_37_mm_are_an_opening_from_0_to_1(
    finger: float, opening: float
) -> None:
    assert to_proprio(np.eye(4), np.eye(4), finger)[6] == pytest.approx(opening)


def test_quaternions_begin_with_w() -> None:
    turn = np.array([np.cos(0.2), 0, 0, np.sin(0.2)])
    assert pose_of(np.ones(3), turn)[:3, :3] == pytest.approx(
        rotation_from_rpy(np.array([0, 0, 0.4]))
    )
    assert pose_of(np.ones(3), 2 * turn)[:3, 3] == pytest.approx(np.ones(3))


def test_an_action_beyond_the_bounds_is_cut_and_counted() -> None:
    action, clipped = bounded(np.array([0.2, 0, 0, 0, 0, -1.0, 1.5]))
    assert action == pytest.approx([0.05, 0, 0, 0, 0, -0.25, 1.0])
    assert clipped
    action, clipped = bounded(ACTION_HIGH + 1e-9)
    assert action == pytest.approx(ACTION_HIGH)
    assert not clipped


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan)])
def test_an_action_that_is_none_is_refused(action: np.ndarray) -> None:
    with pytest.raises(BenchmarkError, match="expected 7 finite values"):
        bounded(action)


def test_an_image_is_squeezed_as_a_whole_by_area() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :80] = 200  # an eighth on the left, which a centre crop would lose
    square = to_camera(image, 64, 64)
    assert square.shape == (64, 64, 3)
    assert (square[:, :8] == 200).all()
    assert (square[:, 8:] == 0).all()
    image[0, 0] = 0
    assert 190 < to_camera(image, 60, 80)[0, 0, 0] < 200  # the mean of the pixels below it


def test_a_simulator_of_another_rate_is_refused() -> None:
    check_rate(5.0)
    with pytest.raises(BenchmarkError, match="20 Hz, expected 5 Hz"):
        check_rate(20.0)
