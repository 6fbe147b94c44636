"""The data specification of the networks, scaling of actions, and checks that data fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptr_training.errors import TrainingError

from .episode import DatasetInfo
from .store import EpisodeStore

ACTION_CLIP = 0.99  # keeps atanh finite where the density of a demonstrated action is taken

GRIPPER_END = 0.9
"""Scaled command beyond which a gripper counts as fully open or closed."""

BINARY_SHARE = 0.98
"""Least share of such commands of a binary gripper."""

CONTINUOUS_SHARE = 0.8
"""Largest share of such commands of a continuous one."""


@dataclass(frozen=True)
class DataSpec:
    """Sizes, bounds and statistics of the data; fixed by the first training stage and kept."""

    n_tasks: int  # width of the one-hot task id
    height: int
    width: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_active: tuple[bool, ...]  # whether a dimension varies; the others are not learnt
    action_rest: tuple[float, ...]  # value of the inactive dimensions, robot units
    proprio_mean: tuple[float, ...]
    proprio_std: tuple[float, ...]
    # of the squared error of cloning, mean 1 over the active dimensions
    action_weight: tuple[float, ...] = (1.0,) * 7
    # the gripper is open or closed, and a Bernoulli of the policy
    binary_gripper: bool = False


def normalize_actions(
    actions: np.ndarray, low: Sequence[float], high: Sequence[float]
) -> np.ndarray:
    """Return actions in robot units (…, 7) scaled to [-1, 1] and clipped to ±0.99, float32."""
    scaled = 2.0 * (actions - np.asarray(low)) / (np.asarray(high) - np.asarray(low)) - 1.0
    return np.clip(scaled, -ACTION_CLIP, ACTION_CLIP).astype(np.float32)


def check_alike(stores: Sequence[EpisodeStore]) -> DatasetInfo:
    """Return the description of the first store, which fits all others.

    Raises:
        TrainingError: If they differ in anything the policy depends on, naming it.
    """
    first = stores[0]
    for store in stores[1:]:
        _compare(store.path, store.info, first.path, first.info)
    return first.info


def _compare(
    path: object, info: DatasetInfo, other: object, expected_info: DatasetInfo
) -> None:
    """Raise TrainingError if two data sets differ in anything the policy depends on."""
    for name in (
        "camera",
        "image_height",
        "image_width",
        "resize",
        "rate",
        "command",
        "action_low",
        "action_high",
    ):
        value, expected = getattr(info, name), getattr(expected_info, name)
        if value != expected:
            raise TrainingError(
                f"{path} has {name} {value!r}, {other} has {expected!r}; export them alike"
            )


def check_compatible(spec: DataSpec, info: DatasetInfo, store: EpisodeStore) -> None:
    """Refuse demonstrations that a pre-trained agent cannot learn from.

    Args:
        spec: The data specification of the agent.
        info: Description of the pre-training data.
        store: The demonstrations.

    Raises:
        TrainingError: If the image, rate or action differ from `info`, or if the
            demonstrations vary an action dimension that pre-training found constant.
    """
    _compare(store.path, store.info, "the pre-training data", info)
    actions = store.actions[~store.steps["is_last"]]
    stds = normalize_actions(actions, info.action_low, info.action_high).std(0)
    for name, std, active in zip(info.action_names, stds, spec.action_active, strict=True):
        if not active and std > 0.1:
            raise TrainingError(
                f"{store.path} varies {name} (std {std:.2f} of ±1), which the pre-training "
                "data did not; pre-train with --set min_action_std=0"
            )


def fit_spec(
    stores: Sequence[EpisodeStore],
    n_tasks: int,
    min_action_std: float,
    balance: bool = False,
    gripper: str = "continuous",
) -> DataSpec:
    """Return the specification of the data for the networks.

    Args:
        stores: Data of the first training stage.
        n_tasks: Width of the task id.
        min_action_std: Dimensions that vary less, in units of the scaled action, are not
            learnt: by them alone a conservative critic would separate data from random actions.
        balance: Weigh the dimensions of the cloning loss by the inverse of their variance.
            The gripper varies most and hides the few centimetres that decide a grasp
            (docs/learning.md).
        gripper: `binary`, `continuous`, or `auto`: as the data are.

    Raises:
        TrainingError: If `auto` cannot tell which of both the gripper is.
    """
    info = check_alike(stores)
    kept_actions, kept_proprio = [], []
    for store in stores:
        kept_actions.append(store.actions[~store.steps["is_last"]])
        kept_proprio.append(store.steps["proprio"][store.rows])

    actions, proprio = np.concatenate(kept_actions), np.concatenate(kept_proprio)
    low, high = info.action_low, info.action_high
    scaled = normalize_actions(actions, low, high)
    std = scaled.std(0)
    active = std >= min_action_std
    weight = active / np.maximum(std, 1e-3) ** 2 if balance else active.astype(float)
    weight = weight * (active.sum() / max(weight.sum(), 1e-9))
    rest = np.clip(actions.mean(0), low, high)
    return DataSpec(
        n_tasks=n_tasks,
        height=info.image_height,
        width=info.image_width,
        action_low=low,
        action_high=high,
        action_active=tuple(active.tolist()),
        action_weight=tuple(weight.tolist()),
        action_rest=tuple(rest.tolist()),
        proprio_mean=tuple(proprio.mean(0).tolist()),
        proprio_std=tuple(np.maximum(proprio.std(0), 1e-2).tolist()),
        binary_gripper=bool(active[6]) and _is_binary(scaled[:, 6], gripper),
    )


def _is_binary(commands: np.ndarray, gripper: str) -> bool:
    """Return whether a gripper is to be learnt as open or closed.

    Args:
        commands: Scaled to [-1, 1], shape (N,).
        gripper: `binary`, `continuous` or `auto`.

    Raises:
        TrainingError: If `auto` cannot tell.
    """
    if gripper != "auto":
        return gripper == "binary"
    at_ends = float((np.abs(commands) > GRIPPER_END).mean())
    if CONTINUOUS_SHARE < at_ends < BINARY_SHARE:
        raise TrainingError(
            f"{at_ends:.0%} of the gripper commands are fully open or closed: too many for a "
            "continuous gripper, too few for a binary one; "
            "choose with --set agent.gripper=binary or --set agent.gripper=continuous"
        )
    return at_ends >= BINARY_SHARE


def hold_out_of_each_task(store: EpisodeStore, count: int, seed: int) -> list[int]:
    """Return the indices of episodes of prior data to hold out, drawn from `seed`.

    Args:
        store: The data.
        count: Successful episodes of each task to hold out.
        seed: Of the draw.

    Raises:
        TrainingError: If nothing of a task would remain to train on.
    """
    rng = np.random.default_rng(seed)
    held_out: list[int] = []
    for task in store.tasks if count else ():
        successes = []
        for index, entry in enumerate(store.entries):
            if entry.task == task and entry.outcome == "success":
                successes.append(index)
        if 0 < len(successes) <= count:
            raise TrainingError(
                f"{store.path} has {len(successes)} successful episodes of {task!r} and {count} "
                "are to be held out; at least one must remain: collect more or change "
                "pretrain.holdout (--holdout)"
            )
        held_out += rng.permutation(successes)[:count].tolist()
    return sorted(held_out)


def split_episodes(
    store: EpisodeStore, holdout: int, seed: int
) -> tuple[list[int], list[int]]:
    """Return which successful episodes to train on and which to hold out, drawn from `seed`.

    Raises:
        TrainingError: If nothing would remain to train on.
    """
    successes = [
        index for index, entry in enumerate(store.entries) if entry.outcome == "success"
    ]
    if len(successes) <= holdout:
        raise TrainingError(
            f"{store.path} has {len(successes)} successful demonstrations and {holdout} are "
            "to be held out; at least one must remain: record more or change --holdout"
        )

    order = np.random.default_rng(seed).permutation(successes).tolist()
    return sorted(order[holdout:]), sorted(order[:holdout])
