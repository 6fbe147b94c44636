"""What a person may hold: keyboard, gamepad, SpaceMouse, or another arm that leads.

Each tells a `TeleopInput` when it is asked. A device that has told nothing for `SILENT` seconds is
taken to be let go.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import sys
import termios
import time
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool

from ptr_common import qos
from ptr_common.action_space import ACTION_HIGH, JOINT_NAMES
from ptr_common.errors import PtrError
from ptr_common.rotation import rotation_from_rpy, rpy_from_rotation
from widowx_bringup.arm.gripper import opening_of

from .mapping import Button, Keys, TeleopInput

SILENT = 0.3
"""A device that was silent for so long [s] is not held."""

DEADBAND = 0.1
"""Deflections below this part of the largest are the spring's."""


class Device(ABC):
    """What a person holds."""

    @abstractmethod
    def read(self, now: float) -> TeleopInput:
        """Return what is wanted at a time on the monotonic clock [s]."""

    def took(self, step: np.ndarray) -> None:  # noqa: B027
        """Take note that a step (7,) was sent of what was wanted."""

    def close(self) -> None:  # noqa: B027
        """Let go of the device."""


class Keyboard(Device):
    """The terminal this process was started in; characters come one by one, also over SSH.

    Raises:
        PtrError: If there is no terminal.
    """

    def __init__(self, node: Node | None = None) -> None:
        self._file = sys.stdin.fileno()
        if not os.isatty(self._file):
            raise PtrError(
                "no terminal to read keys from: run `ptr teleop` in one, not through ros2 launch"
            )
        self._before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        self._keys = Keys()

    def read(self, now: float) -> TeleopInput:
        """Return what the keys typed since the last call, and those still held, ask for."""
        text = ""
        while select.select([self._file], [], [], 0)[0]:
            piece = ""
            with contextlib.suppress(OSError):
                piece = os.read(self._file, 1024).decode(errors="ignore")
            if not piece:
                return TeleopInput(
                    presses=(Button.STOP, Button.QUIT)
                )  # the terminal is gone
            text += piece
        return self._keys.wish(self._keys.type(text, now), now)

    def close(self) -> None:
        """Give the terminal back as it was."""
        with contextlib.suppress(termios.error):  # it may be gone
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)


STICKS: Mapping[int, tuple[int, float]] = {
    1: (0, 1.0),
    0: (1, 1.0),
    4: (2, 1.0),
    6: (3, -1.0),
    7: (4, 1.0),
    3: (5, 1.0),
}
"""Axis of the gamepad -> dimension and direction: x, y, z, roll, pitch, yaw."""

BUTTONS: Mapping[int, Button] = {
    0: Button.GRIPPER,
    1: Button.STOP,
    2: Button.RECORD,
    3: Button.SAVE,
    5: Button.AGAIN,
    6: Button.DISCARD,
    7: Button.ENABLE,
    8: Button.HOME,
}
DEAD_MAN = 4
"""Left shoulder button: nothing moves unless it is down."""


class Gamepad(Device):
    """A gamepad as the `joy` package's `joy_node` tells it on `joy`; numbers are those of an Xbox controller."""

    def __init__(self, node: Node) -> None:
        self._joy: tuple[Joy, float] | None = None
        self._down: set[int] = set()
        self._presses: list[Button] = []
        node.create_subscription(Joy, "joy", self._on_joy, qos.STATE)

    def _on_joy(self, joy: Joy) -> None:
        down = {number for number, value in enumerate(joy.buttons) if value}
        if self._joy is not None:  # what is down from the beginning was not pressed for us
            self._presses += [
                BUTTONS[number] for number in sorted(down - self._down) if number in BUTTONS
            ]
        self._joy, self._down = (joy, time.monotonic()), down

    def read(self, now: float) -> TeleopInput:
        """Return what sticks and buttons ask for."""
        presses, self._presses = tuple(self._presses), []
        if self._joy is None or now - self._joy[1] > SILENT:
            return TeleopInput(presses=presses)
        motion = np.zeros(6)
        for axis, (dimension, direction) in STICKS.items():
            if axis < len(self._joy[0].axes):
                motion[dimension] = direction * self._joy[0].axes[axis]
        return TeleopInput(_without_spring(motion), DEAD_MAN in self._down, presses)


