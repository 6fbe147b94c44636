"""The trend of an agent along an episode: its Q values and errors, and what they amount to.

`ptr select` compares checkpoints by it; a run can watch itself by it on episodes it does not train
on (`held_out.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ptr_training.data.episode import Episode

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ptr_training.agents import Agent
    from ptr_training.models.inference_policy import InferencePolicy

    from .checkpoint import Checkpoint

OTHER_ACTIONS = 6
"""Other steps of a demonstration whose actions its own are compared with."""

SMALLEST_MOVE = 0.005
"""Component of an action, in metres or radians, above which the arm is to move."""

MARGIN = 0.25
"""What Q may leave the returns that can occur by, as a share of their range: Q is an estimate."""


@dataclass(frozen=True)
class Trend:
    """One held-out demonstration of T steps, as one checkpoint sees it."""

    episode: str
    q: np.ndarray  # (T, 2) of both heads at the demonstrated actions; NaN without critic
    error: np.ndarray  # (T,) squared error of the policy's mode, scale -1..1
    td_error: np.ndarray  # (T,) squared TD error; NaN without critic
    # lowest and highest return that can occur
    returns: tuple[float, float] = (-np.inf, np.inf)
    # (T,) share of the demonstration's other actions that min Q ranks below the demonstrated
    # one; NaN where the arm was to rest, and without critic
    above: np.ndarray | None = None
    # (T, 4) of a binary gripper: min Q of open and of closed at the policy's motion, the policy's
    # probability of open, and whether it was demonstrated open
    gripper: np.ndarray | None = None


def summarise(trends: Sequence[Trend]) -> dict[str, float]:
    """Return the means of an agent over held-out episodes, those that are known.

    Returns:
        spearman: Of time and min Q; inside: share of the steps at which min Q is a return that
        can occur; above: share of other steps' actions that rank below the demonstrated one;
        td_error: squared TD error; error: squared error of the policy's mode. The first four
        are known of an agent with a critic only.
    """
    correlations = [spearman(trend.q.min(axis=1)) for trend in trends]
    values = {
        "spearman": float(np.mean(correlations)),
        "inside": share_inside(trends),
        "above": share_above(trends),
        "td_error": float(np.concatenate([trend.td_error for trend in trends]).mean()),
        "error": float(np.concatenate([trend.error for trend in trends]).mean()),
    }
    if np.isnan(values["spearman"]):
        return {"error": values["error"]}
    return values


def share_inside(trends: Sequence[Trend]) -> float:
    """Return the share of all steps at which min Q is a return that can occur, with a margin.

    It is 1 without critic.
    """
    inside = []
    for trend in trends:
        low, high = trend.returns
        margin = MARGIN * (high - low) if np.isfinite(high - low) else 0.0
        q = trend.q.min(axis=1)
        inside.append(np.isnan(q) | ((q >= low - margin) & (q <= high + margin)))
    return float(np.concatenate(inside).mean())


def share_above(trends: Sequence[Trend]) -> float:
    """Return the share of other steps' actions below the demonstrated one; 1 without critic."""
    shares = [trend.above for trend in trends if trend.above is not None]
    known = np.concatenate([np.zeros(0), *shares])
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else 1.0


def spearman(values: np.ndarray) -> float:
    """Return the rank correlation of a sequence (T,) with its index.

    Returns:
        From -1 (falls throughout) to 1 (rises throughout); 0 for a constant sequence, NaN
        for one that holds NaN.
    """
    if np.isnan(values).any():
        return float("nan")
    middle = (len(values) - 1) / 2
    ranks = _ranks(values) - middle
    time = np.arange(len(values)) - middle
    norm = np.sqrt((ranks**2).sum() * (time**2).sum())
    if norm == 0:
        return 0.0
    return float((ranks * time).sum() / norm)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values (T,) from 0 on; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts + 1) / 2
    return mean_ranks[inverse]


def evaluate(
    agent: Agent,
    checkpoint: Checkpoint,
    episode: Episode,
    device: torch.device | None = None,
) -> Trend:
    """Return Q values and errors along a demonstration, computed in one batch.

    Args:
        agent: The agent of the checkpoint.
        checkpoint: Its configuration, tasks and data.
        episode: The demonstration, of T steps.
        device: Where the agent is; None: on the CPU.
    """
    import torch

    from ptr_training.agents.actor_critic import ActorCritic
    from ptr_training.data.normalization import normalize_actions
    from ptr_training.data.transitions import episode_batch

    device = device or torch.device("cpu")
    data_spec, info = checkpoint.data_spec, checkpoint.info
    rewarded_steps = checkpoint.config.rewarded_steps or info.last_n
    sampling = agent.config.sampling
    batch = episode_batch(episode, info, checkpoint.task_ids, rewarded_steps, sampling)
    batch = batch.to(device)
    actions = np.array(getattr(episode, info.command))  # (T, 7)
    module = agent.deployed().to(device).eval()
    inputs = (batch.images, batch.proprio, batch.task)
    with torch.inference_mode():
        modes = module.act(*inputs)[0].reshape(len(actions), -1, 7)[:, 0]
        q = module.q(*inputs, torch.from_numpy(actions).to(device)).cpu().numpy()
        above = _above_others(module, inputs, actions, q.min(axis=1))
        td_error = agent.td_errors(batch).cpu().numpy()
    low, high = data_spec.action_low, data_spec.action_high
    scaled_modes = normalize_actions(modes.cpu().numpy(), low, high)
    difference = scaled_modes - normalize_actions(actions, low, high)
    active = np.array(data_spec.action_active)
    error = (difference[:, active] ** 2).mean(axis=1)
    returns = getattr(agent.config, "possible_returns", (-np.inf, np.inf))
    gripper = None
    if isinstance(agent, ActorCritic) and agent.binary_gripper:
        columns = [*agent.judge_gripper(batch), batch.actions[:, 6] > 0.0]
        stacked = torch.stack([column.float() for column in columns], 1)
        gripper = stacked.cpu().numpy()
    return Trend(episode.id, q, error, td_error, returns, above, gripper)


def _above_others(
    module: InferencePolicy,
    inputs: tuple[Tensor, Tensor, Tensor],
    actions: np.ndarray,
    q: np.ndarray,
) -> np.ndarray:
    """Return the share (T,) of other steps' actions that min Q ranks below the demonstrated one.

    Args:
        module: The policy with its critic.
        inputs: Images, proprioception and tasks of T steps.
        actions: Demonstrated at them, shape (T, 7).
        q: Their min Q, shape (T,); NaN without critic.

    Returns:
        NaN without critic, and where the arm was to rest.
    """
    import torch

    if np.isnan(q).any() or len(q) < 2:
        return np.full(len(q), np.nan)
    offsets = np.unique(np.linspace(1, len(q) - 1, OTHER_ACTIONS).astype(int)).tolist()
    others = np.stack([np.roll(actions, offset, axis=0) for offset in offsets], axis=1)
    compared = torch.from_numpy(others).to(inputs[0].device)
    values = module.q_values(*inputs, compared)[:2].cpu()
    below = values.numpy().min(axis=0) < q[:, None]  # (T, offsets)
    moves = np.abs(actions[:, :6]).max(axis=1) > SMALLEST_MOVE
    return np.where(moves, below.mean(axis=1), np.nan)
