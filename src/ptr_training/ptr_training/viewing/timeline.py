"""One episode or bag on one time axis: images, commands, measured state, values, marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_training.data.episode import Episode
from ptr_training.errors import TrainingError


class ViewError(TrainingError):
    """What is asked for cannot be shown."""


@dataclass(frozen=True)
class Series:
    """Values over time.

    Attributes:
        times: Ascending [s], shape (n,).
        values: Shape (n, k); NaN where a value is missing.
    """

    times: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.times)

    def at(self, time: float) -> np.ndarray | None:
        """Return the values nearest to a time, shape (k,).

        None if none is within half a control period.
        """
        if not len(self.times):
            return None
        nearest = int(np.abs(self.times - time).argmin())
        if abs(self.times[nearest] - time) > 0.5 / CONTROL_RATE + 1e-6:
            return None
        return np.asarray(self.values[nearest])


def no_series(size: int) -> Series:
    """Return a series without values; `size` is their number at each time."""
    return Series(np.zeros(0), np.zeros((0, size)))


class Images(Protocol):
    """Images of one camera; decoded only when they are read."""

    name: str
    times: np.ndarray  # (n,) ascending [s]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield some images, (H, W, 3) uint8 RGB each; the indices are ascending."""
        ...


@dataclass(frozen=True)
class Span:
    """A stretch of time, such as a hold of the arm."""

    start: float  # [s]
    end: float  # [s]
    text: str


@dataclass(frozen=True)
class Mark:
    """A moment, such as the start of an episode."""

    time: float  # [s]
    text: str


@dataclass(frozen=True)
class Timeline:
    """What happened in one episode or bag; times in seconds from its first image.

    Attributes:
        title: What it is, for a heading.
        task: Name of the task.
        outcome: How it ended; empty if nobody said.
        cameras: Images of each camera, the policy's first.
        requested: Commands, values (n, 7); their time is that of the image they answer.
        executed: The same after the arm's limits.
        proprio: Measured state, values (n, 7).
        q: Values of the requested action by both critics, (n, 2); empty without a critic.
        clips: When a limit changed a command [s], shape (n,).
        holds: When the arm held, and why.
        marks: Other events.
        unread: Messages that could not be read.
    """

    title: str
    task: str
    outcome: str
    cameras: list[Images]
    requested: Series
    executed: Series
    proprio: Series
    q: Series = field(default_factory=lambda: no_series(2))
    clips: np.ndarray = field(default_factory=lambda: np.zeros(0))
    holds: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    unread: int = 0

    @property
    def seconds(self) -> float:
        """Time from the first image to the last one of the policy's camera [s]."""
        return float(self.cameras[0].times[-1]) if self.cameras else 0.0

    def steps(self) -> np.ndarray:
        """Return the indices of the policy camera's images at each control step, shape (n,).

        The steps are one control period apart, and one of them is the first command.

        Raises:
            ViewError: If there is no image.
        """
        if not self.cameras:
            raise ViewError(f"{self.title} holds no images; there is no film of it")
        times, period = self.cameras[0].times, 1 / CONTROL_RATE
        phase = float(self.requested.times[0]) % period if len(self.requested) else 0.0
        if period - phase < 0.25 * period:  # a rounding error, or the image after
            phase = 0.0
        grid = np.arange(phase, self.seconds + 0.25 * period, period)
        return np.abs(times[None] - grid[:, None]).argmin(1)


class ArrayImages:
    """Images of one camera in memory, or in a mapped file.

    Args:
        name: Of the camera.
        times: Of the images [s], shape (n,).
        frames: Shape (n, H, W, 3), uint8 RGB.
    """

    def __init__(self, name: str, times: np.ndarray, frames: np.ndarray) -> None:
        self.name = name
        self.times = times
        self._frames = frames

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield some images."""
        for index in indices:
            yield np.asarray(self._frames[index])


def of_episode(
    episode: Episode,
    camera: str,
    q: np.ndarray | None = None,
    clipped: np.ndarray | None = None,
) -> Timeline:
    """Return an episode on its time axis.

    Args:
        episode: Of a store or a rollout.
        camera: Name of its camera.
        q: Values of each requested action by both critics, (T, 2); None: not known.
        clipped: Whether a limit changed each command, (T,); None: not known, as of a store.
    """
    times = (episode.stamps_ns - episode.stamps_ns[0]) * 1e-9
    steps = times[:-1]
    return Timeline(
        title=episode.id,
        task=episode.task,
        outcome=episode.outcome,
        cameras=[ArrayImages(camera, times, episode.frames)],
        requested=Series(steps, episode.requested),
        executed=Series(steps, episode.executed),
        proprio=Series(times, episode.proprio),
        q=no_series(2) if q is None or np.isnan(q).all() else Series(steps, q),
        clips=np.zeros(0) if clipped is None else steps[clipped],
    )
