"""From streams of stamped commands, images and states to steps at the control rate: arithmetic only.

All stamps are integer nanoseconds on one clock. `bags.py` states the rule in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.rotation import rotation_from_rpy, rpy_from_rotation
from ptr_training.errors import TrainingError

PERIOD_NS = round(1e9 / CONTROL_RATE)

GAP = 1.5
"""Periods without a command after which the arm is taken to have held still."""

FAST = 0.75
"""Median interval, in periods, below which commands are gathered on a grid instead of being one step each."""

MAX_AGE_NS = 2 * PERIOD_NS
"""Oldest image or state that still counts as the observation of a step [ns]."""


@dataclass(frozen=True)
class Commands:
    """The commands of one episode, ordered by stamp."""

    stamps: np.ndarray  # (C,) int64 [ns]
    observed: (
        np.ndarray
    )  # (C,) int64, stamp of the image each one answers [ns]; 0 where it answers none
    requested: np.ndarray  # (C, 7)
    executed: np.ndarray  # (C, 7), NaN where the arm executed nothing

    def __len__(self) -> int:
        return len(self.stamps)


@dataclass(frozen=True)
class Steps:
    """T actions between T + 1 observations."""

    images: np.ndarray  # (T + 1,) index of each observation's image
    states: np.ndarray  # (T + 1,) index of each observation's arm state
    requested: np.ndarray  # (T, 7)
    executed: np.ndarray  # (T, 7)
    members: tuple[
        np.ndarray, ...
    ]  # for each action, the indices of the commands it is made of; none: held
    early: np.ndarray  # indices of commands from before there was an observation
    late: np.ndarray  # indices of commands without an observation after them

    def __len__(self) -> int:
        return len(self.requested)

    @property
    def made(self) -> np.ndarray:
        """Indices of the commands that became actions."""
        return _joined(self.members)

    def renumbered(self, images: np.ndarray, states: np.ndarray) -> Steps:
        """Return the same steps with observation i called `images[i]` and `states[i]`."""
        return replace(self, images=images[self.images], states=states[self.states])


class AlignmentError(TrainingError):
    """An episode cannot be used: its observations are interrupted, or it holds no step."""


def match_executed(
    stamps: np.ndarray,
    observed: np.ndarray,
    executed_stamps: np.ndarray,
    executed_observed: np.ndarray,
) -> np.ndarray:
    """Return for each command the index of what the arm executed of it, or -1.

    They belong together if they answer the same image; without an image, the executed
    command is the first one stamped within a period from the request and before the next
    one.

    Args:
        stamps: Requests, shape (C,), ascending [ns].
        observed: Image stamps they answer, shape (C,), 0 for none.
        executed_stamps: Executed commands, shape (E,), ascending [ns].
        executed_observed: Image stamps they answer, shape (E,), 0 for none.
    """
    matches = np.full(len(stamps), -1)
    free = dict.fromkeys(range(len(executed_stamps)))
    by_image: dict[int, list[int]] = {}
    for index, image in enumerate(executed_observed.tolist()):
        by_image.setdefault(image, []).append(index)
    for number, image in enumerate(observed.tolist()):
        if image and by_image.get(image):
            matches[number] = by_image[image].pop(0)
            del free[int(matches[number])]
    until = np.append(stamps[1:], np.iinfo(np.int64).max)
    for number in np.flatnonzero((matches < 0) & (observed == 0)).tolist():
        first, last = np.searchsorted(
            executed_stamps,
            (stamps[number], min(until[number], stamps[number] + PERIOD_NS)),
        )
        match = next((index for index in range(first, last) if index in free), -1)
        matches[number] = match
        free.pop(match, None)
    return matches


def align(commands: Commands, images: np.ndarray, states: np.ndarray, end_ns: int) -> Steps:
    """Return the steps of one episode.

    Args:
        commands: What was asked of the arm.
        images: Image stamps, shape (I,), ascending [ns].
        states: Arm state stamps, shape (S,), ascending [ns].
        end_ns: When the episode ended; nothing later is an observation of it.

    Raises:
        AlignmentError: If an observation in the middle is missing or too old, or no step is
        left.
    """
    for what, number in (
        ("command", len(commands)),
        ("image", len(images)),
        ("arm state", len(states)),
    ):
        if not number:
            raise AlignmentError(f"no {what}")
    times, members = _slots(commands)
    last = min(int(times[-1]) + PERIOD_NS, end_ns)
    times = np.maximum.accumulate(np.append(times, max(last, int(times[-1]))))
    image, state = newest(images, times), newest(states, times)
    fresh = (image >= 0) & (state >= 0)
    fresh &= times - images[image] <= MAX_AGE_NS
    fresh &= times - states[state] <= MAX_AGE_NS
    first = int(np.argmax(fresh)) if fresh.any() else len(fresh)
    steps = len(members)
    if steps > first and (not fresh[steps] or image[steps] == image[steps - 1]):
        steps -= 1  # nothing shows what the last action led to
    if steps <= first:
        raise AlignmentError(
            "no command has an image and an arm state both before and after it"
        )
    if not fresh[first : steps + 1].all():
        step = first + int(np.argmin(fresh[first : steps + 1]))
        raise AlignmentError(
            _why_stale(times[step], images[image[step]], states[state[step]], step)
        )
    kept = slice(first, steps)
    return Steps(
        images=image[first : steps + 1],
        states=state[first : steps + 1],
        requested=_actions(commands.requested, members)[kept],
        executed=_actions(_filled(commands), members)[kept],
        members=tuple(members[kept]),
        early=_joined(members[:first]),
        late=_joined(members[steps:]),
    )


def newest(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return for each time the index of the last stamp that is not later, or -1; `stamps` ascends."""
    return np.searchsorted(stamps, times, side="right") - 1


