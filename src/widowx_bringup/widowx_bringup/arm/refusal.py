"""How a check on the safety path says yes or no: `LimitResult`, `StepResult`, `Refusal`.

A check returns its value or a `Refusal`; a check without a value returns a `Refusal` or
None. A `Refusal` has a kind, which programs look at, and a text, which only people read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Kind(str, Enum):
    """Short names of why a command is refused or changed, and of why the arm holds.

    Their values are part of the keys on /diagnostics, such as "rejected: late".
    """

    # Why a command is refused before it reaches the controller.
    MALFORMED = "malformed"  # this and the next kind also make the arm hold
    NOT_FINITE = "not finite"
    LENGTH = "length"
    LATE = "late"
    EARLY = "early"
    HOLDING = "holding"
    MOVING = "moving by itself"

    # Why the controller finds no joint target for a step.
    READING = "joint reading"
    OUTSIDE = "outside the workspace"
    UNREACHABLE = "unreachable"

    # Which limit changed a command.
    ACTION_BOUNDS = "action bounds"
    COMMAND_RATE = "command rate"
    WORKSPACE_BOX = "workspace box"
    JOINT_LIMIT = "joint limit"
    JOINT_SPEED = "joint speed limit"

    # Why the arm holds.
    INACTIVE = "not active"
    DEACTIVATED = "deactivated"
    OPERATOR = "operator"
    FAULT = "fault"
    SILENCE = "silence"
    CAMERA = "camera"
    CLOCK = "clock"
    TWO_SENDERS = "two senders"


OF_POLICY = (Kind.NOT_FINITE, Kind.SILENCE)
"""Holds that the sender of the commands brings about; all others have another cause."""


@dataclass(frozen=True)
class Refusal:
    """Why something must not happen, or why the arm must hold.

    Attributes:
        kind: For programs and counters.
        text: For people: the value found and the values allowed.
    """

    kind: Kind
    text: str


@dataclass(frozen=True)
class LimitResult:
    """A value that may be used, after limits have been applied to it.

    Attributes:
        value: An action (7,), a pose (4, 4) or joints (6,).
        clipped: The limits that changed the value; empty if it is as requested.
    """

    value: np.ndarray
    clipped: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """Outcome of one requested end-effector step.

    Attributes:
        executed: The step that leads to the target really commanded, (7,): [m], [rad],
            gripper opening.
        clipped: The limits that changed the request, in the order in which they apply.
        refusal: Why nothing was sent; the arm then goes on to its last target.
    """

    executed: np.ndarray
    clipped: tuple[Kind, ...] = ()
    refusal: Refusal | None = None

    @property
    def rejected(self) -> bool:
        """Whether nothing was sent."""
        return self.refusal is not None

    @property
    def reason(self) -> str:
        """The refusal's text or the names of the limits, for people; empty if neither."""
        if self.refusal is not None:
            return self.refusal.text
        return ", ".join(kind.value for kind in self.clipped)


def check_vector(name: str, vector: object, shape: tuple[int, ...]) -> np.ndarray | Refusal:
    """Return a copy of an array as floats, or why it is not one of finite numbers and this shape.

    Every action, joint vector and pose on the safety path is checked here.

    Args:
        name: What the array is, for the text of a refusal.
        vector: Anything that should have been such an array.
        shape: Shape required.
    """
    try:
        array = np.array(vector, dtype=float)
    except (TypeError, ValueError, OverflowError):
        found = type(vector).__name__
        return Refusal(Kind.LENGTH, f"{name} is not an array of numbers; found {found}")
    if not np.isfinite(array).all():
        return Refusal(Kind.NOT_FINITE, f"{name} is not finite: {array.tolist()}")
    if array.shape != shape:
        text = f"{name} has shape {array.shape}; the shape must be {shape}"
        return Refusal(Kind.LENGTH, text)
    return array
