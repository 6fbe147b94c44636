"""What a policy acts on, and when: the newest picture and arm state, and the steps' schedule. ROS is not imported."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ptr_common.errors import PtrError

STATES_KEPT = 128
"""Arm states that wait for their picture: more than `MAX_CAMERA_LATENCY` of them at 100 Hz."""


class StepSchedule:
    """Says on which pictures a control step falls.

    Steps fall due at a fixed rate. Each is taken on the picture nearest to its due time
    rather than by a timer of its
    own: the command then answers a picture that has just been taken, and the rate is the
    camera's clock, which is also the one that training data were aligned to. However
    pictures come, two steps are at least half a period apart.

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
        early = min(
            interval // 2, self.period_ns // 10
        )  # nearer to the due time than the next picture will be
        if (
            stamp_ns < self._due_ns - early
            or stamp_ns - self._step_ns < self.period_ns // 2
        ):
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
    """The newest picture's stamp and the arm states, and whether they are good enough to act on.

    A camera whose stamps are late shows an earlier moment than they say. The age of a
    picture then counts from that moment, and it is paired with the arm state of that
    moment, as in the data that the policy learnt from.

    Attributes:
        max_image_age: Oldest picture that may be acted on, from when it was seen [s].
        max_state_age: Oldest arm state that may be acted on [s].
        camera_latency: By how much the picture's stamp is later than when it was seen [s].
    """

    max_image_age: float
    max_state_age: float
    camera_latency: float = 0.0
    image_ns: int | None = None  # stamp of the newest picture
    start_ns: int = 0
    _states: deque[ArmInput] = field(default_factory=lambda: deque(maxlen=STATES_KEPT))

    def __post_init__(self) -> None:
        if self.camera_latency and self.camera_latency >= self.max_image_age:
            raise PtrError(
                f"camera_latency is {self.camera_latency:g} s: no picture would be younger than max_image_age, "
                f"{self.max_image_age:g} s; use a faster camera, or raise max_image_age in config/policy.yaml"
            )
        self._latency_ns = round(self.camera_latency * 1e9)

    def start(self, start_ns: int) -> None:
        """An episode begins: what was seen before it no longer counts."""
        self.start_ns = start_ns
        self.image_ns = None

    def hear(self, arm: ArmInput) -> None:
        """A new arm state has come."""
        self._states.append(arm)

    @property
    def arm(self) -> ArmInput | None:
        """The newest arm state."""
        return self._states[-1] if self._states else None

    @property
    def seen_ns(self) -> int | None:
        """When the newest picture was seen."""
        return None if self.image_ns is None else self.image_ns - self._latency_ns

    @property
    def before_start(self) -> bool:
        """Whether no picture was seen since the episode began."""
        return self.seen_ns is None or self.seen_ns < self.start_ns

    @property
    def arm_seen(self) -> ArmInput | None:
        """The arm state that belongs to the newest picture: the newest that is not later than when it was seen.

        Where stamps are not late it is simply the newest: then it is later by the picture's
        way at most.
        """
        seen_ns = self.seen_ns
        if not self._latency_ns or seen_ns is None:
            return self.arm
        return next(
            (state for state in reversed(self._states) if state.stamp_ns <= seen_ns), None
        )

    def problem(self, now_ns: int) -> str:
        """Return which input is missing, late or unusable; empty when the policy may act."""
        return self._image_problem(now_ns) or self._arm_problem(now_ns)

    def _image_problem(self, now_ns: int) -> str:
        if self.seen_ns is None or self.before_start:
            return "no image since the episode began"
        return _late("image", now_ns - self.seen_ns, self.max_image_age)

    def _arm_problem(self, now_ns: int) -> str:
        if self.arm is None:
            return "no arm state yet"
        if problem := self.arm.problem or _late(
            "arm state", now_ns - self.arm.stamp_ns, self.max_state_age
        ):
            return problem
        return self._pairing_problem()

    def _pairing_problem(self) -> str:
        arm, seen_ns = self.arm_seen, self.seen_ns
        if arm is None:
            return "no arm state from when the image was seen"
        if not np.isfinite(arm.proprio).all():
            return f"arm state is not finite: {arm.proprio.tolist()}"
        if not self._latency_ns or seen_ns is None:
            return ""
        return _late("arm state of the image", seen_ns - arm.stamp_ns, self.max_state_age)


def _late(what: str, age_ns: int, limit: float) -> str:
    age = age_ns * 1e-9
    return (
        f"{what} is {age:.3f} s old; at most {limit:g} s are allowed" if age > limit else ""
    )
