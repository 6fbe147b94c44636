"""Stamped commands, images and arm states become steps at the control rate. Pure NumPy.

All stamps are integer nanoseconds on one clock. The docstring of `episodes_from_bag.py`
states the rule in words.
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
"""Periods without a command after which the arm is assumed to have held still."""

FAST = 0.75
"""Median interval, in periods, below which commands are gathered on a grid."""

MAX_AGE_NS = 2 * PERIOD_NS
"""Oldest image or state that still counts as the observation of a step [ns]."""


MAX_PAUSE_NS = 3600 * 1_000_000_000
"""Longest pause between two commands of an episode [ns]; a longer one is a clock that jumped."""


@dataclass(frozen=True)
class Commands:
    """The commands of one episode, ordered by stamp."""

    stamps: np.ndarray  # (C,) int64 [ns]
    observed: np.ndarray  # (C,) int64, stamp of the image each one answers [ns], or 0
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
    ]  # T times the indices of an action's commands; none: held
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
    """Return for each command the index of its executed command, or -1.

    They belong together if they answer the same image; without an image, the executed
    command is the first one stamped within a period from the request and before the next
    one.

    Args:
        stamps: Requests, shape (C,), ascending [ns].
        observed: Image stamps they answer, shape (C,), 0 for none.
        executed_stamps: Executed commands, shape (E,), ascending [ns].
        executed_observed: Image stamps they answer, shape (E,), 0 for none.

    Returns:
        Indices into the executed commands, shape (C,).
    """
    matches = np.full(len(stamps), -1)
    by_image: dict[int, list[int]] = {}
    for index, image in enumerate(executed_observed.tolist()):
        by_image.setdefault(image, []).append(index)
    for number, image in enumerate(observed.tolist()):
        if image and by_image.get(image):
            matches[number] = by_image[image].pop(0)

    free = np.ones(len(executed_stamps), bool)
    free[matches[matches >= 0]] = False
    next_stamps = np.append(stamps[1:], np.iinfo(np.int64).max)
    for number in np.flatnonzero(observed == 0).tolist():
        end = min(next_stamps[number], stamps[number] + PERIOD_NS)
        first, last = np.searchsorted(executed_stamps, (stamps[number], end))
        candidates = first + np.flatnonzero(free[first:last])
        if len(candidates):
            matches[number] = candidates[0]

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
    counts = {"command": len(commands), "image": len(images), "arm state": len(states)}
    for name, count in counts.items():
        if not count:
            raise AlignmentError(f"no {name}")

    _check_pauses(commands.stamps, images, states)
    times, members = _slots(commands)
    times = np.append(times, _last_observation_time(int(times[-1]), end_ns))
    times = np.maximum.accumulate(times)
    image, state = newest(images, times), newest(states, times)
    shows = _fresh(images, image, times)
    fresh = shows & _fresh(states, state, times)
    first = int(np.argmax(fresh)) if fresh.any() else len(fresh)
    steps = len(members) if fresh[-1] else len(members) - 1
    shown = np.where(shows, image, -1)  # a stale image shows nothing: that is a gap
    while steps > first and shown[steps] == shown[steps - 1]:
        steps -= 1  # no image shows the result of the last action
    if steps <= first:
        raise AlignmentError(
            "no command has an image and an arm state both before and after it"
        )

    observed = slice(first, steps + 1)
    if not fresh[observed].all():
        step = first + int(np.argmin(fresh[observed]))
        ages = times[step] - images[image[step]], times[step] - states[state[step]]
        raise AlignmentError(_why_stale(int(ages[0]), int(ages[1]), step))
    kept = slice(first, steps)
    return Steps(
        images=image[observed],
        states=state[observed],
        requested=_actions(commands.requested, members)[kept],
        executed=_actions(_filled(commands), members)[kept],
        members=tuple(members[kept]),
        early=_joined(members[:first]),
        late=_joined(members[steps:]),
    )


def _check_pauses(stamps: np.ndarray, images: np.ndarray, states: np.ndarray) -> None:
    """Refuse a pause of the commands that nothing shows, before steps are made to fill it.

    Args:
        stamps: Of the commands, shape (C,), ascending [ns].
        images: Image stamps, shape (I,), ascending [ns].
        states: Arm state stamps, shape (S,), ascending [ns].

    Raises:
        AlignmentError: If there is one, or one of an hour.
    """
    first = max(images[0], states[0])
    longest = MAX_AGE_NS + 2 * PERIOD_NS
    for index in np.flatnonzero(np.diff(stamps) > longest).tolist():
        start, end = stamps[index], stamps[index + 1]
        seconds = (end - start) / 1e9
        if end - start > MAX_PAUSE_NS:
            raise AlignmentError(
                f"commands pause for {seconds:.1f} s after command {index}; at most "
                f"{MAX_PAUSE_NS / 1e9:.0f} s are allowed. A clock may have jumped"
            )
        for name, observed in (("image", images), ("arm state", states)):
            inside = observed[(observed > start) & (observed < end)]
            holes = np.diff([max(start, first), *inside[inside > first], max(end, first)])
            if holes.max() > longest:
                raise AlignmentError(
                    f"commands pause for {seconds:.1f} s after command {index}, and no "
                    f"{name} shows the arm for {holes.max() / 1e9:.1f} s of it; at most "
                    f"{MAX_AGE_NS / 1e9:.1f} s are allowed"
                )


def _last_observation_time(last_ns: int, end_ns: int) -> int:
    """Return the time of the observation after the last step, whose own is at `last_ns`."""
    return max(last_ns, min(last_ns + PERIOD_NS, end_ns))


def _fresh(stamps: np.ndarray, index: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return for each time whether it has an observation that is not too old, shape (T,) bool.

    Args:
        stamps: Stamps of the observations [ns].
        index: Observation of each time, shape (T,); -1: none.
        times: Shape (T,) [ns].
    """
    return (index >= 0) & (times - stamps[index] <= MAX_AGE_NS)


