"""The band of Q of a policy in the demonstrations that its run held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ptr_policy_node.bundle import QBand
from ptr_training.data.episode import Episode, StoreError
from ptr_training.data.store import EpisodeStore

if TYPE_CHECKING:
    from ptr_training.models.inference_policy import InferencePolicy
    from ptr_training.training.checkpoint import Checkpoint

DIGITS = 6
"""Decimals of a value in `bundle.json`."""


def demonstrated_band(checkpoint: Checkpoint, deployed: InferencePolicy) -> QBand | None:
    """Return the band of min Q at the policy's own action, as the policy node computes it.

    Args:
        checkpoint: The checkpoint to deploy.
        deployed: Its policy and critic, in evaluation mode.

    Returns:
        The band of the successful demonstrations held out; None if there are none, their
        store is not on this computer or was changed, or the agent has no critic.
    """
    episodes = _held_out(checkpoint)
    values = [_min_q(checkpoint, deployed, episode) for episode in episodes]
    if not values or any(np.isnan(q).any() for q in values):
        return None
    return band_of(values)


def band_of(values: Sequence[np.ndarray]) -> QBand:
    """Return the band of several demonstrations; one that has ended keeps its last value.

    Args:
        values: Min Q by step, (T,) each.
    """
    longest = max(map(len, values))
    rows = [np.pad(q, (0, longest - len(q)), mode="edge") for q in values]
    low, high = np.min(rows, axis=0), np.max(rows, axis=0)
    rounded = [tuple(np.round(side.astype(float), DIGITS).tolist()) for side in (low, high)]
    return QBand(len(values), *rounded)


def _held_out(checkpoint: Checkpoint) -> list[Episode]:
    """Return the successful demonstrations that a run held out, if they are at hand."""
    source = checkpoint.data.get("target")
    if not source:
        return []
    try:
        store = EpisodeStore.open(source["path"])
    except StoreError:  # trained on another computer
        return []
    if store.fingerprint != source["sha256"]:
        return []
    ids = set(source.get("holdout", ()))
    return [each for each in store if each.id in ids and each.outcome == "success"]


def _min_q(
    checkpoint: Checkpoint, deployed: InferencePolicy, episode: Episode
) -> np.ndarray:
    """Return min Q of the policy's action at each step of a demonstration, (T,)."""
    import torch

    from ptr_training.data.transitions import episode_batch

    config, info = checkpoint.config, checkpoint.info
    rewarded = config.rewarded_steps or info.last_n
    sampling = config.agent.sampling
    batch = episode_batch(episode, info, checkpoint.task_ids, rewarded, sampling)
    inputs = (batch.images, batch.proprio, batch.task)
    with torch.inference_mode():
        actions = deployed.act(*inputs)[0].reshape(len(batch.task), -1, 7)[:, 0]
        q: np.ndarray = deployed.q(*inputs, actions).numpy()
    return q.min(axis=1)
