"""Angles of rotations, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ptr_common.rotation import rotation_from_rpy, rpy_from_rotation

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
