"""Devices of a person: keyboard, gamepad, SpaceMouse, or another arm that leads.

Each returns a `TeleopInput` when asked. A device without a message for `SILENCE_TIMEOUT`
seconds counts as not held.
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
from typing import Any, NamedTuple

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool

from ptr_common import qos
from ptr_common.action_space import ACTION_HIGH, JOINT_NAMES, opening_of
from ptr_common.errors import PtrError
from ptr_common.managed_node import parameter
from ptr_common.node import MessageError, subscribe
from ptr_common.rotation import rotation_from_rpy, rpy_from_rotation

from .mapping import Button, Keys, TeleopInput

SILENCE_TIMEOUT = 0.3
"""Longest age of a device's last message while the device counts as held [s]."""

DEADBAND = 0.1
"""Deflection below which a stick counts as centred, as a fraction of the largest."""

READ_SIZE = 1024
"""Characters that are read from the terminal at once."""


class Device(ABC):
    """A device with which a person moves the arm."""

    @abstractmethod
    def read(self, now: float) -> TeleopInput:
        """Return the input of the person.

        Args:
            now: Time on the monotonic clock [s].
        """

    def on_step(self, step: np.ndarray) -> None:  # noqa: B027
        """Note that a step was sent to the arm.

        Args:
            step: Action, (7,): translation [m], rotation [rad], base frame; gripper opening.
        """

    def close(self) -> None:  # noqa: B027
        """Disconnect from the device."""


# --- keyboard -----------------------------------------------------------------------------


class Keyboard(Device):
    """The terminal of this process; characters arrive one by one, also over SSH.

    Args:
        node: Not used; the devices of a node need one.

    Raises:
        PtrError: If there is no terminal.
    """

    def __init__(self, node: Node | None = None) -> None:
        self._file = sys.stdin.fileno()
        if not os.isatty(self._file):
            raise PtrError(
                "no terminal to read keys from: "
                "run `ptr teleop` in one, not through ros2 launch"
            )
        self._settings_before = termios.tcgetattr(self._file)
        tty.setcbreak(self._file)
        self._keys = Keys()

    def read(self, now: float) -> TeleopInput:
        """Return the input of the keys typed since the last call, and of those still held.

        Args:
            now: Time on the monotonic clock [s].
        """
        text = ""
        while select.select([self._file], [], [], 0)[0]:
            piece = ""
            with contextlib.suppress(OSError):
                piece = os.read(self._file, READ_SIZE).decode(errors="ignore")
            if not piece:  # the terminal is gone
                return TeleopInput(buttons=(Button.STOP, Button.QUIT))

            text += piece

        return self._keys.input(self._keys.type(text, now), now)

    def close(self) -> None:
        """Restore the settings of the terminal."""
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._settings_before)


# --- gamepad ------------------------------------------------------------------------------

STICKS: Mapping[int, tuple[int, float]] = {
    1: (0, 1.0),
    0: (1, 1.0),
    4: (2, 1.0),
    6: (3, -1.0),
    7: (4, 1.0),
    3: (5, 1.0),
}
"""Dimension (x, y, z, roll, pitch, yaw) and direction of each axis of an Xbox controller."""

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
"""Meaning of each button of an Xbox controller."""

DEAD_MAN = 4
"""Left shoulder button: nothing moves unless it is down."""


