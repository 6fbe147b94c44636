"""Actions of the conservative term: where they come from, and their densities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ptr_training.agents.cql_sampling import (
    SampledActions,
    draw_demonstrated,
    draw_uniform,
    join_actions,
    uniform_log_density,
)
from ptr_training.data.distributed import BatchRng, DistributedContext

ROWS = torch.arange(6.0)[:, None].expand(6, 7) / 10.0


def make_rng(seed: int = 0) -> BatchRng:
    """Return random numbers of a seed."""
    return BatchRng(torch.Generator().manual_seed(seed))


def test_uniform_density_counts_the_learnt_dimensions_only() -> None:
    assert uniform_log_density(0) == 0.0
    assert uniform_log_density(3) == pytest.approx(math.log(1 / 8))


def test_uniform_actions_fill_the_cube() -> None:
    drawn = draw_uniform(500, 4, 5, make_rng())
    assert drawn.actions.shape == (500, 4, 7)
    assert float(drawn.actions.min()) == pytest.approx(-1.0, abs=0.01)
    assert float(drawn.actions.max()) == pytest.approx(1.0, abs=0.01)
    assert float(drawn.actions.mean()) == pytest.approx(0.0, abs=0.03)
    expected = torch.full((500, 4), -5 * math.log(2.0))
    torch.testing.assert_close(drawn.log_densities, expected)


def test_demonstrated_actions_are_those_of_every_other_transition() -> None:
    drawn = draw_demonstrated(ROWS, 200, 5, make_rng())
    assert drawn.actions.shape == (6, 200, 7)
    for row in range(6):
        values = set(torch.round(drawn.actions[row, :, 0] * 10).int().tolist())
        assert values == set(range(6)) - {row}
    expected = torch.full((6, 200), -5 * math.log(2.0))
    torch.testing.assert_close(drawn.log_densities, expected)


@dataclass(frozen=True)
class SecondOfThree(DistributedContext):
    """The second of three processes, each with a third of `ROWS`, without any transfer."""

    rank: int = 1
    size: int = 3

    def join(self, part: Tensor) -> Tensor:
        """Return the whole batch."""
        return ROWS


def test_a_process_draws_from_the_whole_batch_and_not_its_own_transitions() -> None:
    rng = BatchRng(torch.Generator().manual_seed(0), SecondOfThree())
    drawn = draw_demonstrated(ROWS[2:4], 200, 5, rng)
    for row in range(2):
        values = set(torch.round(drawn.actions[row, :, 0] * 10).int().tolist())
        assert values == set(range(6)) - {row + 2}


def test_actions_are_joined_in_order() -> None:
    first = SampledActions(torch.zeros(2, 2, 7), torch.zeros(2, 2))
    second = SampledActions(torch.ones(2, 1, 7), torch.ones(2, 1))
    joined = join_actions(first, second)
    assert joined.log_densities.tolist() == [[0.0, 0.0, 1.0]] * 2
    assert torch.equal(joined.actions[:, 2:], second.actions)
    assert torch.equal(joined.first(2).actions, first.actions)
    assert torch.equal(joined.first(2).log_densities, first.log_densities)
