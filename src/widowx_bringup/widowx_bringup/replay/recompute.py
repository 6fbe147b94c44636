"""Recomputes the steps of a recorded episode, as the policy node computed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ptr_common.errors import PtrError

from .recording import Inputs, PolicyEpisode, PolicyStep

if TYPE_CHECKING:
    from ptr_policy_node.policy import Policy

NO_START = "the bag lacks START, with which plans, history and draws of this bundle begin"
PLAN_LOST = "its plan was made at a step that could not be reproduced"
HISTORY_LOST = "its history holds a step that could not be reproduced"


@dataclass(frozen=True)
class ReplayedStep:
    """A step beside its recomputation.

    Attributes:
        recorded: As in the bag.
        problem: Why it could not be reproduced; empty if it could.
        inferred: Whether the bag does not say which arm state belongs to it.
        action: Recomputed action, (7,); NaN with a problem.
        q: Recomputed values, (2,).
        std: Recomputed standard deviation, (7,).
    """

    recorded: PolicyStep
    problem: str = ""
    inferred: bool = False
    action: np.ndarray = field(default_factory=lambda: np.full(7, np.nan))
    q: np.ndarray = field(default_factory=lambda: np.full(2, np.nan))
    std: np.ndarray = field(default_factory=lambda: np.full(7, np.nan))

    @property
    def action_difference(self) -> np.ndarray:
        """Largest difference of each dimension from what was published and stated, (7,)."""
        if self.problem or not self.recorded.actions:
            return np.full(7, np.nan)
        worst: np.ndarray = np.abs(np.subtract(self.recorded.actions, self.action)).max(0)
        return worst

    @property
    def q_difference(self) -> float:
        """Largest difference of a value, relative where |Q| > 1; NaN where the bag has none."""
        scale = max(1.0, float(np.nanmax(np.abs(self.recorded.q), initial=0.0)))
        return _largest(self.recorded.q - self.q) / scale

    @property
    def std_difference(self) -> float:
        """Largest difference of a standard deviation; NaN where the bag has none."""
        return _largest(self.recorded.std - self.std)

    @property
    def q_missed(self) -> bool:
        """Whether the bag has no value although the bundle gives one: its critic was busy."""
        return bool(np.isnan(self.recorded.q).all() and not np.isnan(self.q).all())


def _largest(differences: np.ndarray) -> float:
    """Return the largest absolute difference; NaN if there is none."""
    finite = np.abs(differences[np.isfinite(differences)])
    return float(finite.max()) if finite.size else float("nan")


def recompute(
    policy: Policy, episode: PolicyEpisode, inputs: Inputs
) -> Iterator[ReplayedStep]:
    """Yield every action of an episode with its recomputation.

    A step whose image or arm state is not in the bag cannot be reproduced, nor can later ones
    that follow from it: those of the same plan, and those whose history it is part of.

    Args:
        policy: The bundle, as the policy node loads it.
        episode: What was recorded.
        inputs: Images and arm states of the bag.
    """
    policy.reset()
    info = policy.info
    depends = info.execute > 1 or info.history > 1 or info.draws_gripper
    unknown = NO_START if depends and not episode.begins else ""
    plan_lost = history_lost = 0  # steps to come that follow from a lost one
    for step in episode.steps:
        if not step.acted:
            policy.interrupt()
            plan_lost = 0
            continue
        replayed = _recompute_step(policy, step, episode.task, inputs, lost=plan_lost > 0)
        if replayed.problem:
            if plan_lost == 0 and policy.plans_next:
                plan_lost = info.execute
            history_lost = info.history
            policy.skip()
        elif history_lost:
            replayed = ReplayedStep(step, HISTORY_LOST)
        elif unknown:
            replayed = ReplayedStep(step, unknown)
        plan_lost, history_lost = max(0, plan_lost - 1), max(0, history_lost - 1)
        yield replayed


def _recompute_step(
    policy: Policy, step: PolicyStep, task: str, inputs: Inputs, *, lost: bool
) -> ReplayedStep:
    """Return a step with its recomputation, or with why there is none.

    Args:
        policy: The policy, after the steps before.
        step: As recorded.
        task: Of the episode, where the step names none.
        inputs: Images and arm states of the bag.
        lost: Whether the step's plan is not known.
    """
    if lost:
        return ReplayedStep(step, PLAN_LOST)
    arm_ns = step.arm_ns or inputs.arm_before.get(step.image_ns, 0)
    proprio = inputs.arms.get(arm_ns)
    try:
        image = inputs.image(step.image_ns)
    except PtrError as error:
        return ReplayedStep(step, f"its image is damaged: {error}")
    if image is None:
        return ReplayedStep(step, f"the bag lacks its image ({_seconds(step.image_ns)})")
    if proprio is None:
        which = f"of {_seconds(arm_ns)}" if arm_ns else "before its image"
        return ReplayedStep(step, f"the bag lacks its arm state ({which})")
    output = policy.act(image, proprio, step.task or task)
    q = policy.q_values(output)
    return ReplayedStep(step, "", not step.arm_ns, output.action, q, output.std)


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns / 1e9:.3f} s"