class Gamepad(Device):
    """A gamepad whose state the `joy` package's `joy_node` publishes on `joy`.

    Args:
        node: Node of the subscription.
    """

    def __init__(self, node: Node) -> None:
        self._joy: Joy | None = None
        self._arrival = -np.inf  # of the newest message, on the monotonic clock [s]
        self._down: set[int] = set()
        self._buttons: list[Button] = []
        subscribe(node, Joy, "joy", self._on_joy, qos.STATE)

    def _on_joy(self, joy: Joy) -> None:
        if not np.isfinite(joy.axes).all():
            raise MessageError(f"axes are not finite: {list(joy.axes)}")
        down = {number for number, value in enumerate(joy.buttons) if value}
        # A button that was down at the start was not pressed for this node.
        pressed = down - self._down if self._joy is not None else set()
        for number in sorted(pressed):
            if number in BUTTONS:
                self._buttons.append(BUTTONS[number])

        self._joy = joy
        self._arrival = time.monotonic()
        self._down = down

    def read(self, now: float) -> TeleopInput:
        """Return the input of sticks and buttons; no motion if the gamepad is silent.

        Args:
            now: Time on the monotonic clock [s].
        """
        buttons = tuple(self._buttons)
        self._buttons = []
        if self._joy is None or now - self._arrival > SILENCE_TIMEOUT:
            return TeleopInput(buttons=buttons)

        motion = np.zeros(6)
        for axis, (dimension, direction) in STICKS.items():
            if axis < len(self._joy.axes):
                motion[dimension] = direction * self._joy.axes[axis]

        return TeleopInput(_without_deadband(motion), DEAD_MAN in self._down, buttons)


# --- SpaceMouse ---------------------------------------------------------------------------


class SpaceMouse(Device):
    """A 3Dconnexion SpaceMouse through the package `pyspacemouse`; a deflected knob is held.

    Args:
        node: Not used; the devices of a node need one.

    Raises:
        PtrError: If the package is missing or no such device can be opened.
    """

    KNOB_BUTTONS = (Button.GRIPPER, Button.STOP)
    """Meaning of the left and the right button."""

    def __init__(self, node: Node | None = None) -> None:
        self._mouse = _open_spacemouse()
        self._down = [False, False]

    def read(self, now: float) -> TeleopInput:
        """Return the input of knob and buttons.

        Args:
            now: Time on the monotonic clock [s]; not used, the state is read anew.
        """
        state = self._mouse.read()
        down = [bool(value) for value in (*state.buttons, 0, 0)[:2]]
        buttons = []
        for index, button in enumerate(self.KNOB_BUTTONS):
            if down[index] and not self._down[index]:
                buttons.append(button)

        self._down = down

        deflections = (state.y, -state.x, state.z, state.roll, -state.pitch, -state.yaw)
        motion = _without_deadband(np.array(deflections, dtype=float))
        return TeleopInput(motion, bool(motion.any()), tuple(buttons))

    def close(self) -> None:
        """Close the device."""
        self._mouse.close()


def _open_spacemouse() -> Any:
    """Return the first SpaceMouse, a device of `pyspacemouse`.

    Raises:
        PtrError: If the package is missing or no such device can be opened.
    """
    try:
        module = importlib.import_module("pyspacemouse")
    except ImportError as error:
        raise PtrError(
            "a SpaceMouse needs pyspacemouse: pip install pyspacemouse"
        ) from error

    hint = "is it plugged in, and may this user read it?"
    try:
        mouse = module.open()
    except Exception as error:  # its HID library has its own exceptions
        raise PtrError(f"no SpaceMouse can be opened: {error}; {hint}") from error

    if not mouse:
        raise PtrError(f"no SpaceMouse can be opened; {hint}")
    return mouse


# --- leader arm ---------------------------------------------------------------------------


class LeaderState(NamedTuple):
    """Measured state of the leader.

    Attributes:
        T_base_eef: Pose of its end effector, (4, 4), in its base frame.
        gripper: Gripper opening from 0 to 1.
        arrival: Arrival of the message on the monotonic clock [s].
    """

    T_base_eef: np.ndarray
    gripper: float
    arrival: float


