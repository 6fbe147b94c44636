"""Joints, steps and arms of the tests of the safety path, in the region where limits act."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptr_common.action_space import ACTION_HIGH, ACTION_LOW, CONTROL_RATE, JOINT_NAMES
from widowx_bringup.arm.limits import Limits
from widowx_bringup.arm.protocol import ArmFeatures, JointReading, JointTarget
from widowx_bringup.arm.refusal import LimitResult, Refusal

LIMITS = Limits()
START = np.array([0.0, 0.0, 0.2, 0.0, 1.37, 0.0])
TINY = 1e-6
PERIOD_NS = round(1e9 / CONTROL_RATE)

anything = st.one_of(
    arrays.arrays(float, st.integers(0, 8), elements=st.floats(width=64)),
    arrays.arrays(float, 6, elements=st.floats(-4, 4)),
    st.none(),
    st.text(),
    st.lists(st.one_of(st.none(), st.floats()), max_size=8),
)
"""What nobody should send: other shapes and types, and numbers that are not finite."""

_EDGE = 1e-6
"""Readings at the edge of the tolerance are drawn this far inside of it [rad]."""


def _reading_of_joint(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw a plausible reading of one joint: inside, in the tolerance band, or at an edge."""
    lowest = low - LIMITS.reading_tolerance + _EDGE
    highest = high + LIMITS.reading_tolerance - _EDGE
    edges = st.sampled_from([lowest, low, high, highest])
    return st.one_of(
        st.floats(low, high), st.floats(lowest, low), st.floats(high, highest), edges
    )


def _readings() -> st.SearchStrategy[np.ndarray]:
    joints = []
    for low, high in zip(LIMITS.joint_low, LIMITS.joint_high, strict=True):
        joints.append(_reading_of_joint(float(low), float(high)))
    return st.tuples(*joints).map(np.array)


readings = _readings()
"""Joint readings that `check_reading` accepts, (6,) [rad]."""

_step = LIMITS.joint_step
_distance = st.one_of(
    st.floats(-3 * _step, 3 * _step),
    st.floats(-0.1 * _step, 0.1 * _step),
    st.sampled_from([-_step, 0.0, _step]),
)

distances = st.tuples(*[_distance] * 6).map(np.array)
"""Distances of a target from the reading, (6,) [rad]: up to three steps of the arm."""


def _steps(factor: float) -> st.SearchStrategy[np.ndarray]:
    parts = []
    for low, high in zip(factor * ACTION_LOW, factor * ACTION_HIGH, strict=True):
        parts.append(st.one_of(st.floats(low, high), st.sampled_from([low, 0.0, high])))
    return st.tuples(*parts).map(np.array)


allowed_steps = _steps(1.0)
"""End-effector steps within the action bounds, (7,)."""

large_steps = _steps(3.0)
"""End-effector steps of which many are beyond the action bounds, (7,)."""


class LaggingArm:
    """An arm that covers a share of the distance to each target before the next reading.

    A control period passes with each target, and its servos stand still at each reading.
    """

    def __init__(self, joints: np.ndarray, share: float = 0.9) -> None:
        self.features = ArmFeatures(
            "lagging", JOINT_NAMES, LIMITS.joint_low, LIMITS.joint_high, np.full(6, np.pi)
        )
        self.notes: dict[str, object] = {}
        self.share = share
        self.joints = joints.copy()
        self.gripper = 1.0
        self.targets: list[JointTarget] = []

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def hold(self) -> None: ...
    def prepare(self) -> None: ...
    def watch(self) -> None: ...

    def read(self, max_age: float = 0.2) -> JointReading:
        return JointReading(
            PERIOD_NS * len(self.targets), self.joints.copy(), np.arange(6.0), self.gripper
        )

    def send(self, target: JointTarget) -> JointTarget:
        self.targets.append(target)
        self.joints = self.joints + self.share * (target.positions - self.joints)
        return target


def passed(result: LimitResult | Refusal) -> LimitResult:
    """Return a result that must not be a refusal."""
    assert isinstance(result, LimitResult), result
    return result


def refused(result: object) -> Refusal:
    """Return a result that must be a refusal."""
    assert isinstance(result, Refusal), result
    return result
