"""When simulated time stands still for a picture or a command that is on its way. ROS is not imported."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ptr_common.action_space import CONTROL_RATE

LONGEST_ANSWER_NS = round((1 / CONTROL_RATE + 0.06) * 1e9)
"""Simulated time from the picture that one command answers to the arrival of the next command [ns]."""


@dataclass
class LockstepClock:
    """Keeps the world from running away from the nodes that look at it and act in it.

    Faster than real time, or on a busy computer, they would otherwise be late through no
    fault of their own, and an episode would be lost that goes well on another computer. Who
    stays away for longer than `patience` is no longer waited for: the arm's guard then
    notices the silence as it would on a real robot.

    Attributes:
        patience: Longest time to wait [s of real time].
    """

    patience: float
    _command_due_ns: int | None = None
    _shown_ns: int = 0  # newest state given to the camera
    _drawn_ns: int | None = (
        None  # newest picture; None: there is no camera, or it does not draw any more
    )
    _since: float | None = None  # when the waiting began, on the monotonic clock

    @property
    def waiting(self) -> bool:
        """Whether time stands still."""
        return self._since is not None

    def show(self, stamp_ns: int) -> None:
        """A state was given to the camera."""
        self._shown_ns = stamp_ns

    def drawn(self, stamp_ns: int) -> None:
        """The picture of a state has arrived."""
        self._drawn_ns = stamp_ns

    def answered(self, stamp_ns: int) -> None:
        """A command came that answers the picture of this stamp; the next one is a control period away."""
        self._command_due_ns = stamp_ns + LONGEST_ANSWER_NS

    def expect_no_command(self) -> None:
        """No episode is running, or the arm holds."""
        self._command_due_ns = None

    def must_wait(self, time_ns: int, next_state_ns: int) -> bool:
        """Return whether time must stand still.

        Args:
            time_ns: Simulated time now.
            next_state_ns: When the next state would be given to the camera.
        """
        command_late = self._command_due_ns is not None and time_ns >= self._command_due_ns
        picture_late = (
            self._drawn_ns is not None
            and self._drawn_ns < self._shown_ns
            and time_ns >= next_state_ns
        )
        if not (command_late or picture_late):
            self._since = None
            return False
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since < self.patience:
            return True
        if command_late:
            self._command_due_ns = None
        if picture_late:
            self._drawn_ns = None
        self._since = None
        return False
