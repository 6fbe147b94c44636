"""Hyper-parameters that agents with a critic share (`actor_critic.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.errors import TrainingError
from ptr_training.models.ranges import (
    AT_LEAST_ONE,
    BELOW_ONE,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    UP_TO_ONE,
    Range,
)
from ptr_training.models.value_distribution import ValueDistribution

from .agent import AgentConfig

ACTS = ("mode", "best_of_n")
GRIPPERS = ("auto", "binary", "continuous")
TERMINALS = ("rewarded", "last")


@dataclass(frozen=True)
class CriticConfig(AgentConfig):
    """Hyper-parameters of rewards, targets, encoders, gripper, and of how a bundle acts.

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
    # departure: keep targets within the returns that can occur
    clamp_target: bool = False
    # departure: share of the return that the episode really earned in a target; the rest
    # bootstraps (mixed Monte Carlo: Bellemare et al. 2016)
    mc_weight: float = 0.0
    # share by which the target networks follow the critic at every update
    polyak: float = 0.005

    # Optimisers
    # ----------

    actor_lr: float = 1e-4
    critic_lr: float = 3e-4
    # departure: both rates decay to a tenth over as many steps of the critic; 0: never
    decay_steps: int = 0

    # Encoders
    # --------

    # departure: actor and critic share one encoder, trained by both losses in one step
    shared_encoder: bool = False
    # one for each critic head (paper, Appendix D); the official code shares one
    independent_encoders: bool = False

    # Actor
    # -----

    # departure: binary: open or closed, a Bernoulli of the policy in place of the seventh
    # Gaussian; auto: as the data are. Between two values that alone occur, Q has a deep
    # valley that no gradient of a Gaussian crosses (docs/learning.md)
    gripper: str = "continuous"
    # what a bundle does: the policy's mode, or of `act_samples` motions, the mode's and drawn
    # ones, each with both values of a binary gripper that the policy gives 5 % or more, the one
    # with the largest min Q (the official code has it as an option)
    act: str = "mode"
    act_samples: int = 16
    # draw a binary gripper instead of taking the likelier value: a policy without memory that
    # is wrong in a state in which nothing changes is wrong for ever. By the policy's mode with
    # the policy's probability p; by the critic with one proportional to p exp(min Q / T),
    draw_gripper: bool = False
    # T
    gripper_temperature: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (
            ("terminal", TERMINALS),
            ("gripper", GRIPPERS),
            ("act", ACTS),
        ):
            value = getattr(self, name)
            if value not in allowed:
                listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
                raise TrainingError(f"agent.{name} is {value!r}; it must be {listed}")
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
            "mc_weight": SHARE,
            "polyak": UP_TO_ONE,
            "actor_lr": POSITIVE,
            "critic_lr": POSITIVE,
            "decay_steps": NOT_NEGATIVE,
            "act_samples": AT_LEAST_ONE,
            "gripper_temperature": POSITIVE,
        }

    @property
    def act_summary(self) -> str:
        """How a bundle acts, in a phrase after the losses; empty if by its mode."""
        if self.act == "mode":
            return "; the gripper is drawn" if self.draw_gripper else ""
        motion = "the mode's motion"
        if self.act_samples > 1:
            motion = f"{self.act_samples} motions"
        if self.draw_gripper:
            gripper = f"the gripper is drawn by p exp(Q / {self.gripper_temperature:g})"
            return f"; acts by the critic, which chooses from {motion}; {gripper}"
        return f"; acts by the critic, which chooses from {motion}, and the gripper"

    @property
    def possible_returns(self) -> tuple[float, float]:
        """Lowest and highest discounted return, where rewarded steps are terminal."""
        never_rewarded = self.reward_shift / (1.0 - self.discount)
        rewarded_now = self.reward_scale + self.reward_shift
        return min(never_rewarded, rewarded_now), max(never_rewarded, rewarded_now)

    @property
    def value_distribution(self) -> ValueDistribution | None:
        """The bins that a value is learnt over; None: it is learnt by regression."""
        return None

    def advice(self, *, above: bool) -> str:
        """Return the settings that keep Q among the returns that can occur, as a list.

        Args:
            above: Whether Q is above them; else below.
        """
        changes = ["a smaller agent.critic_lr"]
        if not self.clamp_target and self.terminal == "rewarded":
            changes.insert(0, "agent.clamp_target=true")
        return " or ".join(changes)

    @property
    def learns_from_failures(self) -> bool:
        """See `AgentConfig`."""
        return True
