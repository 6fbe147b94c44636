"""Hyper-parameters of conservative Q-learning (`cql.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.errors import TrainingError
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    UP_TO_ONE,
    Range,
)

from .agent import AgentConfig


@dataclass(frozen=True)
class CQLConfig(AgentConfig):
    """Hyper-parameters; the names of the terms are those of the paper and of the official code.

    "Departure" marks what neither the paper nor the official code has; each is off by default.
    """

    # TD error
    # --------

    # γ
    discount: float = 0.96
    # trained reward = reward_scale * (0 or 1) + reward_shift: -1 and +10 (paper: 0 and 1)
    reward_scale: float = 11.0
    reward_shift: float = -1.0
    # no bootstrap at rewarded steps ("rewarded"), or at the last one of an episode ("last")
    terminal: str = "rewarded"
    # the target is the best of as many policy actions at s'
    n_backup_actions: int = 4
    # departure: keep targets within the returns that can occur
    clamp_target: bool = False
    # share by which the target networks follow the critic at every update
    polyak: float = 0.005

    # Conservative term
    # -----------------

    # its weight
    alpha: float = 10.0
    # v3: importance-weighted logsumexp; v2: plain logsumexp; v1: policy mean (paper §4.1)
    min_q_version: str = "v3"
    # its actions: of the policy at s,
    n_policy_actions: int = 4
    # uniform,
    n_random_actions: int = 4
    # of the policy at s' (original CQL),
    n_next_actions: int = 0
    # departure: demonstrated elsewhere in the batch, as negatives among plausible actions
    n_batch_actions: int = 0

    # Gripper
    # -------

    # departure: binary: open or closed, a Bernoulli of the policy in place of the seventh
    # Gaussian; auto: as the data are. Between two values that alone occur, Q has a deep
    # valley that no gradient of a Gaussian crosses (docs/learning.md)
    gripper: str = "continuous"

    # Optimisers and temperature
    # --------------------------

    actor_lr: float = 1e-4
    critic_lr: float = 3e-4
    temperature_lr: float = 3e-4
    initial_temperature: float = 1.0
    # departure: actor's and critic's rates decay to a tenth over as many steps of CQL; 0: never
    decay_steps: int = 0

    # Encoders
    # --------

    # departure: actor and critic share one encoder, trained by both losses in one step
    shared_encoder: bool = False
    # one for each critic head (paper, Appendix D); the official code shares one
    independent_encoders: bool = False

    # Cloning
    # -------

    # departure here, done by COG: clone behaviour for as many steps before CQL
    clone_steps: int = 0
    # decays to a tenth
    clone_lr: float = 1e-3
    # departure: weight of the squared error of the mode in the actor's loss
    bc_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_q_version not in ("v1", "v2", "v3"):
            raise TrainingError(
                f"agent.min_q_version is {self.min_q_version!r}; it must be v1, v2 or v3"
            )
        if self.gripper not in ("auto", "binary", "continuous"):
            raise TrainingError(
                f"agent.gripper is {self.gripper!r}; it must be auto, binary or continuous"
            )
        if self.terminal not in ("rewarded", "last"):
            raise TrainingError(
                f"agent.terminal is {self.terminal!r}; it must be rewarded or last"
            )
        if self.shared_encoder and self.independent_encoders:
            raise TrainingError(
                "agent.shared_encoder and agent.independent_encoders exclude each other"
            )
        if self.clamp_target and self.terminal == "last":
            raise TrainingError(
                "agent.clamp_target knows the possible returns only with "
                "agent.terminal=rewarded"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            "discount": BELOW_ONE,  # at 1 the return of an episode without reward is unbounded
            "reward_scale": FINITE,
            "reward_shift": FINITE,
            "n_backup_actions": AT_LEAST_ONE,
            "polyak": UP_TO_ONE,
            "alpha": NOT_NEGATIVE,
            "n_policy_actions": AT_LEAST_ONE,
            "n_random_actions": AT_LEAST_ONE,
            "n_next_actions": NOT_NEGATIVE,
            "n_batch_actions": NOT_NEGATIVE,
            "actor_lr": POSITIVE,
            "critic_lr": POSITIVE,
            "temperature_lr": POSITIVE,
            "initial_temperature": POSITIVE,
            "decay_steps": NOT_NEGATIVE,
            "clone_steps": NOT_NEGATIVE,
            "clone_lr": POSITIVE,
            "bc_weight": NOT_NEGATIVE,
        }

    @property
    def possible_returns(self) -> tuple[float, float]:
        """Lowest and highest discounted return, where rewarded steps are terminal."""
        never_rewarded = self.reward_shift / (1.0 - self.discount)
        rewarded_now = self.reward_scale + self.reward_shift
        return min(never_rewarded, rewarded_now), max(never_rewarded, rewarded_now)

    @property
    def summary(self) -> str:
        """See `AgentConfig`; it names every departure of the actor."""
        text = (
            f"conservative Q-learning ({self.min_q_version}, α = {self.alpha:g}); "
            "actor's loss: T log π - Q"
        )
        if self.bc_weight:
            text += f" + {self.bc_weight:g} x squared error to the demonstrated action"
        if self.clone_steps:
            text += f", after a warm start of {self.clone_steps} steps of behaviour cloning"
        return text
