"""Configuration of the two stages of training: length, checkpoints, held-out episodes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ptr_common.names import did_you_mean
from ptr_training.errors import TrainingError

HIGHER_IS_BETTER = {
    "spearman": True,
    "inside": True,
    "above": True,
    "td_error": False,
    "error": False,
}
"""Values on held-out episodes (`trends.summarise`), and whether a larger one is the better one."""


@dataclass(frozen=True)
class EarlyStopConfig:
    """When a stage ends before its last step."""

    # held-out value that decides: spearman, inside, above, td_error or error; empty: never
    metric: str = ""
    # evaluations in a row without a better value than the best one
    patience: int = 5

    def __post_init__(self) -> None:
        if self.metric and self.metric not in HIGHER_IS_BETTER:
            hint = did_you_mean(self.metric, list(HIGHER_IS_BETTER))
            raise TrainingError(f"early_stop.metric is {self.metric!r}; {hint}")
        if self.patience < 1:
            raise TrainingError(
                f"early_stop.patience is {self.patience}; it must be at least 1"
            )


@dataclass(frozen=True)
class StageConfig:
    """How long a stage of training runs and what it keeps."""

    steps: int = 160_000
    checkpoint_every: int = 20_000
    # further steps after which a checkpoint is saved
    checkpoint_at: tuple[int, ...] = ()
    keep: int = 2  # newest checkpoints kept; 0 keeps all
    # episodes kept from training
    holdout: int = 0
    # steps between two evaluations on the held-out episodes; 0: never
    evaluate_every: int = 0
    early_stop: EarlyStopConfig = field(default_factory=EarlyStopConfig)

    def saves_after(self, step: int) -> bool:
        """Return whether a checkpoint is due after a step."""
        return step % self.checkpoint_every == 0 or step in self.checkpoint_at


@dataclass(frozen=True)
class PretrainConfig(StageConfig):
    """The first stage."""

    # successful episodes of each task of a store kept from training; 0: all are trained on
    holdout: int = 0


@dataclass(frozen=True)
class FinetuneConfig(StageConfig):
    """The second stage."""

    keep: int = 0  # `ptr select` compares them all
    mix: float = 0.9  # fraction of prior transitions in a batch (paper §4.1: τ)
    # target demonstrations kept from training, for `ptr select`; 0: all are trained on
    holdout: int = 0


def check_stage(name: str, stage: StageConfig, *, acts: bool, has_critic: bool) -> None:
    """Check when a stage saves, and that what it evaluates and ends by is there.

    Args:
        name: Its section, `pretrain` or `finetune`.
        stage: Its configuration.
        acts: Whether the agent has a policy.
        has_critic: Whether it has a critic.

    Raises:
        TrainingError: If not, naming the settings to change.
    """
    if min(stage.checkpoint_at, default=1) < 1:
        raise TrainingError(
            f"{name}.checkpoint_at is {list(stage.checkpoint_at)}; its steps must be at least 1"
        )
    metric = stage.early_stop.metric
    if metric and not stage.evaluate_every:
        raise TrainingError(
            f"{name}.early_stop.metric is {metric}, but {name}.evaluate_every is 0; "
            "say after how many steps to evaluate"
        )
    if metric and metric != "error" and not has_critic:
        raise TrainingError(
            f"{name}.early_stop.metric is {metric}, which needs a critic; "
            "this agent has none: use error"
        )
    if stage.evaluate_every and not acts:
        raise TrainingError(
            f"{name}.evaluate_every is {stage.evaluate_every}, but this agent has no policy "
            f"to evaluate; set {name}.evaluate_every=0"
        )
    if stage.evaluate_every and not stage.holdout:
        raise TrainingError(
            f"{name}.evaluate_every is {stage.evaluate_every}, but {name}.holdout is 0: no "
            f"episode is held out to evaluate on; set {name}.holdout (or --holdout N)"
        )
