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
