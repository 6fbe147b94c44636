"""The contract of actions, proprioception and joints, which every store and bundle repeats."""

from __future__ import annotations

import numpy as np
import pytest

from ptr_common.action_space import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_NAMES,
    CONTROL_RATE,
    JOINT_NAMES,
    PROPRIO_NAMES,
    pose_from_proprio,
    pose_of_joints,
    proprio_from_pose,
)


def test_names_and_bounds_are_those_of_the_stores_and_bundles_written_so_far() -> None:
    assert ACTION_NAMES == ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
    assert PROPRIO_NAMES == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert ACTION_LOW.tolist() == [-0.05] * 3 + [-0.25] * 3 + [0.0]
    assert ACTION_HIGH.tolist() == [0.05] * 3 + [0.25] * 3 + [1.0]
    assert len(JOINT_NAMES) == 6
    assert CONTROL_RATE == 5.0


@pytest.mark.parametrize("bounds", [ACTION_LOW, ACTION_HIGH])
def test_bounds_cannot_be_changed_by_accident(bounds: np.ndarray) -> None:
    with pytest.raises(ValueError, match="read-only"):
        bounds[0] = 1.0


@pytest.mark.parametrize(
    ("joints", "position"),
    [
        ([0, 0, 0, 0, 0, 0], [0.4583, 0, 0.3607]),
        ([0, -1.80, 1.55, 0, 0.8, 0], [0.123, 0, 0.081]),
        ([0.002, 0.021, 0.186, 0, 1.364, 0.002], [0.30, 0, 0.15]),
    ],
    ids=["home", "sleep", "start"],
)
def test_joints_are_where_the_maker_says(
    joints: list[float], position: list[float]
) -> None:
    T = pose_of_joints(np.array(joints))
    np.testing.assert_allclose(T[:3, 3], position, atol=1e-3)
    np.testing.assert_allclose(pose_from_proprio(proprio_from_pose(T, 0.5)), T, atol=1e-9)
