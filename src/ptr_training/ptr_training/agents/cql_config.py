"""Hyper-parameters of conservative Q-learning (`cql.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.errors import TrainingError
from ptr_training.models.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Range
from ptr_training.models.value_distribution import LEAST_BINS, ValueDistribution

from .critic_config import CriticConfig

VERSIONS = ("v1", "v2", "v3")
VALUE_LOSSES = ("squared", "hl_gauss")


@dataclass(frozen=True)
class CQLConfig(CriticConfig):
    """Hyper-parameters; the names of the terms are those of the paper and of the official code.

    "Departure" marks what neither the paper nor the official code has; each is off by default.
    """

    # the target is the best of as many policy actions at s'
    n_backup_actions: int = 4

    # squared: the TD error of the paper; departure: hl_gauss: cross entropy to a Gaussian over
    # `value_bins` bins of the possible returns (models/value_distribution.py)
    value_loss: str = "squared"
    value_bins: int = 51

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

    # Optimisers and temperature
    # --------------------------

    actor_lr: float = 1e-4
    critic_lr: float = 3e-4
    temperature_lr: float = 3e-4
    initial_temperature: float = 1.0
    # departure: actor's and critic's rates decay to a tenth over as many steps of CQL; 0: never
    decay_steps: int = 0

    # Actor's loss
    # ------------

    # departure here, done by COG: clone behaviour for as many steps before CQL
    clone_steps: int = 0
    # decays to a tenth
    clone_lr: float = 1e-3
    # departure: weight of the squared error of the mode in the actor's loss
    bc_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_q_version not in VERSIONS:
            raise TrainingError(
                f"agent.min_q_version is {self.min_q_version!r}; it must be v1, v2 or v3"
            )
        if self.value_loss not in VALUE_LOSSES:
            raise TrainingError(
                f"agent.value_loss is {self.value_loss!r}; it must be squared or hl_gauss"
            )
        if self.value_loss == "hl_gauss" and self.terminal == "last":
            raise TrainingError(
                "agent.value_loss=hl_gauss knows the possible returns, which its bins span, "
                "only with agent.terminal=rewarded"
            )
        low, high = self.possible_returns
        if self.value_loss == "hl_gauss" and low == high:
            raise TrainingError(
                f"agent.value_loss is hl_gauss, but every return is {low:g}; "
                "change agent.reward_scale"
            )

    def ranges(self) -> dict[str, Range]:
        """See `AgentConfig`."""
        return {
            **super().ranges(),
            "n_backup_actions": AT_LEAST_ONE,
            "value_bins": Range(LEAST_BINS),
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
    def value_distribution(self) -> ValueDistribution | None:
        """See `CriticConfig`."""
        if self.value_loss == "squared":
            return None
        return ValueDistribution(*self.possible_returns, self.value_bins)

    def advice(self, *, above: bool) -> str:
        """See `CriticConfig`; what the conservative term does depends on its version."""
        alpha = "a larger agent.alpha" if above else "a smaller agent.alpha"
        text = f"{super().advice(above=above)} or {alpha}"
        if not above and self.min_q_version == "v1":
            text += " or agent.min_q_version=v3 (v1 lowers every action of the policy without end)"
        return text

    @property
    def summary(self) -> str:
        """See `AgentConfig`; it names every departure of the actor."""
        text = f"{self.critic_summary}; actor's loss: T log π - Q"
        if self.bc_weight:
            text += f" + {self.bc_weight:g} x squared error to the demonstrated action"
        if self.clone_steps:
            text += f", after a warm start of {self.clone_steps} steps of behaviour cloning"
        return f"{text}{self.act_summary}"

    @property
    def critic_summary(self) -> str:
        """The critic's loss in a phrase."""
        text = f"conservative Q-learning ({self.min_q_version}, α = {self.alpha:g}"
        if self.mc_weight:
            text += f", {self.mc_weight:.0%} of a target is the return that was earned"
        if self.value_loss == "hl_gauss":
            text += f", values by classification over {self.value_bins} bins"
        return f"{text})"
