"""The status line of a person's terminal, and the summary at the end. No ROS, no device."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import numpy as np

if TYPE_CHECKING:
    from ptr_msgs.msg import ArmState

COUNTS = ("rejected", "clipped", "held")
"""Counters of `ArmState` that a person sees."""

CLEAR = "\r\x1b[K"
"""Begins the terminal's line anew."""


class StatusLine:
    """One line that is drawn again and again below the messages of a terminal.

    Where the stream is no terminal, messages are printed and no line is drawn.

    Args:
        stream: What the person reads; default: standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._is_terminal = self._stream.isatty()
        self._line = ""

    def show(self, text: str) -> None:
        """Print a message above the line."""
        if not self._is_terminal:
            print(text, file=self._stream, flush=True)
            return
        self._stream.write(f"{CLEAR}{text}\n{self._line}")
        self._stream.flush()

    def draw(self, text: str) -> None:
        """Replace the line; what does not fit the width is cut off.

        Args:
            text: One line.
        """
        line = text[: shutil.get_terminal_size().columns - 1]
        if self._is_terminal and line != self._line:
            self._line = line
            self._stream.write(f"{CLEAR}{line}")
            self._stream.flush()

    def close(self) -> None:
        """Remove the line."""
        self.draw("")


@dataclass
class TeleopStatus:
    """What a person's node has seen since it began.

    Attributes:
        state: Newest state of the arm; None before the first.
        ended: Number of episodes by how they ended: saved, saved as failures, discarded.
    """

    state: ArmState | None = None
    ended: Counter[str] = field(default_factory=Counter)
    _first: ArmState | None = None

    def on_state(self, state: ArmState) -> None:
        """Note a state of the arm."""
        if self._first is None or state.rejected < self._first.rejected:
            self._first = state  # a new arm node counts from 0
        self.state = state

    def counts(self) -> str:
        """Return what the arm rejected, clipped and held since the first state."""
        values = []
        for name in COUNTS:
            seen = getattr(self.state, name, 0) - getattr(self._first, name, 0)
            values.append(f"{name} {seen}")
        return " ".join(values)

    def line(self, *, speed: float, image_age: float | None, recorded: float | None) -> str:
        """Return the status line.

        Args:
            speed: Fraction of the longest step.
            image_age: Age of the newest image [s]; None before the first.
            recorded: Duration of the running episode [s]; None if none is running.
        """
        image = "no image" if image_age is None else f"image {image_age:.2f} s old"
        parts = [self._pose(), f"speed {speed:.0%}", self.counts(), image]
        if recorded is not None:
            parts.insert(0, f"RECORDING {recorded:.1f} s")
        return " | ".join(parts)

    def _pose(self) -> str:
        if self.state is None:
            return "no arm"
        x, y, z, *angles, gripper = self.state.proprio
        roll, pitch, yaw = np.rad2deg(angles).round().astype(int)
        pose = f"x {x:.3f} y {y:.3f} z {z:.3f} m, rpy {roll} {pitch} {yaw}°"
        holds = "HOLDS, " if self.state.status else ""
        return f"{holds}{pose}, gripper {gripper:.2f}"

    def summary(self) -> str:
        """Return what was done, in one line."""
        episodes = []
        for name, count in self.ended.items():
            episodes.append(f"{count} {name}")
        return f"episodes: {', '.join(episodes) or 'none'}; commands: {self.counts()}"
