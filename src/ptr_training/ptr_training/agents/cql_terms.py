"""The terms of conservative Q-learning, one function for each (paper §4.1).

Letters in shapes: B batch, K actions per state, E critic heads (j in formulas). Actions at s
are a_k, those at s' are a'_k.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .agent import adam
from .cql_config import ALPHA_RANGE, CQLConfig


def backup(q_next: Tensor, rewards: Tensor, masks: Tensor, discount: float) -> Tensor:
    """Return TD targets r + γ m max_k min_j Q̄_j(s', a'_k); there is no entropy term.

    The paper has one action at s' (K = 1); the official code takes the best of several.

    Args:
        q_next: Target Q of actions at s', shape (E, B, K).
        rewards: Trained rewards, shape (B,).
        masks: 1 - terminal, shape (B,); a terminal step has no bootstrap.
        discount: γ.

    Returns:
        Targets, shape (B,).
    """
    return rewards + discount * masks * q_next.amin(0).amax(1)


def monte_carlo_returns(
    steps_to_reward: Tensor, scale: float, shift: float, discount: float
) -> Tensor:
    """Return the discounted sum of trained rewards from each transition to the rewarded step.

    Args:
        steps_to_reward: k, transitions before the first rewarded one, shape (B,); infinite in
            an episode without reward.
        scale: Trained reward of a rewarded step, less `shift`.
        shift: Trained reward of every other step.
        discount: γ.

    Returns:
        shift (1 - γ^k) / (1 - γ) + γ^k (scale + shift), shape (B,).
    """
    shrink = discount**steps_to_reward
    return shift * (1.0 - shrink) / (1.0 - discount) + shrink * (scale + shift)


def td_loss(q_data: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean over heads and batch of (Q_j(s, a) - target)^2, weighted if asked for.

    The paper's formula has a factor 1/2, the official code none.

    Args:
        q_data: Q of the demonstrated actions, shape (E, B).
        target: TD targets, shape (B,).
        weight: Of the transitions, shape (B,); the mean is taken over the weights.
    """
    squared = (q_data - target) ** 2
    if weight is None:
        return squared.mean()
    return (squared * weight).mean() / weight.mean()


def conservative_gap(
    q_data: Tensor,
    q_actions: Tensor,
    log_densities: Tensor,
    n_policy: int,
    version: str = "v3",
) -> Tensor:
    """Return mean over heads and batch of L_j - Q_j(s, a), which the conservative term lowers.

    v3: L_j = logsumexp_k (Q_j(s, a_k) - log density of a_k); v2: the same without densities;
    v1: the mean of Q over policy actions, the form written in the paper. v2 and v3 do not
    divide by the number of actions.

    Args:
        q_data: Q of the demonstrated actions, shape (E, B).
        q_actions: Q of the sampled actions, those of the policy first, shape (E, B, K).
        log_densities: Of the distribution each action was drawn from, shape (B, K);
            constants.
        n_policy: Actions that are the policy's at s.
        version: v1, v2 or v3.
    """
    if version == "v1":
        return (q_actions[:, :, :n_policy].mean(2) - q_data).mean()
    weighted = q_actions - log_densities if version == "v3" else q_actions
    return (weighted.logsumexp(2) - q_data).mean()


def floored(q_actions: Tensor, floor: Tensor, n_floored: int) -> Tensor:
    """Return max(Q_j(s, a_k), floor) for the first actions, and Q of the others as it is.

    An action below the floor passes no gradient: it is not pushed down any further (Cal-QL,
    Nakamoto et al. 2023, section 5). There, as here, the floor is under the policy's actions at
    s and s', and not under the uniform ones.

    Args:
        q_actions: Q of the sampled actions, shape (E, B, K).
        floor: Of every state, shape (B,); a constant.
        n_floored: Actions of a state that have a floor; they come first.
    """
    of_policy, others = q_actions[:, :, :n_floored], q_actions[:, :, n_floored:]
    return torch.cat([torch.maximum(of_policy, floor[:, None]), others], 2)


def scheduled_alpha(start: float, end: float, steps: int, step: int) -> float:
    """Return α after `step` updates: linear from `start` to `end`, which `steps` updates reach.

    Args:
        start: α of the first update.
        end: α from update number `steps` on.
        steps: At least 1.
        step: Updates of the critic so far.
    """
    return start + (end - start) * min(1.0, step / steps)


def lagrange_loss(log_alpha: Tensor, gap: Tensor, target: float) -> Tensor:
    """Return α (target - gap): a gap above its target raises α (Kumar et al. 2020, appendix).

    It is the dual step of min_Q max_α α (gap - target) + TD loss.

    Args:
        log_alpha: log α, what is learnt.
        gap: Of the conservative term, a mean over heads and batch; a constant here.
        target: The gap to keep.
    """
    return log_alpha.exp() * (target - gap)


