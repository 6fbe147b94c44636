"""From what a person does to steps of the end effector, and what a set of demonstrations lacks. No ROS, no device.

Devices tell a `TeleopInput`; a `TeleopMapper` makes an action of it. Nothing moves unless the device's
dead-man switch is held: a key that repeats, a shoulder button, a hand on the knob.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np

from ptr_common.action_space import ACTION_HIGH, ACTION_NAMES, CONTROL_RATE
from ptr_common.errors import PtrError
from ptr_training.bags.episodes_from_bag import ReadOptions, read_episodes
from ptr_training.inspection.episode_metrics import IDLE_STEPS
from ptr_training.inspection.motion import IDLE_COMMAND, IDLE_GRIPPER

SLOWEST, FASTEST = 0.1, 1.0
"""Speeds, as a part of the longest step."""

SAME_START = 0.01
"""Start poses whose spread [m] is smaller are the same."""

SAME_PATH = 0.003
"""Demonstrations whose paths are nowhere further apart [m] are copies."""

ENOUGH = 10
"""Demonstrations of a set, as in the paper."""


class Button(Enum):
    """What a single key or button asks for."""

    STOP = "stop"
    ENABLE = "enable"
    HOME = "home"  # to the start pose
    RECORD = "record"
    SAVE = "save"
    FAIL = "fail"  # save as a failure
    DISCARD = "discard"
    AGAIN = "again"  # discard, to the start pose, and record anew
    GRIPPER = "gripper"  # open or close
    FASTER = "faster"
    SLOWER = "slower"
    QUIT = "quit"


@dataclass(frozen=True)
class TeleopInput:
    """What a person wants at one instant."""

    motion: np.ndarray = field(
        default_factory=lambda: np.zeros(6)
    )  # (6,) -1 .. 1 of the step at the speed chosen
    held: bool = False  # dead-man switch
    presses: tuple[Button, ...] = ()
    gripper: float | None = None  # opening, where the device tells it


class TeleopMapper:
    """Turns wishes into actions, and remembers speed and gripper."""

    def __init__(self, speed: float = 0.4) -> None:
        self.speed = float(np.clip(speed, SLOWEST, FASTEST))
        self.gripper = 1.0

    def press(self, press: Button) -> None:
        """Take note of a press that is about the steps; others are not the pilot's business."""
        if press == Button.GRIPPER:
            self.gripper = 0.0 if self.gripper > 0.5 else 1.0
        elif press == Button.FASTER:
            self.speed = min(FASTEST, self.speed * 1.25)
        elif press == Button.SLOWER:
            self.speed = max(SLOWEST, self.speed / 1.25)

    def action(self, wish: TeleopInput) -> np.ndarray:
        """Return the step of a wish, shape (7,): no motion unless the dead-man switch is held; always finite."""
        motion = np.nan_to_num(
            np.asarray(wish.motion, dtype=float), nan=0.0, posinf=0.0, neginf=0.0
        )
        if wish.gripper is not None and np.isfinite(wish.gripper):
            self.gripper = float(np.clip(wish.gripper, 0.0, 1.0))
        step = np.clip(motion, -1.0, 1.0) * ACTION_HIGH[:6] * self.speed * wish.held
        return np.append(step, self.gripper)


# --- keyboard -----------------------------------------------------------------------------------------------

MOTIONS: Mapping[str, tuple[int, float]] = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "o": (3, 1.0), "u": (3, -1.0), "k": (4, 1.0), "i": (4, -1.0), "j": (5, 1.0), "l": (5, -1.0),
}  # fmt: skip
"""Key -> dimension and direction: x, y, z, roll, pitch, yaw."""

PRESSES: Mapping[str, Button] = {
    " ": Button.STOP,
    "e": Button.ENABLE,
    "h": Button.HOME,
    "1": Button.RECORD,
    "2": Button.SAVE,
    "3": Button.FAIL,
    "4": Button.DISCARD,
    "5": Button.AGAIN,
    "g": Button.GRIPPER,
    "+": Button.FASTER,
    "-": Button.SLOWER,
    "q": Button.QUIT,
}

ESCAPES = re.compile(r"\x1b(?:\[|O)[0-9;]*[A-Za-z~]")
"""What a terminal sends for arrows and function keys; there are letters in it."""

