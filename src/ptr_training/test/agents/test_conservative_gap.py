"""What stops the conservative term: a floor, a learnt α, a schedule; and Q on a scale."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_agents import DATA_SPEC, NETWORK, make_agent, make_batch, make_cql
from torch import Tensor

from ptr_training.agents import CQL, CalQL
from ptr_training.agents.cql_config import ALPHA_RANGE, CQLConfig
from ptr_training.agents.cql_terms import (
    ConservativeTerm,
    conservative_gap,
    floored,
    lagrange_loss,
    normalized,
    scheduled_alpha,
)
from ptr_training.agents.weighted import WeightedConfig
from ptr_training.data.augment import Augmentation
from ptr_training.errors import TrainingError

# Floor


def test_floor_lifts_the_policys_actions_alone() -> None:
    q = torch.tensor([[[-3.0, 2.0, -4.0]], [[0.5, -1.0, -5.0]]])  # (2 heads, 1 state, 3)
    found = floored(q, torch.tensor([1.0]), 2)
    assert found.tolist() == [[[1.0, 2.0, -4.0]], [[1.0, 1.0, -5.0]]]


def test_action_below_the_floor_gets_no_gradient() -> None:
    q = torch.tensor([[[-3.0, 2.0, -4.0]]], requires_grad=True)
    counted = floored(q, torch.tensor([1.0]), 2)
    conservative_gap(torch.zeros(1, 1), counted, torch.zeros(1, 3), 2).backward()
    assert q.grad is not None
    below, above, uniform = q.grad[0, 0].tolist()
    assert below == 0.0
    share = math.exp(1.0) + math.exp(2.0) + math.exp(-4.0)
    assert above == pytest.approx(math.exp(2.0) / share)
    assert uniform == pytest.approx(math.exp(-4.0) / share)


def gap_of(agent: CQL, q_actions: Tensor, steps_to_reward: float) -> dict[str, Tensor]:
    """Return gap and metrics of one state with Q of data 0 and candidates of density 1."""
    batch = replace(make_batch(size=1), steps_to_reward=torch.tensor([steps_to_reward]))
    count = q_actions.shape[2]
    densities = torch.zeros(1, count)
    term, returns = agent.conservative, agent._returns(batch)
    gap, metrics = term.gap(torch.zeros(2, 1), q_actions, densities, returns)
    return {**metrics, "gap": gap}


@pytest.mark.parametrize(
    ("steps_to_reward", "earned"),
    [(0.0, 1.5), (2.0, -0.5 - 0.25 + 0.25 * 1.5), (math.inf, -1.0)],
)
@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_floor_is_what_the_episode_earned_less_the_margin(
    steps_to_reward: float, earned: float, margin: float
) -> None:
    """A failed episode has its own return, that of never being rewarded."""
    agent = make_cql(
        gap="floor",
        floor_margin=margin,
        discount=0.5,
        reward_scale=2.0,
        reward_shift=-0.5,
        n_policy_actions=1,
        n_next_actions=1,
        n_random_actions=1,
        n_batch_actions=1,
    )
    q = torch.tensor([-50.0, 3.0, -50.0, -60.0]).expand(2, 1, 4)
    found = gap_of(agent, q, steps_to_reward)
    expected = math.log(math.exp(earned - margin) + math.exp(3.0))  # others: far below
    assert float(found["gap"]) == pytest.approx(expected, abs=1e-5)
    assert float(found["floored"]) == 0.5


def test_without_a_floor_nothing_is_lifted() -> None:
    q = torch.full((2, 1, 8), -50.0)
    found = gap_of(make_cql(), q, 0.0)
    assert set(found) == {"gap"}
    assert float(found["gap"]) == pytest.approx(-50.0 + math.log(8.0))


def test_a_floor_ends_the_fall_of_the_policys_values() -> None:
    values = {}
    for gap in ("free", "floor"):
        agent, batch = make_cql(gap=gap, critic_lr=3e-3, discount=0.5), make_batch()
        for _ in range(120):
            metrics = agent.update(batch)
        values[gap] = float(metrics["q_policy"])
    low, _ = agent.config.possible_returns
    assert values["free"] < low - 1.0
    assert values["floor"] > low


# Learnt weight


def test_gap_above_its_target_raises_alpha() -> None:
    for gap, rises in ((7.0, True), (3.0, False)):
        log_alpha = torch.tensor(math.log(2.0), requires_grad=True)
        loss = lagrange_loss(log_alpha, torch.tensor(gap), target=5.0)
        assert float(loss.detach()) == pytest.approx(2.0 * (5.0 - gap))
        loss.backward()
        assert log_alpha.grad is not None
        assert (float(log_alpha.grad) < 0.0) == rises  # a descent raises it


@pytest.mark.parametrize(("target", "rises"), [(-20.0, True), (20.0, False)])
def test_update_moves_alpha_by_its_rate_and_uses_it_from_then_on(
    target: float, rises: bool
) -> None:
    agent = make_cql(gap="lagrange", alpha=2.0, gap_target=target, alpha_lr=0.1)
    first = agent.update(make_batch())
    assert float(first["alpha"]) == pytest.approx(2.0)  # before its step
    second = agent.update(make_batch())
    # the first step of Adam has the length of the rate
    expected = 2.0 * math.exp(0.1 if rises else -0.1)
    assert float(second["alpha"]) == pytest.approx(expected, rel=1e-4)
    total = second["td_loss"] + second["alpha"] * second["conservative_gap"]
    torch.testing.assert_close(second["loss"], total)


def test_learnt_alpha_keeps_a_gap_at_its_target() -> None:
    """Q is one number for all candidates, so that nothing but α decides about the gap."""
    term = ConservativeTerm(CQLConfig(gap="lagrange", alpha=1.0, gap_target=1.0))
    optimizer = torch.optim.SGD(term.parameters(), lr=0.02)
    q = torch.tensor(0.0, requires_grad=True)  # of the candidates; that of data is 0
    gaps = []
    for _ in range(300):
        loss = (q - 3.0) ** 2 + term.alpha * q  # TD errors want 3
        (slope,) = torch.autograd.grad(loss, q)
        with torch.no_grad():
            q -= 0.1 * slope
        optimizer.zero_grad()
        term.alpha_loss(q.detach()).backward()
        optimizer.step()
        gaps.append(float(q.detach()))
    assert gaps[10] > 1.5
    assert gaps[-50:] == pytest.approx([1.0] * 50, abs=0.1)
    assert float(term.alpha) == pytest.approx(4.0, rel=0.1)  # where both slopes cancel


def test_learnt_alpha_stays_within_its_bounds() -> None:
    for target, bound in ((-1e3, ALPHA_RANGE[1]), (1e3, ALPHA_RANGE[0])):
        agent = make_cql(gap="lagrange", gap_target=target, alpha_lr=100.0)
        for _ in range(2):
            metrics = agent.update(make_batch())
        assert float(metrics["alpha"]) == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize("name", ["cql", "cql_weighted"])
def test_saved_alpha_and_its_optimiser_go_on_bit_for_bit(name: str) -> None:
    values = {"name": name, "gap": "lagrange", "alpha_lr": 0.05, "clone_steps": 0}
    agent = make_agent(values)
    for seed in range(3):
        agent.update(make_batch(seed))
    file = io.BytesIO()
    torch.save(agent.state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert "conservative.log_alpha" in state["weights"]
    copy = make_agent(values, seed=9)
    copy.load_state(state)
    for seed in range(3, 6):
        batch = make_batch(seed)
        assert copy.update(batch)["alpha"] == agent.update(batch)["alpha"]


@pytest.mark.parametrize("gap", ["free", "floor", "schedule"])
def test_only_a_learnt_alpha_is_part_of_the_state(gap: str) -> None:
    """So checkpoints of before fit, and these settings can change at fine-tuning."""
    state = make_cql(gap=gap).state()
    assert not any("log_alpha" in name for name in state["weights"])
    assert "alpha" not in state["optimizers"]


# Schedule


def test_schedule_by_hand() -> None:
    found = [scheduled_alpha(4.0, 1.0, 3, step) for step in (0, 1, 2, 3, 4, 1000)]
    assert found == pytest.approx([4.0, 3.0, 2.0, 1.0, 1.0, 1.0])
    assert scheduled_alpha(0.0, 1.0, 4, 1) == 0.25


def test_scheduled_alpha_counts_updates_of_the_critic_and_weighs_the_gap() -> None:
    agent = make_cql(gap="schedule", alpha=2.0, alpha_end=1.0, alpha_steps=2, clone_steps=2)
    history = [agent.update(make_batch(seed)) for seed in range(6)]
    assert "alpha" not in history[1]  # of the warm start
    assert [float(metrics["alpha"]) for metrics in history[2:]] == [2.0, 1.5, 1.0, 1.0]
    for metrics in history[2:]:
        total = metrics["td_loss"] + metrics["alpha"] * metrics["conservative_gap"]
        torch.testing.assert_close(metrics["loss"], total)


def test_a_schedule_that_does_not_move_learns_what_a_constant_learns() -> None:
    agents = make_cql(alpha=3.0), make_cql(gap="schedule", alpha=3.0, alpha_end=3.0)
    for agent in agents:
        agent.update(make_batch())
    for one, two in zip(*(agent.parameters() for agent in agents), strict=True):
        assert torch.equal(one, two)


# Q on a scale


def test_normalized_values_have_size_one() -> None:
    q = torch.tensor([[2.0], [-6.0]])
    found = normalized(q, q.abs().mean())
    assert found.tolist() == [[0.5], [-1.5]]
    assert torch.isfinite(normalized(torch.zeros(2, 1), torch.tensor(0.0))).all()


def hybrid(**values: Any) -> CQL:
    spec = replace(DATA_SPEC, binary_gripper=True)
    agent = CQL(CQLConfig(**values), NETWORK, spec, Augmentation(0, jitter=False))
    agent.start(torch.device("cpu"), 0)
    return agent


@pytest.mark.parametrize("binary", [False, True])
def test_actor_does_not_notice_the_scale_of_a_normalized_q(binary: bool) -> None:
    torch.manual_seed(0)
    mean, log_std, batch = torch.randn(12, 7), torch.full((12, 7), -1.0), make_batch()
    found = {}
    for scale in (1.0, 1000.0):
        for normalize in (True, False):
            values = {"normalize_q": normalize, "initial_temperature": 0.5}
            agent = hybrid(**values) if binary else make_cql(**values)

            def q(*inputs: Tensor, frozen: bool, scale: float = scale) -> Tensor:
                return scale * (inputs[3][..., 0] - inputs[3][..., 6]).expand(2, -1, -1)

            agent.critic.forward = q  # type: ignore[method-assign]
            task = agent._one_hot(batch.task)
            ours = mean.clone().requires_grad_()
            loss, _ = agent._policy_loss(batch, ours, log_std, torch.zeros(12, 32), task)
            found[scale, normalize] = torch.autograd.grad(loss, ours)[0]
    torch.testing.assert_close(found[1.0, True], found[1000.0, True])
    assert found[1000.0, False].norm() > 100 * found[1.0, False].norm()


def test_size_of_a_hybrid_policys_q_weighs_both_grippers_by_their_probability() -> None:
    agent = hybrid(normalize_q=True)
    q = torch.tensor([[4.0, -8.0], [2.0, 6.0]])
    probability = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    size = ((0.75 * 4 + 0.25 * 8) + (0.5 * 2 + 0.5 * 6)) / 2
    torch.testing.assert_close(agent._scaled(q, probability), q / size)


# Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"gap": "flor"},
            "agent.gap is 'flor'; it must be free, floor, lagrange or schedule",
        ),
        (
            {"gap": "lagrange", "alpha": 0.0},
            r"agent.alpha is 0.0, from which agent.gap=lagrange begins; "
            r"it must be in \[1e-06, 1e\+06\]",
        ),
        (
            {"gap": "floor", "terminal": "last"},
            r"agent.gap is floor, .* only with agent.terminal=rewarded",
        ),
        ({"floor_margin": -1.0}, "agent.floor_margin is -1.0; it must be at least 0"),
        ({"alpha_steps": 0}, "agent.alpha_steps is 0; it must be at least 1"),
        ({"alpha_lr": 0.0}, "agent.alpha_lr is 0.0; it must be above 0"),
        ({"gap_target": math.inf}, "agent.gap_target is inf; it must be a finite number"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        CQLConfig(**change)


def test_settings_of_another_gap_are_accepted_and_do_nothing() -> None:
    assert CQLConfig(gap_target=3.0, alpha_end=1.0).gap == "free"


def test_an_actor_that_clones_has_no_q_to_normalize() -> None:
    with pytest.raises(TrainingError, match=r"agent.normalize_q is true; .*cql_weighted"):
        WeightedConfig(normalize_q=True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gap": "floor"}, "α = 10, no lower than the return that was earned)"),
        ({"gap": "floor", "floor_margin": 2.0}, "that was earned less 2)"),
        ({"gap": "lagrange", "gap_target": 3.0}, "(v3, α keeps the gap at 3)"),
        ({"gap": "schedule", "alpha_end": 1.0}, "(v3, α = 10 to 1 over 10000 updates)"),
        ({"normalize_q": True}, "actor's loss: T log π - Q / mean |Q|"),
    ],
)
def test_summary_names_what_stops_the_term(change: dict[str, Any], text: str) -> None:
    assert text in CQLConfig(**change).summary


# Cal-QL


def test_calql_is_cql_with_a_floor_without_margin() -> None:
    config = CalQL.Config()
    assert (config.gap, config.floor_margin, config.min_q_version) == ("floor", 0.0, "v3")
    values = {"n_policy_actions": 2, "n_next_actions": 2, "n_random_actions": 2}
    calql = make_agent({"name": "calql", **values})
    fields = {**vars(calql.config)}
    cql = make_agent({"name": "cql", **fields})
    for seed in range(2):
        metrics = calql.update(make_batch(seed))
        assert metrics.keys() >= {"floored"}
        assert metrics == cql.update(make_batch(seed))


def test_calql_refuses_to_be_without_its_floor() -> None:
    with pytest.raises(TrainingError, match=r"agent.gap is 'free'; agent calql .* floor"):
        CalQL.Config(gap="free")
