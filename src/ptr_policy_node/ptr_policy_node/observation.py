"""What a policy acts on, and when: the newest picture and arm state, and the steps' schedule. ROS is not imported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class StepSchedule:
    """Says on which pictures a control step falls.

    Steps fall due at a fixed rate. Each is taken on the picture nearest to its due time rather than by a timer of its
    own: the command then answers a picture that has just been taken, and the rate is the camera's clock, which is
    also the one that training data were aligned to. However pictures come, two steps are at least half a period apart.

    Args:
        rate: Control rate [Hz].
    """

    def __init__(self, rate: float) -> None:
        self.period_ns = round(1e9 / rate)
        self._due_ns: int | None = None
        self._previous_ns = 0  # stamp of the last picture
        self._step_ns = 0  # stamp of the last picture that a step fell on

    def restart(self) -> None:
        """Let the next picture be the first step's."""
        self._due_ns = None

    def take(self, stamp_ns: int) -> bool:
        """Return whether a step falls on the picture of this stamp; missed steps are not made up for."""
        if self._due_ns is None:
            self._due_ns = self._previous_ns = stamp_ns
            self._step_ns = stamp_ns - self.period_ns
        interval, self._previous_ns = stamp_ns - self._previous_ns, stamp_ns
        early = min(interval // 2, self.period_ns // 10)  # nearer to the due time than the next picture will be
        if stamp_ns < self._due_ns - early or stamp_ns - self._step_ns < self.period_ns // 2:
            return False
        self._step_ns = stamp_ns
        self._due_ns += self.period_ns
        if self._due_ns <= stamp_ns:
            self._due_ns = stamp_ns + self.period_ns
        return True


@dataclass(frozen=True)
class ArmInput:
    """What the policy needs of an arm state."""

    stamp_ns: int
    proprio: np.ndarray  # (7,)
    problem: str = ""  # why the arm does not take commands; empty when it does


@dataclass
class Inputs:
    """The newest stamps and arm state, and whether they are good enough to act on.

    Attributes:
        max_image_age: Oldest picture that may be acted on [s].
        max_state_age: Oldest arm state that may be acted on [s].
    """

    max_image_age: float
    max_state_age: float
    image_ns: int | None = None
    arm: ArmInput | None = None
    start_ns: int = 0

    def start(self, start_ns: int) -> None:
        """An episode begins: what was seen before it no longer counts."""
        self.start_ns = start_ns
        self.image_ns = None

    def problem(self, now_ns: int) -> str:
        """Return which input is missing, late or unusable; empty when the policy may act."""
        return self._image_problem(now_ns) or self._arm_problem(now_ns)

    def _image_problem(self, now_ns: int) -> str:
        if self.image_ns is None or self.image_ns < self.start_ns:
            return "no image since the episode began"
        return _late("image", now_ns - self.image_ns, self.max_image_age)

    def _arm_problem(self, now_ns: int) -> str:
        if self.arm is None:
            return "no arm state yet"
        if not np.isfinite(self.arm.proprio).all():
            return f"arm state is not finite: {self.arm.proprio.tolist()}"
        return self.arm.problem or _late("arm state", now_ns - self.arm.stamp_ns, self.max_state_age)


def _late(what: str, age_ns: int, limit: float) -> str:
    age = age_ns * 1e-9
    return f"{what} is {age:.3f} s old; at most {limit:g} s are allowed" if age > limit else ""
