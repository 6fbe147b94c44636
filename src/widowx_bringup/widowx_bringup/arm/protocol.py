"""The arm, as the rest of the system sees it: a protocol, its value types and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ptr_common.errors import PtrError

MAX_AGE = 0.3
"""Oldest joint reading that is acted on [s]: a hold for want of one comes within two control periods."""


class ArmError(PtrError):
    """The arm does not answer, reports a fault, or was asked for the impossible."""


@dataclass(frozen=True)
class ArmFeatures:
    """What an arm is, readable before it is connected."""

    name: str
    joint_names: tuple[str, ...]
    joint_low: np.ndarray  # (6,) [rad]
    joint_high: np.ndarray  # (6,) [rad]
    joint_speed: np.ndarray  # (6,) [rad/s]
    publishes_joints: bool = False  # whether its own driver publishes joint_states
    sleep: np.ndarray | None = (
        None  # (6,) [rad] where it rests without torque; None: it rests anywhere
    )


@dataclass(frozen=True)
class JointReading:
    """Joints as measured at one instant."""

    stamp_ns: int
    positions: np.ndarray  # (6,) [rad]
    velocities: np.ndarray  # (6,) [rad/s]
    gripper: float  # opening, 0 closed .. 1 open, as measured (not clipped)


@dataclass(frozen=True)
class JointTarget:
    """Where the joints shall go within one control period."""

    positions: np.ndarray  # (6,) [rad]
    gripper: float  # opening, 0 closed .. 1 open


class Arm(Protocol):
    """A WidowX 250 S, real or simulated."""

    features: ArmFeatures
    notes: dict[str, object]  # what is remarkable but no fault, for the diagnostics

    def connect(self) -> None:
        """Make ready to move: torque on, time profile 250/100 ms written and read back."""

    def prepare(self) -> None:
        """Make sure of that again, before an episode and after a hold; raises ArmError if there is a fault."""

    def watch(self) -> None:
        """Do what must be done all the time, some 50 times a second; raises ArmError if something is wrong."""

    def disconnect(self) -> None:
        """Let go of the device; a real arm is brought to its sleep pose first."""

    def read(self, max_age: float = MAX_AGE) -> JointReading:
        """Return the newest reading; raises ArmError if it is older than `max_age` seconds."""

    def send(self, target: JointTarget) -> JointTarget:
        """Start moving to a target that the gate has passed; return the one really commanded."""

    def hold(self) -> None:
        """Stop at the measured position."""
