"""α, the weight of the conservative term: constant, on a schedule, or learnt (`agent.gap`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .agent import adam
from .cql_config import ALPHA_RANGE, CQLConfig
from .cql_terms import lagrange_loss, scheduled_alpha


class ConservativeWeight(nn.Module):
    """α of one agent; the formulas are in `cql_terms.py`.

    Args:
        config: Its `gap` says what α does; only a learnt one has a parameter.
    """

    def __init__(self, config: CQLConfig) -> None:
        super().__init__()
        self.config = config
        self.is_learnt = config.gap == "lagrange"
        if self.is_learnt:
            self.log_alpha = nn.Parameter(torch.tensor(math.log(config.alpha)))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimiser of a learnt α by its name; of any other none."""
        if not self.is_learnt:
            return {}
        return {"alpha": adam([self.log_alpha], self.config.alpha_lr)}

    def value(self, step: int) -> float | Tensor:
        """Return α of the update after `step` updates of the critic; a constant."""
        c = self.config
        if self.is_learnt:
            return self.log_alpha.detach().exp()
        if c.gap == "schedule":
            return scheduled_alpha(c.alpha, c.alpha_end, c.alpha_steps, step)
        return c.alpha

    def loss(self, gap: Tensor) -> Tensor:
        """Return the loss of a learnt α.

        Args:
            gap: Of the conservative term in this update, no dimensions; a constant.
        """
        return lagrange_loss(self.log_alpha, gap, self.config.gap_target)

    @torch.no_grad()
    def bound(self) -> None:
        """Keep a learnt α within `ALPHA_RANGE`."""
        low, high = map(math.log, ALPHA_RANGE)
        self.log_alpha.clamp_(low, high)