class SpaceMouse(Device):
    """A 3Dconnexion SpaceMouse through the package `pyspacemouse`; the knob is its own dead-man switch.

    Raises:
        PtrError: If the package is missing or no such device can be opened.
    """

    def __init__(self, node: Node | None = None) -> None:
        try:
            module = importlib.import_module("pyspacemouse")
        except ImportError as error:
            raise PtrError(
                "a SpaceMouse needs pyspacemouse: pip install pyspacemouse"
            ) from error
        try:
            self._mouse: Any = module.open()
        except Exception as error:  # whatever its HID library says
            raise PtrError(
                f"no SpaceMouse can be opened: {error}; is it plugged in, may this user read it?"
            ) from error
        if not self._mouse:
            raise PtrError(
                "no SpaceMouse can be opened; is it plugged in, may this user read it?"
            )
        self._buttons: list[int] = [0, 0]

    def read(self, now: float) -> TeleopInput:
        """Return what knob and buttons ask for: left the gripper, right stops the arm."""
        state = self._mouse.read()
        before, self._buttons = (
            self._buttons,
            [int(each) for each in (*state.buttons, 0, 0)[:2]],
        )
        kinds = (Button.GRIPPER, Button.STOP)
        presses = tuple(
            kind
            for kind, new, old in zip(kinds, self._buttons, before, strict=True)
            if new and not old
        )
        motion = np.array(
            [state.y, -state.x, state.z, state.roll, -state.pitch, -state.yaw], dtype=float
        )
        motion = _without_spring(motion)
        return TeleopInput(motion, bool(motion.any()), presses)

    def close(self) -> None:
        """Close the device."""
        self._mouse.close()


class Leader(Device):
    """Another wx250s that a person moves: its joints on `leader/joint_states`, a foot switch on `leader/held`.

    From the moment on at which the switch is pressed, the arm does the leader's motion from
    where it stands itself. So nothing jumps, and the switch works as a clutch. What the
    leader is ahead by is caught up with, step by step.
    """

    def __init__(self, node: Node) -> None:
        from widowx_bringup.arm.kinematics import Kinematics

        self._kinematics = Kinematics()
        self._held: tuple[bool, float] = (False, -np.inf)
        self._pose: tuple[np.ndarray, float, float] | None = (
            None  # T_base_eef, gripper opening, when
        )
        self._reached: np.ndarray | None = (
            None  # the leader's pose that the arm has been asked to match
        )
        node.create_subscription(
            JointState, "leader/joint_states", self._on_joints, qos.NEWEST_STATE
        )
        node.create_subscription(Bool, "leader/held", self._on_held, qos.STATE)

    def _on_held(self, message: Bool) -> None:
        self._held = message.data, time.monotonic()

    def _on_joints(self, message: JointState) -> None:
        places = dict(zip(message.name, message.position, strict=False))
        joints = np.array([places.get(name, np.nan) for name in JOINT_NAMES])
        finger = places.get("left_finger", np.nan)
        if np.isfinite([*joints, finger]).all():
            self._pose = (
                self._kinematics.forward(joints),
                float(np.clip(opening_of(finger), 0, 1)),
                time.monotonic(),
            )

    def read(self, now: float) -> TeleopInput:
        """Return the part of the leader's motion that is still to be done, as far as one step goes."""
        fresh = self._pose is not None and now - self._pose[2] < SILENT
        held = self._held[0] and now - self._held[1] < SILENT and fresh
        if not held or self._pose is None:
            self._reached = None
            return TeleopInput()
        if self._reached is None:
            self._reached = self._pose[0].copy()
        return TeleopInput(self._ahead() / ACTION_HIGH[:6], True, gripper=self._pose[1])

    def _ahead(self) -> np.ndarray:
        assert self._pose is not None
        assert self._reached is not None
        rotation = self._pose[0][:3, :3] @ self._reached[:3, :3].T
        return np.concatenate(
            [self._pose[0][:3, 3] - self._reached[:3, 3], rpy_from_rotation(rotation)]
        )

    def took(self, step: np.ndarray) -> None:
        """Note how far the arm was sent on the way to the leader."""
        if self._reached is not None:
            self._reached[:3, 3] += step[:3]
            self._reached[:3, :3] = rotation_from_rpy(step[3:6]) @ self._reached[:3, :3]


def _without_spring(motion: np.ndarray) -> np.ndarray:
    """Return deflections with the dead band taken out, so that they begin at 0 behind it."""
    beyond = np.maximum(np.abs(motion) - DEADBAND, 0.0) / (1.0 - DEADBAND)
    return np.sign(motion) * np.minimum(beyond, 1.0)


DEVICES: dict[str, Callable[[Node], Device]] = {
    "gamepad": Gamepad,
    "spacemouse": SpaceMouse,
    "leader": Leader,
}
"""Devices of a node; the keyboard needs a terminal, see `ptr teleop`."""
