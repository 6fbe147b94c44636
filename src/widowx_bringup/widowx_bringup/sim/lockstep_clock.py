"""Decides when simulated time pauses for the nodes of the control loop. ROS is not imported."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ptr_common.action_space import CONTROL_RATE

COMMAND_TIMEOUT_NS = round((1 / CONTROL_RATE + 0.06) * 1e9)
"""Simulated time from the image that a command answers to the latest arrival of the next
command [ns]."""


@dataclass
class LockstepClock:
    """Keeps simulation, camera and policy in step.

    Faster than real time, or on a busy computer, the other nodes would otherwise be late
    through no fault of their own, and an episode would fail that succeeds on another
    computer. A node that stays silent for longer than `timeout` is no longer waited for:
    the arm's guard then notices the silence as it does on a real robot.

    Attributes:
        timeout: Longest pause [s of real time].
    """

    timeout: float
    _command_due_ns: int | None = None  # None: no command is expected
    _state_ns: int = 0  # stamp of the newest state given to the camera
    _image_ns: int | None = None  # stamp of the newest image; None: no camera answers
    _paused_at: float | None = None  # beginning of the pause, on the monotonic clock

    @property
    def paused(self) -> bool:
        """Whether simulated time is paused."""
        return self._paused_at is not None

    def on_state(self, stamp_ns: int) -> None:
        """Note the stamp of a state that was given to the camera."""
        self._state_ns = stamp_ns

    def on_image(self, stamp_ns: int) -> None:
        """Note the stamp of an image that arrived: that of the state it shows."""
        self._image_ns = stamp_ns

    def on_command(self, image_ns: int) -> None:
        """Expect the next command one control period after the image that this one answers."""
        self._command_due_ns = image_ns + COMMAND_TIMEOUT_NS

    def expect_no_command(self) -> None:
        """Stop waiting for commands: no episode is running, or the arm holds."""
        self._command_due_ns = None

    def must_pause(self, time_ns: int, next_state_ns: int) -> bool:
        """Return whether simulated time must stand still now.

        Args:
            time_ns: Simulated time [ns].
            next_state_ns: Time of the next state for the camera [ns].
        """
        command_is_late = (
            self._command_due_ns is not None and time_ns >= self._command_due_ns
        )
        image_is_late = (
            self._image_ns is not None
            and self._image_ns < self._state_ns
            and time_ns >= next_state_ns
        )
        if not (command_is_late or image_is_late):
            self._paused_at = None
            return False

        now = time.monotonic()
        self._paused_at = self._paused_at or now
        if now - self._paused_at < self.timeout:
            return True

        # After the timeout, simulated time no longer waits for the late node.
        if command_is_late:
            self._command_due_ns = None
        if image_is_late:
            self._image_ns = None
        self._paused_at = None
        return False
