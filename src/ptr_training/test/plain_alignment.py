"""The rule of alignment in plain loops with its numbers, and recordings near its limits."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from ptr_training.bags.alignment import PERIOD_NS, Commands, Steps

FOREVER = 2**62
MS = 1_000_000

# offsets [ns] around the places where a rule changes, and some of everyday jitter
EDGE = st.sampled_from([-1, 0, 1, -7 * MS, 3 * MS, 20 * MS])
GAPS = st.sampled_from([200, 200, 200, 300, 400, 500, 600, 150, 100, 33])  # [ms]


def make_commands(stamps: list[int], observed: list[int] | None = None) -> Commands:
    """Commands whose action number k moves k mm along x, all executed at half size."""
    requested = np.zeros((len(stamps), 7))
    requested[:, 0] = np.arange(len(stamps)) / 1000
    requested[:, 6] = np.arange(len(stamps)) % 2
    executed = requested * np.array([0.5] * 6 + [1.0])
    zeros = np.zeros(len(stamps), np.int64)
    return Commands(
        np.array(stamps),
        zeros if observed is None else np.array(observed),
        requested,
        executed,
    )


def every(interval_ms: float, until_ms: int, start_ms: int = 0) -> np.ndarray:
    return np.arange(start_ms, until_ms, interval_ms) * MS


def plain_slots(
    stamps: list[int], observed: list[int]
) -> tuple[list[int], list[list[int]]]:
    """The times of the steps and their commands, in loops and with the numbers of the rule."""
    intervals = sorted(b - a for a, b in itertools.pairwise(stamps))
    middle = len(intervals) // 2
    if intervals and (intervals[middle] + intervals[-1 - middle]) / 2 < 150 * MS:
        count = (stamps[-1] - stamps[0]) // (200 * MS) + 1
        times = [stamps[0] + number * 200 * MS for number in range(count)]
        members: list[list[int]] = [[] for _ in times]
        for index, stamp in enumerate(stamps):
            members[(stamp - stamps[0]) // (200 * MS)].append(index)
        return times, members
    times, members = [], []
    for index, stamp in enumerate(stamps):
        gap = stamp - stamps[index - 1] if index else 0
        if gap > 300 * MS:
            for number in range(1, round(gap / (200 * MS))):
                times.append(stamps[index - 1] + number * 200 * MS)
                members.append([])
        times.append(observed[index] or stamp)
        members.append([index])
    return times, members


def plain_newest(stamps: list[int], time: int) -> int:
    """The newest observation for a step, -1 if there is none or if it is too old."""
    index = max((k for k, stamp in enumerate(stamps) if stamp <= time), default=-1)
    return index if index >= 0 and time - stamps[index] <= 400 * MS else -1


def plain_align(
    commands: Commands, images: list[int], states: list[int], end: int
) -> object:
    """The observations and commands of the steps, or None for a refused episode."""
    times, members = plain_slots(commands.stamps.tolist(), commands.observed.tolist())
    times.append(max(times[-1], min(times[-1] + 200 * MS, end)))
    for index in range(1, len(times)):
        times[index] = max(times[index], times[index - 1])
    image = [plain_newest(images, time) for time in times]
    state = [plain_newest(states, time) for time in times]
    fresh = [i >= 0 and s >= 0 for i, s in zip(image, state, strict=True)]
    first = fresh.index(True) if True in fresh else len(times)
    last = len(members) if fresh[-1] else len(members) - 1
    while last > first and image[last] == image[last - 1]:
        last -= 1
    if last <= first or not all(fresh[first : last + 1]):
        return None
    return (
        image[first : last + 1],
        state[first : last + 1],
        members[first:last],
        flat(members[:first]),
        flat(members[last:]),
    )


def flat(lists: list[list[int]]) -> list[int]:
    return [item for items in lists for item in items]


def as_lists(steps: Steps) -> object:
    return (
        steps.images.tolist(),
        steps.states.tolist(),
        [member.tolist() for member in steps.members],
        steps.early.tolist(),
        steps.late.tolist(),
    )


def plain_match(
    stamps: list[int], observed: list[int], done: list[int], done_observed: list[int]
) -> list[int]:
    """Which executed command belongs to each request, in loops."""
    matches = [-1] * len(stamps)
    for number, image in enumerate(observed):
        for index, answered in enumerate(done_observed):
            if image and answered == image and index not in matches:
                matches[number] = index
                break
    for number, stamp in enumerate(stamps):
        following = stamps[number + 1] if number + 1 < len(stamps) else FOREVER
        if observed[number] or matches[number] >= 0:
            continue
        for index, time in enumerate(done):
            if stamp <= time < min(following, stamp + 200 * MS) and index not in matches:
                matches[number] = index
                break
    return matches


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Commands, list[int], list[int], int]:
    """Commands near the control rate, and observations close to and far from them."""
    count = draw(st.integers(1, 7))
    stamps = [2000 * MS]
    for _ in range(count - 1):
        stamps.append(stamps[-1] + draw(GAPS) * MS + draw(EDGE))
    marks = [*stamps, stamps[-1] + PERIOD_NS]
    observations = []
    for _ in range(2):
        near = [mark + draw(EDGE) for mark in marks if draw(st.integers(0, 9))]
        held = [mark + 200 * MS + draw(EDGE) for mark in marks]
        before = [stamps[0] - draw(st.sampled_from([50, 400])) * MS - draw(EDGE)]
        dense = list(range(1900 * MS, marks[-1] + 500 * MS, 50 * MS))
        observations.append(
            sorted(draw(st.sampled_from([before + near, near + held, dense])))
        )
    images, states = observations
    observed = [0] * count
    if images and draw(st.booleans()):
        for index, stamp in enumerate(stamps):
            newest_image = [image for image in images if image <= stamp][-1:]
            observed[index] = (newest_image or [0])[0] if draw(st.integers(0, 3)) else 0
    end = draw(st.sampled_from([*marks, marks[-1] - 90 * MS, FOREVER])) + draw(EDGE)
    commands = make_commands(stamps, observed)
    missing = draw(st.sets(st.integers(0, count - 1)))
    commands.executed[list(missing)] = np.nan
    return commands, images, states, end
