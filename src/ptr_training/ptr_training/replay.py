"""From episode stores to batches: frames stay in mapped memory, a batch gathers frames t and t + 1.

The official buffer keeps s and s' apart; here every frame is stored once. Sampling is uniform over
transitions with replacement within prior and within target data, so long episodes weigh more (as there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .episodes import Card, EpisodeStore, TaskRegistry, TrainingError

ACTION_CLIP = 0.99  # keeps atanh finite where the density of a demonstrated action is taken


@dataclass(frozen=True)
class Batch:
    """Transitions (s, a, r, s') with their task ids."""

    images: Tensor  # (B, H, W, 3) uint8
    next_images: Tensor  # (B, H, W, 3) uint8
    proprio: Tensor  # (B, 7)
    next_proprio: Tensor  # (B, 7)
    task: Tensor  # (B,) int64
    actions: Tensor  # (B, 7) in [-0.99, 0.99]
    rewards: Tensor  # (B,) 0 or 1, as labelled

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Problem:
    """What the networks must know about the data; fixed by the first training stage and kept."""

    n_tasks: int  # width of the one-hot task id
    height: int
    width: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_active: tuple[bool, ...]  # dimensions that vary in the data; the others are not learnt
    action_rest: tuple[float, ...]  # value of the inactive dimensions, robot units
    proprio_mean: tuple[float, ...]
    proprio_std: tuple[float, ...]
    action_weight: tuple[float, ...] = (1.0,) * 7  # of the squared error of cloning, mean 1 over the active dimensions


def normalize_actions(actions: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Return actions in robot units (…, 7) scaled to [-1, 1] and clipped to ±0.99, float32."""
    scaled = 2.0 * (actions - np.asarray(low)) / (np.asarray(high) - np.asarray(low)) - 1.0
    return np.clip(scaled, -ACTION_CLIP, ACTION_CLIP).astype(np.float32)


class Transitions:
    """The transitions of some episodes of one store."""

    def __init__(self, store: EpisodeStore, registry: TaskRegistry, episodes: Sequence[int] | None = None) -> None:
        chosen = range(len(store)) if episodes is None else episodes
        entries = [store.entries[index] for index in chosen if store.entries[index].outcome == "success"]
        if not entries:
            raise TrainingError(f"{store.path} holds no successful episode to learn from")
        self.store = store
        self.rows = np.concatenate([np.arange(each.start, each.start + each.length) for each in entries])
        tasks = [np.full(each.length, registry.id(each.task)) for each in entries]
        self._task = torch.from_numpy(np.concatenate(tasks))
        self._actions = normalize_actions(store.actions, store.card.action_low, store.card.action_high)

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, index: np.ndarray) -> Batch:
        """Return the transitions at positions `index` (B,)."""
        rows = self.rows[index]
        steps, after = self.store.steps[rows], self.store.steps[rows + 1]
        return Batch(
            images=torch.from_numpy(self.store.frames[rows]),
            next_images=torch.from_numpy(self.store.frames[rows + 1]),
            proprio=torch.from_numpy(steps["proprio"].copy()),
            next_proprio=torch.from_numpy(after["proprio"].copy()),
            task=self._task[index],
            actions=torch.from_numpy(self._actions[rows]),
            rewards=torch.from_numpy(steps["reward"].copy()),
        )


class Replay:
    """Draws batches from prior and target data, with `mix` the fraction of prior transitions (paper §4.1: τ)."""

    def __init__(
        self, prior: Sequence[Transitions], target: Sequence[Transitions], *, mix: float, batch_size: int, seed: int
    ) -> None:
        # rounded on the whole batch; the official code rounds per device and so changes the ratio
        n_prior = int(batch_size * mix + 1e-9)
        self._shares = [(group, count) for group, count in ((prior, n_prior), (target, batch_size - n_prior)) if count]
        for group, count in self._shares:
            if not group:
                kind = "prior" if group is prior else "target"
                raise TrainingError(
                    f"mix {mix} asks for {count} {kind} transitions a batch, but no {kind} store is given"
                )
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self) -> Batch:
        """Draw one batch; its prior part comes first."""
        parts = [part for group, count in self._shares for part in self._draw(group, count)]
        names = Batch.__dataclass_fields__
        return Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def _draw(self, group: Sequence[Transitions], count: int) -> list[Batch]:
        ends = np.cumsum([len(each) for each in group])
        draw = torch.randint(int(ends[-1]), (count,), generator=self.generator).numpy()
        which = np.searchsorted(ends, draw, side="right")
        starts = ends - [len(each) for each in group]
        picks = [(each, draw[which == k] - starts[k]) for k, each in enumerate(group)]
        return [each.gather(index) for each, index in picks if len(index)]


def check_alike(stores: Sequence[EpisodeStore]) -> Card:
    """Return the card the stores have in common.

    Raises:
        TrainingError: If they differ in anything the policy depends on, naming it.
    """
    first = stores[0]
    for store in stores[1:]:
        _compare(store.path, store.card, first.path, first.card)
    return first.card


def _compare(path: object, card: Card, other: object, wanted: Card) -> None:
    for name in ("camera", "image_height", "image_width", "resize", "rate", "command", "action_low", "action_high"):
        found, expected = getattr(card, name), getattr(wanted, name)
        if found != expected:
            raise TrainingError(f"{path} has {name} {found!r}, {other} has {expected!r}; export them alike")


def check_suits(problem: Problem, card: Card, store: EpisodeStore) -> None:
    """Refuse demonstrations that a pre-trained agent cannot learn from.

    Raises:
        TrainingError: If the image, rate or action differ from `card`, or if the demonstrations
            vary an action dimension that pre-training found constant.
    """
    _compare(store.path, store.card, "the pre-training data", card)
    moving = ~store.steps["is_last"]
    deviation = normalize_actions(store.actions[moving], card.action_low, card.action_high).std(0)
    for name, std, active in zip(card.action_names, deviation, problem.action_active, strict=True):
        if not active and std > 0.1:
            raise TrainingError(
                f"{store.path} varies {name} (deviation {std:.2f} of ±1), which the pre-training data did not; "
                "pre-train with --set min_action_std=0"
            )


def describe(stores: Sequence[EpisodeStore], n_tasks: int, min_action_std: float, balance: bool = False) -> Problem:
    """Return what the networks must know about these data.

    Args:
        stores: Data of the first training stage.
        n_tasks: Width of the task id.
        min_action_std: Dimensions that vary less, in units of the scaled action, are not learnt:
            a conservative critic would tell data from random actions by them alone.
        balance: Weigh the dimensions of the cloning loss by the inverse of their variance. The gripper varies most and
            hides the few centimetres that decide a grasp (docs/learning.md).
    """
    card = check_alike(stores)
    rows = [~store.steps["is_last"] for store in stores]
    actions = np.concatenate([store.actions[keep] for store, keep in zip(stores, rows, strict=True)])
    proprio = np.concatenate([store.steps["proprio"] for store in stores])
    deviation = normalize_actions(actions, card.action_low, card.action_high).std(0)
    active = deviation >= min_action_std
    weight = active / np.maximum(deviation, 1e-3) ** 2 if balance else active.astype(float)
    return Problem(
        n_tasks=n_tasks,
        height=card.image_height,
        width=card.image_width,
        action_low=card.action_low,
        action_high=card.action_high,
        action_active=tuple(active.tolist()),
        action_weight=tuple((weight * (active.sum() / max(weight.sum(), 1e-9))).tolist()),
        action_rest=tuple(np.clip(actions.mean(0), card.action_low, card.action_high).tolist()),
        proprio_mean=tuple(proprio.mean(0).tolist()),
        proprio_std=tuple(np.maximum(proprio.std(0), 1e-2).tolist()),
    )


def split_episodes(store: EpisodeStore, holdout: int, seed: int) -> tuple[list[int], list[int]]:
    """Return which successful episodes to train on and which to hold out, drawn from `seed`.

    Raises:
        TrainingError: If nothing would remain to train on.
    """
    successes = [index for index, entry in enumerate(store.entries) if entry.outcome == "success"]
    if holdout < 1 or len(successes) <= holdout:
        raise TrainingError(
            f"{store.path} has {len(successes)} successful demonstrations and {holdout} are to be held out; "
            "at least one must be held out for `ptr select` and one must remain: record more or change --holdout"
        )
    order = np.random.default_rng(seed).permutation(successes).tolist()
    return sorted(order[holdout:]), sorted(order[:holdout])
