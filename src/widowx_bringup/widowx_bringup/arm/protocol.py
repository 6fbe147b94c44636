"""The arm as the other modules see it: a protocol, its value types and its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptr_common.errors import PtrError

from .trapezoidal_profile import SetPoints

MAX_AGE = 0.3
"""Maximum age of a joint reading that is used [s].

With it, an arm without readings holds within two control periods.
"""


class ArmError(PtrError):
    """The arm does not answer, reports a fault, or was asked for something impossible."""


@dataclass(frozen=True)
class ArmFeatures:
    """Properties of an arm, readable before it is connected.

    Attributes:
        name: Name of the model.
        joint_names: Names of the six joints in their order.
        joint_low: Lowest joint targets, (6,) [rad].
        joint_high: Highest joint targets, (6,) [rad].
        joint_speed: Largest joint speeds, (6,) [rad/s].
        publishes_joints: Whether the driver of the arm publishes joint_states.
        sleep: Joints in which the arm rests without torque, (6,) [rad]; None if it can rest
            in any.
    """

    name: str
    joint_names: tuple[str, ...]
    joint_low: np.ndarray
    joint_high: np.ndarray
    joint_speed: np.ndarray
    publishes_joints: bool = False
    sleep: np.ndarray | None = None


@dataclass(frozen=True)
class JointReading:
    """Joints measured at one instant.

    Attributes:
        stamp_ns: Time of the measurement [ns].
        positions: Joint positions, (6,) [rad].
        velocities: Joint velocities, (6,) [rad/s].
        gripper: Opening, 0 closed .. 1 open, as measured (not clipped).
        set_points: Where the servos' time profile has the joints now; None if the servos
            stand still at the measured joints.
    """

    stamp_ns: int
    positions: np.ndarray
    velocities: np.ndarray
    gripper: float
    set_points: SetPoints | None = None


@dataclass(frozen=True)
class JointTarget:
    """Joints to reach within one control period.

    Attributes:
        positions: Joint positions, (6,) [rad].
        gripper: Opening, 0 closed .. 1 open.
    """

    positions: np.ndarray
    gripper: float


class Arm(Protocol):
    """A WidowX 250 S, real or simulated.

    Attributes:
        features: Properties of the arm.
        notes: Remarkable values that are no faults, for /diagnostics.
    """

    features: ArmFeatures
    notes: dict[str, object]

    def connect(self) -> None:
        """Make ready to move: switch the torque on, write the time profile and read it back."""

    def prepare(self) -> None:
        """Make ready again, before an episode and after a hold; raises ArmError at a fault."""

    def watch(self) -> None:
        """Regulate and look for faults, called 50 times a second; raises ArmError at a fault."""

    def disconnect(self) -> None:
        """Release the device; its driver keeps holding a real arm where it is."""

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the latest reading; raises ArmError if it is older than `max_age` seconds."""

    def send(self, target: JointTarget) -> JointTarget:
        """Start moving to a target from the joint limiter; return the one really commanded."""

    def hold(self) -> None:
        """Stop at the measured position."""