REPEATS_WITHIN = 0.8
"""A key pressed again within this time [s] is held: a terminal tells of repetitions, not of releases."""

HELD_FOR, TAPPED_FOR = 0.15, 1 / CONTROL_RATE
"""How long a repeating key, and a single press, act [s]."""


class Keys:
    """Which motion keys are down, judged by their repetitions; a tap moves by one step."""

    def __init__(self) -> None:
        self._pressed: dict[str, float] = {}  # when last
        self._until: dict[str, float] = {}  # how long each acts

    def type(self, text: str, now: float) -> tuple[Button, ...]:
        """Take note of keys typed at a time [s]; return the presses among them."""
        text = ESCAPES.sub("", text)
        for key in text:
            if key in MOTIONS:
                repeats = now - self._pressed.get(key, -np.inf) < REPEATS_WITHIN
                self._until[key] = now + (HELD_FOR if repeats else TAPPED_FOR)
                self._pressed[key] = now
        return tuple(PRESSES[key] for key in text if key in PRESSES)

    def wish(self, presses: tuple[Button, ...], now: float) -> TeleopInput:
        """Return what the keys ask for at a time [s]."""
        motion = np.zeros(6)
        for key, until in self._until.items():
            if now < until:
                dimension, direction = MOTIONS[key]
                motion[dimension] += direction
        return TeleopInput(np.clip(motion, -1.0, 1.0), bool(motion.any()), presses)


# --- the set of demonstrations ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Demonstration:
    """What matters of one demonstration for the set."""

    proprio: np.ndarray  # (T, 7)
    actions: np.ndarray  # (T, 7)

    @property
    def idle_head(self) -> int:
        """Steps before the first motion; many teach to stand still."""
        moving = (np.abs(self.actions[:, :6]) > IDLE_COMMAND * ACTION_HIGH[:6]).any(1)
        moving |= np.abs(self.actions[:, 6] - self.actions[0, 6]) > IDLE_GRIPPER
        return int(moving.argmax()) if moving.any() else len(moving)

    @property
    def gripper_events(self) -> int:
        """How often the gripper was told to open or close."""
        return int(
            (np.abs(np.diff(self.actions[:, ACTION_NAMES.index("gripper")])) > 0.5).sum()
        )


def recorded(folder: Path, task: str) -> list[Demonstration]:
    """Return the successful demonstrations of a task among the bags of a folder, oldest first.

    What cannot be read is left out: `ptr export` says what is wrong with it.
    """
    found = []
    bags = sorted(folder.glob("[!.]*/metadata.yaml"), key=lambda file: file.stat().st_mtime)
    for bag in bags:
        try:
            episodes = read_episodes(
                bag.parent, ReadOptions(image_size=8, command="requested", task=task)
            ).episodes
        except (PtrError, OSError):
            continue
        found += [
            Demonstration(each.proprio[:-1], each.requested)
            for each in episodes
            if each.success and each.task == task
        ]
    return found


def lacking(demonstrations: Sequence[Demonstration]) -> list[str]:
    """Return what a set of demonstrations still lacks, for the person who records it; empty if nothing."""
    lines = (
        [f"{len(demonstrations)} of {ENOUGH} demonstrations"]
        if len(demonstrations) < ENOUGH
        else []
    )
    for number, each in enumerate(demonstrations, start=1):
        if each.idle_head >= IDLE_STEPS:
            lines.append(
                f"number {number} begins with {each.idle_head / CONTROL_RATE:.1f} s without motion"
            )
        if not each.gripper_events:
            lines.append(f"in number {number} the gripper neither opens nor closes")
        for other, earlier in enumerate(demonstrations[: number - 1], start=1):
            if _same_path(each, earlier):
                lines.append(f"number {number} repeats number {other}")
    starts = np.array([each.proprio[0, :3] for each in demonstrations])
    if len(starts) > 2 and np.linalg.norm(starts.std(0)) < SAME_START:
        lines.append(
            "all of them start at the same place: move the arm before some of them"
        )
    return lines


def _same_path(a: Demonstration, b: Demonstration) -> bool:
    size = min(len(a.proprio), len(b.proprio))
    if abs(len(a.proprio) - len(b.proprio)) > 2:
        return False
    return bool(np.abs(a.proprio[:size, :3] - b.proprio[:size, :3]).max() < SAME_PATH)
