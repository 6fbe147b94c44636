"""What `Policy` runs where the policy is served: it asks, and reads the answers as our actions."""

from __future__ import annotations

import csv
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.action_space import ACTION_NAMES
from ptr_common.images import resize_area
from ptr_policy_node.bundle_info import BundleError

from .clients import ACTIONS, open_client
from .description import Served, Units
from .link import Link, NoActionError, Observation

if TYPE_CHECKING:
    from torch import Tensor

START_LIMIT = 60.0
"""Longest time of the first answer [s]: a server may compile its policy then."""

PLANS_KEPT = 2
"""Plans whose Q values are kept: they are asked for in another thread, after the command."""

Critic = Callable[[np.ndarray, np.ndarray, str, np.ndarray], np.ndarray]
"""(image (H, W, 3) of the camera, proprio (7,), task, action (7,)) to both Q values, (2,)."""

COLUMNS = ("episode", "step", "task", "sample", "chosen", "q1", "q2", *ACTION_NAMES)
"""Columns of the table of samples."""


@dataclass(frozen=True)
class Plan:
    """One answer of a server, in our units.

    Attributes:
        actions: (E, 7), see action_space.ACTION_NAMES.
        std: Their standard deviations, (E, 7); NaN where the server does not say them.
        q: Values of each action by both critics, (E, 2); NaN likewise.
    """

    actions: np.ndarray
    std: np.ndarray
    q: np.ndarray