def compose(actions: np.ndarray) -> np.ndarray:
    """Return the one action that equals several in a row.

    Translations add up; rotations are about base-frame axes, so the later one multiplies
    from the left; the gripper is absolute, so the last one counts.

    Args:
        actions: Shape (K, 7), K >= 1.

    Returns:
        Action, shape (7,).
    """
    if len(actions) == 1:
        return actions[0]
    rotation = np.eye(3)
    for action in actions:
        rotation = rotation_from_rpy(action[3:6]) @ rotation
    return np.concatenate(
        [actions[:, :3].sum(0), rpy_from_rotation(rotation), actions[-1, 6:]]
    )


def _slots(commands: Commands) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the time of each step's observation, shape (T,), and the commands each action is made of."""
    intervals = np.diff(commands.stamps)
    if len(intervals) and np.median(intervals) < FAST * PERIOD_NS:
        slot = (commands.stamps - commands.stamps[0]) // PERIOD_NS
        times = commands.stamps[0] + PERIOD_NS * np.arange(slot[-1] + 1)
        return times, [np.flatnonzero(slot == number) for number in range(len(times))]
    times, members = [], []
    for index, stamp in enumerate(commands.stamps.tolist()):
        if index and intervals[index - 1] > GAP * PERIOD_NS:
            held = round(intervals[index - 1] / PERIOD_NS) - 1
            times += [
                int(commands.stamps[index - 1]) + PERIOD_NS * (number + 1)
                for number in range(held)
            ]
            members += [np.array([], int)] * held
        times.append(int(commands.observed[index]) or stamp)
        members.append(np.array([index]))
    return np.array(times), members


def _actions(actions: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Return one action per step, shape (T, 7); where there is no command, stay and keep the gripper."""
    rows: list[np.ndarray] = []
    for member in members:
        rows.append(compose(actions[member]) if len(member) else _stay(rows[-1][6]))
    return np.array(rows)


def _filled(commands: Commands) -> np.ndarray:
    """Return the executed commands; where the arm executed none it stayed, with the gripper as it was."""
    executed = commands.executed.copy()
    missing = np.isnan(executed).any(1)
    gripper = executed[~missing][0, 6] if (~missing).any() else commands.requested[0, 6]
    for index in range(len(executed)):
        if missing[index]:
            executed[index] = _stay(gripper)
        gripper = executed[index, 6]
    return executed


def _stay(gripper: float) -> np.ndarray:
    return np.array([0.0] * 6 + [gripper])


def _joined(members: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.array([], int), *members])


def _why_stale(time_ns: int, image_ns: int, state_ns: int, step: int) -> str:
    ages = {"image": (time_ns - image_ns) / 1e9, "arm state": (time_ns - state_ns) / 1e9}
    name, age = max(ages.items(), key=lambda item: item[1])
    return f"at step {step} the newest {name} is {age:.2f} s old; at most {MAX_AGE_NS / 1e9:.1f} s are allowed"
