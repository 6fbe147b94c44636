"""Hyper-parameters of conservative Q-learning (`cql.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.data.batch import Sampling
from ptr_training.errors import TrainingError
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
)
from ptr_training.models.value_distribution import LEAST_BINS, ValueDistribution

from .critic_config import CriticConfig

VERSIONS = ("v1", "v2", "v3")
GAPS = ("free", "floor", "lagrange", "schedule")
ALPHA_RANGE = (1e-6, 1e6)
"""Lowest and highest α that is learnt; CQL's code has the same upper end."""
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
    # what stops it. free: nothing, the official form; floor: Q of a policy's action counts as at
    # least the return that was earned from s on (Cal-QL, Nakamoto et al. 2023; departure here);
    # lagrange: α is learnt, from `alpha` on, so that the gap stays at a target (Kumar et al. 2020,
    # appendix; departure here); schedule: departure: α changes linearly, since one that is right
    # at first is too large later (docs/learning.md)
    gap: str = "free"
    # floor: so much below the return
    floor_margin: float = 0.0
    # lagrange: the gap to keep, a mean over heads; where all Q and log π are 0, as many actions as
    # by default have a gap of 6.2
    gap_target: float = 5.0
    # lagrange: learning rate of log α
    alpha_lr: float = 3e-4
    # schedule: the last α, reached after as many updates of CQL, of both stages together
    alpha_end: float = 0.0
    alpha_steps: int = 10_000

    # Temperature
    # -----------

    temperature_lr: float = 3e-4
    initial_temperature: float = 1.0

    # Actor's loss
    # ------------

    # departure here, done by COG: clone behaviour for as many steps before CQL
    clone_steps: int = 0
    # decays to a tenth
    clone_lr: float = 1e-3
    # departure: weight of the squared error of the mode in the actor's loss
    bc_weight: float = 0.0
    # departure: Q is divided by its mean size over the batch, so that temperature and bc_weight
    # have a scale (TD3+BC, Fujimoto and Gu 2021, whose α = 2.5 is a bc_weight of 0.4)
    normalize_q: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_q_version not in VERSIONS:
            raise TrainingError(
                f"agent.min_q_version is {self.min_q_version!r}; it must be v1, v2 or v3"
            )
        self._check_gap()
        self._check_value_loss()

    def _check_gap(self) -> None:
        """Refuse a gap that does not exist, or that lacks what it needs."""
        if self.gap not in GAPS:
            raise TrainingError(
                f"agent.gap is {self.gap!r}; it must be free, floor, lagrange or schedule"
            )
        if self.gap == "floor" and self.terminal == "last":
            raise TrainingError(
                "agent.gap is floor, which knows the returns only with agent.terminal=rewarded"
            )
        low, high = ALPHA_RANGE
        if self.gap == "lagrange" and not low <= self.alpha <= high:
            raise TrainingError(
                f"agent.alpha is {self.alpha}, from which agent.gap=lagrange begins; "
                f"it must be in [{low:g}, {high:g}]"
            )

    def _check_value_loss(self) -> None:
        """Refuse a loss that does not exist, or whose bins would have no ends."""
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
            "floor_margin": NOT_NEGATIVE,
            "gap_target": FINITE,
            "alpha_lr": POSITIVE,
            "alpha_end": NOT_NEGATIVE,
            "alpha_steps": AT_LEAST_ONE,
            "temperature_lr": POSITIVE,
            "initial_temperature": POSITIVE,
            "clone_steps": NOT_NEGATIVE,
            "clone_lr": POSITIVE,
            "bc_weight": NOT_NEGATIVE,
        }

    @property
    def bootstraps(self) -> bool:
        """Whether an update looks at the next observation."""
        return self.mc_weight < 1.0 or self.n_next_actions > 0

    @property
    def sampling(self) -> Sampling:
        """See `AgentConfig`."""
        return Sampling(next_observations=self.bootstraps)

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
        if self.normalize_q:
            text += " / mean |Q|"
        if self.bc_weight:
            text += f" + {self.bc_weight:g} x squared error to the demonstrated action"
        if self.clone_steps:
            text += f", after a warm start of {self.clone_steps} steps of behaviour cloning"
        return f"{text}{self.act_summary}"

    @property
    def critic_summary(self) -> str:
        """The critic's loss in a phrase."""
        text = f"conservative Q-learning ({self.min_q_version}, {self._gap_summary}"
        if self.mc_weight:
            text += f", {self.mc_weight:.0%} of a target is the return that was earned"
        if self.value_loss == "hl_gauss":
            text += f", values by classification over {self.value_bins} bins"
        return f"{text})"

    @property
    def _gap_summary(self) -> str:
        """The weight of the conservative term, and what stops it."""
        if self.gap == "lagrange":
            return f"α keeps the gap at {self.gap_target:g}"
        text = f"α = {self.alpha:g}"
        if self.gap == "schedule":
            text += f" to {self.alpha_end:g} over {self.alpha_steps} updates"
        if self.gap == "floor":
            text += ", no lower than the return that was earned"
            text += f" less {self.floor_margin:g}" if self.floor_margin else ""
        return text