class ServedPrograms:
    """The programs of a policy behind a server, with a batch size of 1.

    Args:
        served: The description.
        critic: Chooses among several answers; None: there is one.

    Attributes:
        counts: Observations without an action, by the kind of reason.

    Raises:
        BundleError: If a package or the server's token is missing.
    """

    def __init__(self, served: Served, critic: Critic | None = None) -> None:
        self._served = served
        self._critic = critic
        self._link = Link(open_client(served), served.url)
        self._values: deque[dict[bytes, np.ndarray]] = deque(maxlen=PLANS_KEPT)
        self.counts: Counter[str] = Counter()
        self._episode, self._step = 0, 0

    def check(self) -> Plan:
        """Ask once about a grey image, before anything moves.

        Returns:
            The answer.

        Raises:
            BundleError: If the server does not answer, or not with actions.
        """
        served, info = self._served, self._served.info
        image = np.full((*served.size, 3), 128, np.uint8)
        observation = Observation(image, np.zeros(7, np.float32), info.tasks[0])
        try:
            (answer,) = self._link.ask(observation, 1, START_LIMIT)
            return read_plan(answer, served)
        except NoActionError as error:
            hint = "; start it first (one of ours: ptr serve BUNDLE)"
            raise BundleError(
                f"{error}{hint if error.kind == 'no connection' else ''}"
            ) from error

    def check_deadline(self, limit: float) -> None:
        """Refuse a deadline later than a limit [s].

        Raises:
            BundleError: If it is later.
        """
        if self._served.deadline > limit:
            raise BundleError(
                f"deadline_ms is {1000 * self._served.deadline:g} for {self._served.url}; on a "
                f"graph an answer must come within a control period, {1000 * limit:g} ms"
            )

    def reset(self) -> None:
        """Begin an episode: a connection of its own, since a server may keep a state for each."""
        self._episode, self._step = self._episode + 1, 0
        self._link.reset()

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def act(self, image: Tensor, proprio: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions and their standard deviations; see `Backend.act`.

        Raises:
            NoActionError: If the server has no action in time.
        """
        import torch

        pixels, state = image[0].numpy(), proprio[0].numpy()
        name = self._served.info.tasks[int(task[0])]
        try:
            plan = self._chosen(pixels, state, name)
        except NoActionError as error:
            self.counts[error.kind] += 1
            raise
        values = {}
        for action, q in zip(plan.actions, plan.q, strict=True):
            values[state.tobytes() + action.tobytes()] = q
        self._values.append(values)
        shape = (1, *self._served.info.plan, 7)
        actions, std = plan.actions.reshape(shape), plan.std.reshape(shape)
        return torch.from_numpy(actions), torch.from_numpy(std)

    def q(self, image: Tensor, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
        """Return the Q values that came with an action at a state, (1, 2); NaN for any other."""
        import torch

        key = proprio[0].numpy().tobytes() + action[0].numpy().tobytes()
        for values in list(self._values):
            if key in values:
                return torch.from_numpy(values[key][None])
        return torch.full((1, 2), math.nan)

    def _chosen(self, image: np.ndarray, proprio: np.ndarray, task: str) -> Plan:
        """Return the plan to carry out at an observation."""
        served, rerank = self._served, self._served.rerank
        began = time.monotonic()
        sent = fit_image(image, served.size, pad=served.pad)
        samples = rerank.samples if rerank is not None else 1
        answers = self._link.ask(Observation(sent, proprio, task), samples, served.deadline)
        plans = [read_plan(answer, served) for answer in answers]
        self._step += 1
        if self._critic is None:
            return plans[0]
        values = [self._critic(image, proprio, task, plan.actions[0]) for plan in plans]
        best = int(np.argmax(np.min(values, axis=1)))
        if (took := time.monotonic() - began) > served.deadline:
            raise NoActionError(
                "late",
                f"{served.url}: {samples} samples and their critic took {1000 * took:.0f} ms, "
                f"at most {1000 * served.deadline:.0f} ms are allowed",
            )
        self._record(task, plans, values, best)
        q = np.full((len(plans[best].actions), 2), math.nan, np.float32)
        q[0] = values[best]
        return Plan(plans[best].actions, plans[best].std, q)

    def _record(
        self, task: str, plans: Sequence[Plan], values: Sequence[np.ndarray], best: int
    ) -> None:
        """Append the samples of one observation to the table, where one is kept.

        Raises:
            NoActionError: If it cannot be written.
        """
        assert self._served.rerank is not None
        file = self._served.rerank.record
        if file is None:
            return
        rows = []
        for sample, (plan, q) in enumerate(zip(plans, values, strict=True)):
            begin = (self._episode, self._step, task, sample, int(sample == best))
            rows.append((*begin, *map(float, q), *map(float, plan.actions[0])))
        try:
            with file.open("a", newline="", encoding="utf-8") as table:
                writer = csv.writer(table)
                if table.tell() == 0:
                    writer.writerow(COLUMNS)
                writer.writerows(rows)
        except OSError as error:
            raise NoActionError(
                "no record", f"{file} (rerank.record) cannot be written: {error.strerror}"
            ) from error


def fit_image(image: np.ndarray, size: tuple[int, int], *, pad: bool) -> np.ndarray:
    """Return an image as a served policy gets it, (*size, 3).

    Args:
        image: RGB image of the camera, (H, W, 3), uint8.
        size: Height and width [pixels].
        pad: Keep the ratio of its sides, with black on two of them; else it is stretched.
    """
    if not pad:
        return resize_area(image, size)
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, int(length * ratio)) for length in image.shape[:2])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    padded = np.zeros((*size, 3), np.uint8)
    padded[top : top + height, left : left + width] = resize_area(image, (height, width))
    return padded


def read_plan(answer: Mapping[str, Any], served: Served) -> Plan:
    """Return the actions of an answer that are carried out, in our units.

    Args:
        answer: Holds the actions, (7,) or (H, 7) with H at least `execute`; beside them
            perhaps `std`, of the same shape, and `q_values`, (2,) or (H, 2).
        served: The description.

    Raises:
        NoActionError: If there are none, too few, or their numbers are not finite.
    """
    count = served.info.execute
    entry = ACTIONS[served.protocol]
    actions = _rows(answer.get(entry), 7)
    if actions is None or len(actions) < count:
        found = answer.get(entry)
        shape = f"shape {np.shape(found)}" if isinstance(found, np.ndarray) else repr(found)
        raise NoActionError(
            "malformed",
            f"{entry} of {served.url} is {shape[:80]}; numbers of shape "
            f"({count} or more, 7) are expected",
        )
    scale = scales(served.units)
    scaled = (actions[:count] - np.append(np.zeros(6), served.units.closed)) * scale
    scaled[:, 6] = np.clip(scaled[:, 6], 0.0, 1.0)
    with np.errstate(over="ignore"):
        ours = scaled.astype(np.float32)
    if not np.isfinite(ours).all():
        raise NoActionError(
            "not finite",
            f"{entry} of {served.url} is not finite: {actions[:count].tolist()}",
        )
    std = _like(answer.get("std"), count, 7) * np.abs(scale)
    q = _like(answer.get("q_values"), count, 2)
    return Plan(ours, std.astype(np.float32), q.astype(np.float32))


def scales(units: Units) -> np.ndarray:
    """Return the factors from a server's units to ours, (7,)."""
    gripper = 1.0 / (units.open - units.closed)
    return np.array([units.translation] * 3 + [units.rotation] * 3 + [gripper])


def _like(values: Any, count: int, columns: int) -> np.ndarray:
    """Return what an answer says of its first actions, (count, columns); NaN if nothing."""
    rows = _rows(values, columns)
    if rows is None or len(rows) < count:
        return np.full((count, columns), math.nan)
    return rows[:count]


def _rows(values: Any, columns: int) -> np.ndarray | None:
    """Return numbers as rows of so many; None if they are of another shape, or no numbers."""
    try:
        rows = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if rows.ndim == 1:
        rows = rows[None]
    return rows if rows.ndim == 2 and rows.shape[1] == columns else None
