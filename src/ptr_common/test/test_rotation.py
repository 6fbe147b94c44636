"""Angles of rotations, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ptr_common.rotation import (
    quaternion_from_rotation,
    rotation_from_rpy,
    rpy_from_rotation,
)

angle = st.floats(-3.1, 3.1)


@given(st.tuples(angle, st.floats(-1.5, 1.5), angle))
def test_euler_angles_are_yaw_pitch_roll_about_fixed_axes(
    rpy: tuple[float, float, float],
) -> None:
    R = rotation_from_rpy(np.array(rpy))
    np.testing.assert_allclose(R, Rotation.from_euler("xyz", rpy).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation_from_rpy(rpy_from_rotation(R)), R, atol=1e-9)


@pytest.mark.parametrize("pitch", [-np.pi / 2, np.pi / 2])
def test_euler_angles_survive_their_singularity(pitch: float) -> None:
    R = rotation_from_rpy(np.array([0.3, pitch, -0.4]))
    np.testing.assert_allclose(rotation_from_rpy(rpy_from_rotation(R)), R, atol=1e-9)


@given(st.tuples(angle, st.floats(-1.5, 1.5), angle))
def test_quaternions_describe_the_same_rotation(rpy: tuple[float, float, float]) -> None:
    R = rotation_from_rpy(np.array(rpy))
    quaternion = quaternion_from_rotation(R)
    np.testing.assert_allclose(Rotation.from_quat(quaternion).as_matrix(), R, atol=1e-9)
    assert quaternion[3] >= 0


def test_half_turns_have_quaternions() -> None:
    for axis in np.eye(3):
        R = Rotation.from_rotvec(np.pi * axis).as_matrix()
        np.testing.assert_allclose(
            np.abs(quaternion_from_rotation(R)), [*axis, 0], atol=1e-12
        )
