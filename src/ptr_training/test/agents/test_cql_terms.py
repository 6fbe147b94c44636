"""The terms of CQL against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ptr_training.agents.cql_terms import (
    actor_loss,
    backup,
    conservative_gap,
    td_loss,
    temperature_loss,
)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1", 2.0 - 1.0),  # the first action is the policy's
        ("v2", math.log(math.exp(2) + 1) - 1.0),
        ("v3", math.log(math.exp(2) / 0.5 + 1 / 0.25) - 1.0),
    ],
)
def test_conservative_term_of_two_actions(version: str, expected: float) -> None:
    q_data, q_actions = torch.tensor([[1.0]]), torch.tensor([[[2.0, 0.0]]])
    densities = torch.tensor([[math.log(0.5), math.log(0.25)]])
    gap = conservative_gap(q_data, q_actions, densities, 1, version)
    assert float(gap) == pytest.approx(expected)


def test_conservative_term_is_importance_weighted_by_default() -> None:
    q_data, q_actions = torch.zeros(1, 1), torch.zeros(1, 1, 1)
    densities = torch.tensor([[-3.0]])
    assert float(conservative_gap(q_data, q_actions, densities, 1)) == pytest.approx(3.0)


def test_conservative_term_is_the_mean_over_heads_and_batch() -> None:
    q_data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    q_actions = torch.tensor([[[5.0], [6.0]], [[7.0], [8.0]]])
    densities = torch.zeros(2, 1)
    for version in ("v1", "v2", "v3"):
        assert float(conservative_gap(q_data, q_actions, densities, 1, version)) == 4.0


def test_conservative_term_of_zero_values_is_the_published_constant() -> None:
    densities = torch.cat([torch.zeros(1, 4), torch.full((1, 4), -7 * math.log(2))], 1)
    gap = conservative_gap(torch.zeros(2, 1), torch.zeros(2, 1, 8), densities, 4)
    assert float(gap) == pytest.approx(math.log(4 + 4 * 128), abs=1e-4)


def test_backup_takes_the_best_action_of_the_worse_head() -> None:
    q_next = torch.tensor([[[1.0, 4.0]], [[3.0, 2.0]]])  # (2 heads, 1 state, 2 actions)
    target = backup(q_next, torch.tensor([-1.0]), torch.tensor([1.0]), 0.5)
    assert float(target) == pytest.approx(-1 + 0.5 * 2)


def test_terminal_step_has_no_bootstrap() -> None:
    q_next = torch.full((2, 1, 4), 1e6)
    assert float(backup(q_next, torch.tensor([10.0]), torch.tensor([0.0]), 0.96)) == 10.0


def test_published_return_of_a_demonstration() -> None:
    value = 0.0
    for reward in [1.0] * 3 + [0.0] * 35:  # backwards
        trained, mask = torch.tensor([11.0 * reward - 1.0]), torch.tensor([1.0 - reward])
        value = float(backup(torch.tensor([[[value]]]), trained, mask, 0.96))
    assert value == pytest.approx(-16.614, abs=1e-3)


def test_td_loss_has_no_factor_of_one_half() -> None:
    q_data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    target = torch.tensor([1.0, 0.0])
    assert float(td_loss(q_data, target)) == (0.0 + 4.0 + 4.0 + 16.0) / 4
    weight = torch.tensor([1.0, 3.0])
    errors = ((q_data - target) ** 2).mean(0)
    expected = (errors[0] + 3 * errors[1]) / 4
    assert float(td_loss(q_data, target, weight)) == float(expected)
    assert td_loss(q_data, target, torch.full((2,), 7.0)) == td_loss(q_data, target)


def test_actor_trades_density_against_value() -> None:
    log_pi, q = torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [3.0]])
    loss = actor_loss(log_pi, q, torch.tensor(0.5))
    assert float(loss) == (0.5 * 2.0 - 1.0 + 0.5 * 4.0 - 3.0) / 2


def test_temperature_is_pushed_up_where_the_entropy_is_too_low() -> None:
    log_temperature = torch.tensor(math.log(2.0), requires_grad=True)
    loss = temperature_loss(log_temperature, torch.tensor(-8.0), goal=-5.0)
    assert float(loss.detach()) == pytest.approx(2.0 * (-8.0 + 5.0))
    loss.backward()
    assert float(log_temperature.grad) < 0.0  # a descent raises it
