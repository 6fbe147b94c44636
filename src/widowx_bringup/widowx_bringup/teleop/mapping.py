"""Maps the input of a person's device to steps of the end effector. No ROS, no device.

Devices return a `TeleopInput`; a `TeleopMapper` turns it into an action. Nothing moves unless
the device's dead-man switch is held: a repeating key, a shoulder button, a hand on the knob.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from ptr_common.action_space import ACTION_HIGH, CONTROL_RATE

SLOWEST, FASTEST = 0.1, 1.0
"""Limits of the speed, as a fraction of the longest step."""

SPEED = 0.4
"""Speed at the start, as a fraction of the longest step."""

SPEED_FACTOR = 1.25
"""Factor by which FASTER and SLOWER change the speed."""


class Button(Enum):
    """What a single key or button asks for.

    Each device maps its own buttons to these; see `BUTTON_KEYS` and `devices.BUTTONS`.
    """

    STOP = "stop"
    ENABLE = "enable"
    HOME = "home"  # to the start pose
    RECORD = "record"
    SAVE = "save"
    FAIL = "fail"  # save as a failure
    DISCARD = "discard"
    AGAIN = "again"  # discard, to the start pose, and record anew
    SCENE = "scene"  # draw another one, in simulation
    GRIPPER = "gripper"  # open or close
    FASTER = "faster"
    SLOWER = "slower"
    QUIT = "quit"


def _no_motion() -> np.ndarray:
    return np.zeros(6)


@dataclass(frozen=True)
class TeleopInput:
    """Input of a person at one instant.

    Attributes:
        motion: Wanted motion x, y, z, roll, pitch, yaw, (6,), from -1 to 1 of the longest
            step at the chosen speed, base frame.
        held: Whether the dead-man switch is held.
        buttons: Buttons pressed since the last input.
        gripper: Gripper opening from 0 to 1, for a device that measures it.
    """

    motion: np.ndarray = field(default_factory=_no_motion)
    held: bool = False
    buttons: tuple[Button, ...] = ()
    gripper: float | None = None


class TeleopMapper:
    """Turns inputs into actions, and remembers speed and gripper.

    Args:
        speed: Speed at the start, as a fraction of the longest step.

    Attributes:
        speed: Current speed, as a fraction of the longest step.
        gripper: Wanted gripper opening, from 0 to 1.
    """

    def __init__(self, speed: float = SPEED) -> None:
        self.speed = float(np.clip(speed, SLOWEST, FASTEST))
        self.gripper = 1.0

    def press(self, button: Button) -> None:
        """Change gripper or speed if the button asks for it.

        Args:
            button: The button that was pressed; others change nothing.
        """
        if button == Button.GRIPPER:
            self.gripper = 0.0 if self.gripper > 0.5 else 1.0
        elif button == Button.FASTER:
            self.speed = min(FASTEST, self.speed * SPEED_FACTOR)
        elif button == Button.SLOWER:
            self.speed = max(SLOWEST, self.speed / SPEED_FACTOR)

    def action(self, teleop_input: TeleopInput) -> np.ndarray:
        """Return the action for an input.

        Args:
            teleop_input: The input; its numbers may be anything, also NaN.

        Returns:
            Step of the end effector and gripper opening, (7,), finite and within its limits;
            no motion unless the dead-man switch is held.
        """
        motion = np.asarray(teleop_input.motion, dtype=float)
        motion = np.nan_to_num(motion, nan=0.0, posinf=0.0, neginf=0.0)
        gripper = teleop_input.gripper
        if gripper is not None and np.isfinite(gripper):
            self.gripper = float(np.clip(gripper, 0.0, 1.0))
        longest = ACTION_HIGH[:6] * self.speed * teleop_input.held
        return np.append(np.clip(motion, -1.0, 1.0) * longest, self.gripper)


# --- keyboard -----------------------------------------------------------------------------

MOTION_KEYS: Mapping[str, tuple[int, float]] = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "o": (3, 1.0), "u": (3, -1.0), "k": (4, 1.0), "i": (4, -1.0), "j": (5, 1.0), "l": (5, -1.0),
}  # fmt: skip
"""Dimension (x, y, z, roll, pitch, yaw) and direction of each key."""

BUTTON_KEYS: Mapping[str, Button] = {
    " ": Button.STOP,
    "e": Button.ENABLE,
    "h": Button.HOME,
    "1": Button.RECORD,
    "2": Button.SAVE,
    "3": Button.FAIL,
    "4": Button.DISCARD,
    "5": Button.AGAIN,
    "n": Button.SCENE,
    "g": Button.GRIPPER,
    "+": Button.FASTER,
    "-": Button.SLOWER,
    "q": Button.QUIT,
}
"""Button of each key."""

ESCAPES = re.compile(r"\x1b(?:\[|O)[0-9;]*[A-Za-z~]")
"""What a terminal sends for arrows and function keys; it contains letters."""

REPEAT_TIMEOUT = 0.8
"""Longest time between two strokes of a held key [s]; a terminal reports no releases."""

HELD_TIME = 0.15
"""Time for which a stroke of a held key acts [s]."""

TAP_TIME = 1 / CONTROL_RATE
"""Time for which a single stroke acts [s]: one step."""


class Keys:
    """Motion keys that are down, from their repetitions; a tap moves by one step."""

    def __init__(self) -> None:
        self._stroke_times: dict[str, float] = {}  # last stroke of each key [s]
        self._end_times: dict[str, float] = {}  # end of the effect of each key [s]

    def type(self, text: str, now: float) -> tuple[Button, ...]:
        """Note typed keys.

        Args:
            text: The characters.
            now: Time on a monotonic clock [s].

        Returns:
            The buttons among them.
        """
        text = ESCAPES.sub("", text)
        for key in text:
            if key in MOTION_KEYS:
                last_stroke = self._stroke_times.get(key, -np.inf)
                repeats = now - last_stroke < REPEAT_TIMEOUT
                self._end_times[key] = now + (HELD_TIME if repeats else TAP_TIME)
                self._stroke_times[key] = now

        return tuple(BUTTON_KEYS[key] for key in text if key in BUTTON_KEYS)

    def input(self, buttons: tuple[Button, ...], now: float) -> TeleopInput:
        """Return the input of the keys that act at a time.

        Args:
            buttons: Buttons pressed since the last input.
            now: Time on the same clock [s].
        """
        motion = np.zeros(6)
        for key, end in self._end_times.items():
            if now < end:
                dimension, direction = MOTION_KEYS[key]
                motion[dimension] += direction

        return TeleopInput(np.clip(motion, -1.0, 1.0), bool(motion.any()), buttons)
