"""The browsers of a console as one device of a person: all watch, one of them drives. No ROS.

Motion lasts only as long as its heartbeats do: while a key or a pad is held, the browser that
drives sends one every 0.1 s. Each names the newest view of the arm that the browser has shown,
and counts for nothing if that view is old: nobody drives blind, and what a network held up
moves nothing when it arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from widowx_bringup.teleop.devices import SILENCE_TIMEOUT, Device
from widowx_bringup.teleop.mapping import TAP_TIME, Button, TeleopInput

VIEW_LIMIT = 0.7
"""Longest age of the view that a heartbeat answers [s]."""

REST_TIME = 1.0
"""Time without motion after which another browser may take over [s]."""


class Browsers(Device):
    """Input of all browsers; safe for the threads of server and node.

    Attributes:
        driver: Name of the browser that drives; empty if none does.
    """

    def __init__(self) -> None:
        self.driver = ""
        self._lock = threading.Lock()
        self._motion = np.zeros(6)
        self._ends = -np.inf  # when the motion ends, on the monotonic clock [s]
        self._tap_ends = -np.inf  # when it ends at the earliest: a tap is one step [s]
        self._moved_at = -np.inf  # newest heartbeat [s]
        self._buttons: list[Button] = []

    def take(self, browser: str, now: float) -> str:
        """Let a browser drive.

        Args:
            browser: Its name.
            now: Time on the monotonic clock [s].

        Returns:
            Why it may not; empty if it drives from now on.
        """
        with self._lock:
            if self.driver not in ("", browser) and now - self._moved_at < REST_TIME:
                return f"{self.driver} moves the arm; take over once it rests"
            self._ends = -np.inf
            self.driver = browser
            return ""

    def leave(self, browser: str) -> None:
        """Stop the motion of a browser that drives no longer."""
        with self._lock:
            if self.driver == browser:
                self.driver = ""
                self._ends = -np.inf

    def hold(self, browser: str, motion: Sequence[float], view_age: float) -> None:
        """Note a heartbeat.

        Args:
            browser: Name of the browser.
            motion: Wanted motion, (6,), see `TeleopInput`; zeros: nothing is held any more.
            view_age: Age of the view that the browser has shown [s].
        """
        now = time.monotonic()
        with self._lock:
            if browser != self.driver:
                return
            if not view_age <= VIEW_LIMIT:
                self._ends = -np.inf
            elif any(motion):
                if now > self._ends:
                    self._tap_ends = now + TAP_TIME
                self._motion = np.asarray(motion, dtype=float)
                self._ends = now + SILENCE_TIMEOUT
                self._moved_at = now
            else:
                self._ends = min(self._ends, max(now, self._tap_ends))

    def press(self, button: Button) -> None:
        """Note a button; the gripper acts at once, also while nothing moves."""
        now = time.monotonic()
        with self._lock:
            self._buttons.append(button)
            if button == Button.STOP:
                self._ends = -np.inf
            elif button == Button.GRIPPER and now > self._ends:
                self._motion = np.zeros(6)
                self._ends = now + SILENCE_TIMEOUT

    def read(self, now: float) -> TeleopInput:
        """Return the input since the last call; no motion without a fresh heartbeat.

        Args:
            now: Time on the monotonic clock [s].
        """
        with self._lock:
            buttons = tuple(self._buttons)
            self._buttons = []
            if now > self._ends:
                return TeleopInput(buttons=buttons)
            return TeleopInput(self._motion, True, buttons)
