"""What a policy acts on, and when: the latest image, the arm state that belongs to it, the steps.

ROS is not imported.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.stamps import age_problem, early_problem

STATES_KEPT = 128
"""Arm states kept for pairing: at 100 Hz they span more than `MAX_CAMERA_LATENCY`."""


class StepSchedule:
    """Chooses the images on which a control step falls.

    Steps fall due at a fixed rate. Each is taken on the image nearest to its due time, not by a
    timer. The command then answers an image that has just been taken, and the rate follows the
    camera's clock, to which training data were aligned as well. Two steps are at least half a
    period apart, however irregular the images are.

    Args:
        rate: Control rate [Hz].

    Attributes:
        period_ns: Time between two steps [ns].
    """

    def __init__(self, rate: float) -> None:
        self.period_ns = round(1e9 / rate)
        self._due_ns: int | None = None
        self._previous_ns = 0  # stamp of the previous image
        self._step_ns = 0  # stamp of the image of the previous step

    def restart(self) -> None:
        """Let the next image be that of the first step."""
        self._due_ns = None

    def take(self, stamp_ns: int) -> bool:
        """Return whether a step falls on the image of this stamp [ns].

        Missed steps are not made up for. After stamps that went back by more than a period,
        the schedule begins anew.
        """
        if self._due_ns is None or stamp_ns < self._previous_ns - self.period_ns:
            self._due_ns = stamp_ns
            self._previous_ns = stamp_ns
            self._step_ns = stamp_ns - self.period_ns
        interval = stamp_ns - self._previous_ns
        self._previous_ns = stamp_ns

        # So early, an image is nearer to the due time than the next one will be.
        early = min(interval // 2, self.period_ns // 10)
        is_due = stamp_ns >= self._due_ns - early
        is_apart = stamp_ns - self._step_ns >= self.period_ns // 2
        if not is_due or not is_apart:
            return False

        self._step_ns = stamp_ns
        self._due_ns += self.period_ns
        if self._due_ns <= stamp_ns:
            self._due_ns = stamp_ns + self.period_ns
        return True


@dataclass(frozen=True)
class ArmObservation:
    """The part of an arm state that a policy needs."""

    stamp_ns: int
    proprio: np.ndarray  # (7,) see action_space.PROPRIO_NAMES
    problem: str = ""  # why the arm does not take commands; empty if it does


@dataclass
class ObservationBuffer:
    """The stamp of the latest image, the latest arm states, and whether they may be acted on.

    With a camera latency, an image shows the moment of its exposure, which is earlier than its
    stamp. Its age counts from the exposure, and the arm state of the exposure is paired with
    it, as in the training data.

    Attributes:
        max_image_age: Maximum time since the exposure of an image that is acted on [s].
        max_state_age: Maximum age of an arm state that is acted on [s].
        camera_latency: Stamp of an image minus its time of exposure [s].
        image_ns: Stamp of the latest image; None before the first one of an episode.
        start_ns: Stamp of the start of the episode.
    """

    max_image_age: float
    max_state_age: float
    camera_latency: float = 0.0
    image_ns: int | None = None
    start_ns: int = 0
    _states: deque[ArmObservation] = field(
        default_factory=lambda: deque(maxlen=STATES_KEPT)
    )

    def __post_init__(self) -> None:
        if self.camera_latency and self.camera_latency >= self.max_image_age:
            raise PtrError(
                f"camera_latency is {self.camera_latency:g} s: no image would be younger than "
                f"max_image_age, {self.max_image_age:g} s; use a faster camera, or raise "
                "max_image_age in config/policy.yaml"
            )
        self._latency_ns = round(self.camera_latency * 1e9)

    def start(self, start_ns: int) -> None:
        """Begin an episode; earlier images no longer count."""
        self.start_ns = start_ns
        self.image_ns = None

    def add_arm(self, arm: ArmObservation) -> None:
        """Add the latest arm state."""
        self._states.append(arm)

    @property
    def arm(self) -> ArmObservation | None:
        """The latest arm state."""
        return self._states[-1] if self._states else None

    def arm_of(self, stamp_ns: int) -> ArmObservation | None:
        """Return the arm state of a stamp [ns]; None if it is not among those kept."""
        for state in reversed(self._states):
            if state.stamp_ns == stamp_ns:
                return state
        return None

    @property
    def exposure_ns(self) -> int | None:
        """Time of exposure of the latest image [ns]."""
        return None if self.image_ns is None else self.image_ns - self._latency_ns

    @property
    def is_before_start(self) -> bool:
        """Whether no image has been exposed since the episode began."""
        return self.exposure_ns is None or self.exposure_ns < self.start_ns

    @property
    def arm_at_exposure(self) -> ArmObservation | None:
        """The arm state that belongs to the latest image.

        It is the latest one that is not later than the exposure. Without camera latency it is
        the latest of all, which is later at most by the time that the image took to arrive.
        """
        exposure_ns = self.exposure_ns
        if not self._latency_ns or exposure_ns is None:
            return self.arm
        for state in reversed(self._states):
            if state.stamp_ns <= exposure_ns:
                return state
        return None

    def problem(self, now_ns: int) -> str:
        """Return which input is missing, late or unusable; empty if the policy may act.

        Args:
            now_ns: Present time of the node's clock [ns].
        """
        early = self.early_image_problem(now_ns)
        return early or self._image_problem(now_ns) or self._arm_problem(now_ns)

    def _image_problem(self, now_ns: int) -> str:
        if self.exposure_ns is None or self.is_before_start:
            return "no image since the episode began"
        return age_problem("image", self.exposure_ns, now_ns, self.max_image_age)

    def early_image_problem(self, now_ns: int) -> str:
        """Return that the latest image is stamped in the future; empty if it is not.

        Args:
            now_ns: Present time of the node's clock [ns].
        """
        return (
            "" if self.image_ns is None else early_problem("image", self.image_ns, now_ns)
        )

    def _arm_problem(self, now_ns: int) -> str:
        if self.arm is None:
            return "no arm state yet"
        if self.arm.problem:
            return self.arm.problem
        late = age_problem("arm state", self.arm.stamp_ns, now_ns, self.max_state_age)
        return late or self._pairing_problem()

    def _pairing_problem(self) -> str:
        arm, exposure_ns = self.arm_at_exposure, self.exposure_ns
        if arm is None:
            return "no arm state from the time of the image's exposure"
        if not np.isfinite(arm.proprio).all():
            return f"arm state is not finite: {arm.proprio.tolist()}"
        if not self._latency_ns or exposure_ns is None:
            return ""
        name = "arm state of the image"
        return age_problem(name, arm.stamp_ns, exposure_ns, self.max_state_age)
