"""An arm that lags behind its targets, and a controller on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from arm_strategies import LIMITS, LaggingArm
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import pose_from_proprio
from widowx_bringup.arm.controller import EefController
from widowx_bringup.arm.kinematics import Kinematics
from widowx_bringup.arm.protocol import Arm

KINEMATICS = Kinematics()
SEED = np.array([0, 0, 0.2, 0, 1.37, 0])


def joints_at(x: float, y: float, z: float, *rpy: float) -> np.ndarray:
    """Return joints (6,) [rad] that bring the end effector to a position [m]."""
    proprio = np.array([x, y, z, *(rpy or (0.0, 0.0, 0.0))])
    solution = KINEMATICS.inverse(pose_from_proprio(proprio), SEED)
    assert isinstance(solution, np.ndarray)
    return solution


START = joints_at(0.28, 0.0, 0.15)
STARTS = (START, joints_at(0.12, 0.0, 0.15), joints_at(0.40, 0.2, 0.05))

anything = arrays.arrays(float, st.integers(0, 8), elements=st.floats(width=64))


def make_arm(share: float = 0.9) -> LaggingArm:
    return LaggingArm(START, share)


def controller(arm: Arm, **limits: Any) -> EefController:
    return EefController(arm, KINEMATICS, replace(LIMITS, **limits))


def commanded(control: EefController) -> np.ndarray:
    """Return the position last commanded (3,) [m]."""
    assert control.target is not None
    return control.target[:3, 3]