def newest(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return for each time the index of the last stamp that is not later, or -1.

    Args:
        stamps: Shape (N,), ascending [ns].
        times: Shape (T,) [ns].

    Returns:
        Indices into `stamps`, shape (T,).
    """
    return np.searchsorted(stamps, times, side="right") - 1


def compose(actions: np.ndarray) -> np.ndarray:
    """Return the one action with the effect of several in a row.

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
    translation = actions[:, :3].sum(0)
    return np.concatenate([translation, rpy_from_rotation(rotation), actions[-1, 6:]])


def _slots(commands: Commands) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the time of each step's observation and the commands of its action.

    Returns:
        Times, shape (T,) [ns]; indices of the commands, T arrays.
    """
    intervals = np.diff(commands.stamps)
    if len(intervals) and np.median(intervals) < FAST * PERIOD_NS:
        return _grid(commands.stamps)
    times: list[int] = []
    members: list[np.ndarray] = []
    before = int(commands.stamps[0])
    for index, stamp in enumerate(commands.stamps.tolist()):
        if stamp - before > GAP * PERIOD_NS:
            held = round((stamp - before) / PERIOD_NS) - 1
            for number in range(1, held + 1):
                times.append(before + PERIOD_NS * number)
                members.append(np.array([], int))
        times.append(int(commands.observed[index]) or stamp)
        members.append(np.array([index]))
        before = stamp

    return np.array(times), members


def _grid(stamps: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the times of a grid of one period from the first stamp on, and each slot's commands.

    Args:
        stamps: Of the commands, shape (C,), ascending [ns].

    Returns:
        Times, shape (T,) [ns]; indices of the commands of each slot, T arrays.
    """
    slot = (stamps - stamps[0]) // PERIOD_NS
    numbers = np.arange(slot[-1] + 1)
    members = [np.flatnonzero(slot == number) for number in numbers]
    return stamps[0] + PERIOD_NS * numbers, members


def _actions(actions: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Return one action per step, shape (T, 7).

    In a step without a command the arm stays and keeps the gripper of the step before.
    """
    rows: list[np.ndarray] = []
    for member in members:
        if len(member):
            rows.append(compose(actions[member]))
        else:
            rows.append(_stay(rows[-1][6]))
    return np.array(rows)


def _filled(commands: Commands) -> np.ndarray:
    """Return the executed commands, shape (C, 7), with an action for those not executed.

    In such a step the arm stayed and kept the gripper of the command before.
    """
    executed = commands.executed.copy()
    missing = np.isnan(executed).any(1)
    gripper = commands.requested[0, 6] if missing.all() else executed[~missing][0, 6]
    for index in range(len(executed)):
        if missing[index]:
            executed[index] = _stay(gripper)
        gripper = executed[index, 6]
    return executed


def _stay(gripper: float) -> np.ndarray:
    """Return the action of an arm at rest, shape (7,)."""
    return np.array([0.0] * 6 + [gripper])


def _joined(members: Sequence[np.ndarray]) -> np.ndarray:
    """Return indices one after the other; an empty array of no members."""
    return np.concatenate([np.array([], int), *members])


def _why_stale(image_age_ns: int, state_age_ns: int, step: int) -> str:
    """Return the reason why a step has no observation, from the ages of its newest ones."""
    name, age = "image", image_age_ns / 1e9
    if state_age_ns > image_age_ns:
        name, age = "arm state", state_age_ns / 1e9
    return (
        f"at step {step} the newest {name} is {age:.2f} s old; "
        f"at most {MAX_AGE_NS / 1e9:.1f} s are allowed"
    )