def normalized(q: Tensor, scale: Tensor) -> Tensor:
    """Return Q / scale, so that the actor's loss has a scale (TD3+BC, Fujimoto and Gu 2021).

    Args:
        q: Of the policy's actions, any shape.
        scale: The batch's mean of |Q| over the policy, no dimensions; a constant.
    """
    return q / scale.clamp(min=1e-8)


def actor_loss(log_pi: Tensor, q: Tensor, temperature: Tensor) -> Tensor:
    """Return the mean of T log π(a|s) - min_j Q_j(s, a), the actor's loss without cloning.

    Args:
        log_pi: Log density of one action per state, shape (B, 1).
        q: The lower head's value of the same action, shape (B, 1).
        temperature: T, the paper's β; a constant here.
    """
    return (temperature * log_pi - q).mean()


def hybrid_actor_loss(
    log_pi: Tensor, q: Tensor, logit: Tensor, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the actor's loss with a binary gripper, and the entropy of the policy (B,).

    The loss is that of `actor_loss`, summed exactly over both values g of the gripper:
    T log π(a) + sum_g p_g (T log p_g - min_j Q_j(s, a, g)).

    Args:
        log_pi: Log density of one motion per state, without the gripper, shape (B,).
        q: The lower head's value of it with an open and with a closed gripper, shape (B, 2).
        logit: Of "open", shape (B,).
        temperature: T, the paper's β; a constant here.
    """
    log_p = F.logsigmoid(torch.stack([logit, -logit], 1))  # (B, 2)
    p = log_p.exp()
    negative_entropy = log_pi + (p * log_p).sum(1)
    loss = temperature * negative_entropy - (p * q).sum(1)
    return loss.mean(), -negative_entropy


def temperature_loss(log_temperature: Tensor, entropy: Tensor, goal: float) -> Tensor:
    """Return T (H(π) - goal): too low an entropy raises the temperature.

    Args:
        log_temperature: log T, what is learnt.
        entropy: H(π), estimated from one action per state; a constant here.
        goal: Target entropy, minus the number of learnt action dimensions; a binary gripper
            counts as none.
    """
    return log_temperature.exp() * (entropy - goal)


class ConservativeTerm(nn.Module):
    """The conservative term of one agent and its weight α: constant, on a schedule, or learnt.

    Args:
        config: Its `gap` says what keeps the term from lowering Q for ever.
    """

    def __init__(self, config: CQLConfig) -> None:
        super().__init__()
        self.config = config
        self.is_learnt = config.gap == "lagrange"
        if self.is_learnt:
            self.log_alpha = nn.Parameter(torch.tensor(math.log(config.alpha)))
        # α of this step; a tensor, so that a captured update sees it change
        self.scheduled: Tensor
        self.register_buffer("scheduled", torch.tensor(config.alpha), persistent=False)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimiser of a learnt α by its name; of any other none."""
        if not self.is_learnt:
            return {}
        return {"alpha": adam([self.log_alpha], self.config.alpha_lr)}

    def begin_step(self, step: int) -> None:
        """Set an α on a schedule for the update after `step` updates of the critic."""
        c = self.config
        if c.gap == "schedule":
            alpha = scheduled_alpha(c.alpha, c.alpha_end, c.alpha_steps, step)
            self.scheduled.fill_(alpha)

    @property
    def alpha(self) -> float | Tensor:
        """α of this update; a constant."""
        if self.is_learnt:
            return self.log_alpha.detach().exp()
        return self.scheduled if self.config.gap == "schedule" else self.config.alpha

    def gap(
        self, q_data: Tensor, q_actions: Tensor, log_densities: Tensor, returns: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the conservative gap, see `conservative_gap`, and what to log of it.

        Args:
            q_data: Q of the demonstrated actions, shape (E, B).
            q_actions: Q of the sampled actions, those of the policy first, shape (E, B, K).
            log_densities: Of the sampled actions, shape (B, K).
            returns: That were earned, shape (B,): a floor of the policy's actions.
        """
        c = self.config
        metrics: dict[str, Tensor] = {}
        if c.gap == "floor":
            floor = returns - c.floor_margin
            of_policy = c.n_policy_actions + c.n_next_actions
            below = q_actions[:, :, :of_policy] < floor[:, None]
            metrics["floored"] = below.float().mean()
            q_actions = floored(q_actions, floor, of_policy)
        if isinstance(self.alpha, Tensor):
            metrics["alpha"] = self.alpha.clone()
        gap = conservative_gap(
            q_data, q_actions, log_densities, c.n_policy_actions, c.min_q_version
        )
        return gap, metrics

    def alpha_loss(self, gap: Tensor) -> Tensor:
        """Return the loss of a learnt α.

        Args:
            gap: Of the conservative term in this update, no dimensions; a constant.
        """
        return lagrange_loss(self.log_alpha, gap, self.config.gap_target)

    @torch.no_grad()
    def bound_alpha(self) -> None:
        """Keep a learnt α within `ALPHA_RANGE`."""
        low, high = map(math.log, ALPHA_RANGE)
        self.log_alpha.clamp_(low, high)