class Leader(Device):
    """Another wx250s that a person moves.

    Its joints arrive on `leader/joint_states`, the state of a foot switch on `leader/held`.
    While the switch is pressed, the arm repeats the leader's motion from its own pose. So
    nothing jumps, and the switch works as a clutch. Steps are limited; the arm catches up
    with a faster leader step by step.

    Args:
        node: Node of the subscriptions.
    """

    def __init__(self, node: Node) -> None:
        from widowx_bringup.arm.kinematics import Kinematics  # MuJoCo, for this device only

        self._kinematics = Kinematics()
        self._held: tuple[bool, float] = (False, -np.inf)  # switch, arrival [s]
        self._state: LeaderState | None = None
        self._matched: np.ndarray | None = None  # leader's pose that the arm was sent to
        subscribe(
            node, JointState, "leader/joint_states", self._on_joints, qos.NEWEST_STATE
        )
        subscribe(node, Bool, "leader/held", self._on_held, qos.STATE)

    def _on_held(self, message: Bool) -> None:
        self._held = message.data, time.monotonic()

    def _on_joints(self, message: JointState) -> None:
        positions = dict(zip(message.name, message.position, strict=False))
        joints = np.array([positions.get(name, np.nan) for name in JOINT_NAMES])
        finger = positions.get("left_finger", np.nan)
        if not np.isfinite([*joints, finger]).all():
            return

        gripper = float(np.clip(opening_of(finger), 0, 1))
        pose = self._kinematics.forward(joints)
        self._state = LeaderState(pose, gripper, time.monotonic())

    def read(self, now: float) -> TeleopInput:
        """Return the part of the leader's motion that the arm has not done yet.

        Args:
            now: Time on the monotonic clock [s].
        """
        switch, arrival = self._held
        held = switch and now - arrival < SILENCE_TIMEOUT
        if self._state is None or not held or now - self._state.arrival >= SILENCE_TIMEOUT:
            self._matched = None
            return TeleopInput()

        if self._matched is None:
            self._matched = self._state.T_base_eef.copy()
        motion = _pose_difference(self._state.T_base_eef, self._matched)
        return TeleopInput(motion / ACTION_HIGH[:6], True, gripper=self._state.gripper)

    def on_step(self, step: np.ndarray) -> None:
        """Note how far the arm was sent towards the leader.

        Args:
            step: Action, (7,): translation [m], rotation [rad], base frame; gripper opening.
        """
        if self._matched is not None:
            self._matched[:3, 3] += step[:3]
            self._matched[:3, :3] = rotation_from_rpy(step[3:6]) @ self._matched[:3, :3]


def _pose_difference(T_base_target: np.ndarray, T_base_eef: np.ndarray) -> np.ndarray:
    """Return translation and rotation between two poses, (6,), [m] and [rad], base frame.

    Args:
        T_base_target: Pose that is reached, (4, 4).
        T_base_eef: Pose that is left, (4, 4).
    """
    translation = T_base_target[:3, 3] - T_base_eef[:3, 3]
    rotation = T_base_target[:3, :3] @ T_base_eef[:3, :3].T
    return np.concatenate([translation, rpy_from_rotation(rotation)])


def _without_deadband(motion: np.ndarray) -> np.ndarray:
    """Return deflections that begin at 0 behind the dead band.

    Args:
        motion: Deflections of the device, (6,), from -1 to 1; so is the result.
    """
    beyond = np.maximum(np.abs(motion) - DEADBAND, 0.0) / (1.0 - DEADBAND)
    return np.sign(motion) * np.minimum(beyond, 1.0)


DEVICES: dict[str, Callable[[Node], Device]] = {
    "gamepad": Gamepad,
    "spacemouse": SpaceMouse,
    "leader": Leader,
}
"""Devices of a node; the keyboard needs a terminal, see `ptr teleop`."""


def chosen_device(node: Node) -> Device:
    """Return the device that the parameter `device` of a node names.

    Raises:
        PtrError: If there is none of that name.
    """
    kinds = ", ".join(DEVICES)
    kind = parameter(node, "device", "gamepad", f"device of the person: {kinds}")
    if kind not in DEVICES:
        raise PtrError(
            f"parameter device is {kind!r}; choose one of {kinds}; "
            "the keyboard needs a terminal: run `ptr teleop`"
        )
    return DEVICES[kind](node)
