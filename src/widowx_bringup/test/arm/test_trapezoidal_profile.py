"""The servos' time profile."""

from __future__ import annotations

import numpy as np
import pytest

from widowx_bringup.arm.trapezoidal_profile import TrapezoidalProfile


def test_a_target_is_reached_when_the_profile_ends_and_kept() -> None:
    profile = TrapezoidalProfile(np.zeros(2), 0.25, 0.1)
    profile.plan(np.array([0.3, -0.2]))
    path = profile.advance(150, 0.002)
    np.testing.assert_allclose(path[124], [0.3, -0.2], atol=1e-12)
    np.testing.assert_allclose(path[-1], [0.3, -0.2], atol=1e-12)


def test_the_profile_is_a_trapezoid_of_speed() -> None:
    profile = TrapezoidalProfile(np.zeros(1), 0.25, 0.1)
    profile.plan(np.array([0.15]))
    speed = np.diff(profile.advance(250, 0.001)[:, 0], prepend=0) / 0.001
    assert speed.max() == pytest.approx(1.0, abs=1e-6)  # way / (T - t)
    np.testing.assert_allclose(speed[100:150], 1.0, atol=1e-6)
    np.testing.assert_allclose(np.diff(speed[:100]), 0.01, atol=1e-6)


def test_a_new_target_on_the_way_changes_neither_position_nor_speed_abruptly() -> None:
    profile = TrapezoidalProfile(np.zeros(1), 0.25, 0.1)
    profile.plan(np.array([0.15]))
    before = profile.advance(120, 0.001)
    profile.plan(np.array([-0.1]))
    after = profile.advance(250, 0.001)
    speed = np.diff(np.concatenate([before, after])[:, 0]) / 0.001
    assert (
        np.abs(np.diff(speed)).max() < 0.05
    )  # one millisecond of acceleration, not a jump by 1 rad/s
    assert after[-1, 0] == pytest.approx(-0.1)


def test_profile_set_points_do_not_depend_on_how_time_is_divided() -> None:
    whole, parts = (
        TrapezoidalProfile(np.zeros(1), 0.25, 0.1),
        TrapezoidalProfile(np.zeros(1), 0.25, 0.1),
    )
    whole.plan(np.array([0.2]))
    parts.plan(np.array([0.2]))
    divided = np.concatenate([parts.advance(count, 0.002) for count in (1, 7, 42, 50)])
    np.testing.assert_allclose(divided, whole.advance(100, 0.002), atol=1e-12)


def test_each_joint_may_have_its_own_times() -> None:
    profile = TrapezoidalProfile(np.zeros(2), np.array([0.25, 2.0]), np.array([0.1, 0.3]))
    profile.plan(np.array([0.1, 0.1]))
    path = profile.advance(1000, 0.002)
    assert path[124, 0] == pytest.approx(0.1)
    assert path[124, 1] < 0.01
    assert path[-1, 1] == pytest.approx(0.1)
