"""Calibrated Q-learning: CQL that does not push the policy below what the data earned.

Source: Nakamoto et al. 2023, "Cal-QL: Calibrated Offline RL Pre-Training for Efficient Online
Fine-Tuning", and its code. It is `cql.py` with the floor of `agent.gap` and that code's defaults;
what it does not name there has PTR's defaults: rewards, terminals, gripper, encoders.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptr_training.errors import TrainingError

from .cql import CQL
from .cql_config import CQLConfig


@dataclass(frozen=True)
class CalQLConfig(CQLConfig):
    """Hyper-parameters: those of conservative Q-learning with the defaults of Cal-QL."""

    gap: str = "floor"
    discount: float = 0.99
    # 1 for Adroit, 5 for the other tasks
    alpha: float = 5.0
    n_backup_actions: int = 10
    n_policy_actions: int = 10
    n_random_actions: int = 10
    n_next_actions: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gap != "floor":
            raise TrainingError(
                f"agent.gap is {self.gap!r}; agent calql has the gap floor, agent cql any"
            )


class CalQL(CQL):
    """Conservative Q functions with the earned return as the floor of the policy's actions."""

    Config = CalQLConfig
    config: CalQLConfig
