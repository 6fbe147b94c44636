"""CQL's losses against values worked out by hand, and against a literal version of the official code."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_agents import ACTIVE, PROBLEM, make_agent, make_batch
from torch.utils.flop_counter import FlopCounterMode

from ptr_training.agents import CQL
from ptr_training.agents.cql import CQLConfig, backup, conservative_gap
from ptr_training.data.augment import Augmentation
from ptr_training.data.distributed import BatchRng
from ptr_training.data.replay import Batch
from ptr_training.errors import TrainingError
from ptr_training.models.config import NetworkConfig


def test_conservative_term_of_two_actions_by_hand() -> None:
    q_data, q_actions = torch.tensor([[1.0]]), torch.tensor([[[2.0, 0.0]]])
    densities = torch.tensor([[math.log(0.5), math.log(0.25)]])
    assert float(conservative_gap(q_data, q_actions, densities, 1, "v1")) == pytest.approx(
        1.0
    )
    v2 = math.log(math.exp(2) + 1) - 1
    assert float(conservative_gap(q_data, q_actions, densities, 1, "v2")) == pytest.approx(
        v2
    )
    v3 = math.log(math.exp(2) / 0.5 + 1 / 0.25) - 1
    assert float(conservative_gap(q_data, q_actions, densities, 1, "v3")) == pytest.approx(
        v3
    )


def test_conservative_term_of_zero_values_is_the_published_constant() -> None:
    densities = torch.cat([torch.zeros(1, 4), torch.full((1, 4), -7 * math.log(2))], 1)
    gap = conservative_gap(torch.zeros(2, 1), torch.zeros(2, 1, 8), densities, 4)
    assert float(gap) == pytest.approx(math.log(4 + 4 * 128), abs=1e-4)


def test_backup_takes_the_best_action_of_the_worse_head() -> None:
    q_next = torch.tensor([[[1.0, 4.0]], [[3.0, 2.0]]])  # (2 heads, 1 state, 2 actions)
    assert float(
        backup(q_next, torch.tensor([-1.0]), torch.tensor([1.0]), 0.5)
    ) == pytest.approx(-1 + 0.5 * 2)


def test_terminal_step_has_no_bootstrap() -> None:
    q_next = torch.full((2, 1, 4), 1e6)
    assert float(backup(q_next, torch.tensor([10.0]), torch.tensor([0.0]), 0.96)) == 10.0


def test_published_return_of_a_demonstration() -> None:
    value = 0.0
    for reward in [1.0] * 3 + [0.0] * 35:  # backwards
        trained, mask = 11.0 * reward - 1.0, 1.0 - reward
        value = float(
            backup(
                torch.tensor([[[value]]]),
                torch.tensor([trained]),
                torch.tensor([mask]),
                0.96,
            )
        )
    assert value == pytest.approx(-16.614, abs=1e-3)


@pytest.mark.parametrize(
    ("never", "done"), [((0.0, 1.0), (0.0, 1.0)), ((-1.0, 11.0), (-25.0, 10.0))]
)
def test_clamped_targets_stay_within_possible_returns(never: tuple, done: tuple) -> None:
    shift, scale = never
    agent = make_agent(
        {"name": "cql", "clamp_target": True, "reward_shift": shift, "reward_scale": scale}
    )
    with torch.no_grad():
        agent.target_critic.layers[-1].bias.fill_(1e3)
        high, _ = agent._target(
            make_batch(),
            agent._augment(make_batch().next_images),
            torch.eye(4)[make_batch().task],
        )
        agent.target_critic.layers[-1].bias.fill_(-1e3)
        low, _ = agent._target(
            make_batch(),
            agent._augment(make_batch().next_images),
            torch.eye(4)[make_batch().task],
        )
    assert (float(low.min()), float(high.max())) == pytest.approx(done)


def literal_losses(
    agent: CQL, batch: Batch, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Critic and actor loss as the official code writes them: images tiled, one forward pass per purpose."""
    c, g = agent.config, torch.Generator().manual_seed(seed)
    images, following = (
        agent.augmentation(each, BatchRng(g)) for each in (batch.images, batch.next_images)
    )
    task, K = F.one_hot(batch.task, 4).float(), c.n_policy_actions
    n_active = sum(ACTIVE)

    def policy(
        x: torch.Tensor, proprio: torch.Tensor, k: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tiled = [each.repeat_interleave(k, 0) for each in (x, task, proprio)]
        mean, log_std = agent.policy(agent.encoder(tiled[0], tiled[1]), tiled[2], tiled[1])
        noise = torch.randn((len(x), k, 7), generator=g).flatten(0, 1)
        normal = torch.distributions.Normal(mean, log_std.exp())
        u = mean + noise * log_std.exp()
        log_pi = normal.log_prob(u) - torch.log(1 - torch.tanh(u) ** 2)
        return torch.tanh(u), (log_pi * agent.active).sum(1)

    def q(
        encoder: Any, critic: Any, x: torch.Tensor, actions: torch.Tensor, k: int
    ) -> torch.Tensor:
        x, one_hot = x.repeat_interleave(k, 0), task.repeat_interleave(k, 0)
        proprio = batch.proprio.repeat_interleave(
            k, 0
        )  # not an input under the launch settings
        return critic(encoder(x, one_hot), proprio, one_hot, actions[:, None])[
            :, :, 0
        ].unflatten(1, (len(task), k))

    with torch.no_grad():
        actions, _ = policy(following, batch.next_proprio, c.n_backup_actions)
        q_next = q(
            agent.target_encoder,
            agent.target_critic,
            following,
            actions,
            c.n_backup_actions,
        )
        best = torch.minimum(q_next[0], q_next[1]).max(1).values
        y = (
            c.reward_scale * batch.rewards
            + c.reward_shift
            + c.discount * (1 - batch.rewards) * best
        )
        policy_actions, log_pi = policy(images, batch.proprio, K)
        uniform = (
            torch.rand((len(images), c.n_random_actions, 7), generator=g).flatten(0, 1) * 2
            - 1
        )
        torch.randint(1, len(images), (len(images), 0), generator=g)
    q_data = q(agent.critic_encoder, agent.critic, images, batch.actions, 1)[:, :, 0]
    q_policy = q(agent.critic_encoder, agent.critic, images, policy_actions, K)
    q_uniform = q(agent.critic_encoder, agent.critic, images, uniform, c.n_random_actions)
    weighted = [
        q_policy - log_pi.unflatten(0, (-1, K)),
        q_uniform - math.log(0.5**n_active),
    ]
    lse = torch.logsumexp(torch.cat(weighted, 2), 2)
    losses = [
        F.mse_loss(q_data[j], y) + c.alpha * (lse[j] - q_data[j]).mean() for j in (0, 1)
    ]
    action, log_pi = policy(images, batch.proprio, 1)
    worse = q(agent.critic_encoder, agent.critic, images, action, 1)[:, :, 0].min(0).values
    return (losses[0] + losses[1]) / 2, (
        agent.log_temperature.exp() * log_pi - worse
    ).mean()


def test_encoding_once_gives_the_losses_of_the_tiled_form() -> None:
    agent, batch = make_agent({"name": "cql", "critic_lr": 1e-30}), make_batch()
    assert isinstance(agent, CQL)
    agent.rng.generator.manual_seed(5)
    critic_loss, actor_loss = literal_losses(agent, batch, 5)
    metrics = agent.update(batch)
    torch.testing.assert_close(metrics["loss"], critic_loss.detach(), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(
        metrics["actor_loss"], actor_loss.detach(), atol=1e-4, rtol=1e-5
    )


def test_conservative_term_lowers_q_of_random_actions_below_data() -> None:
    agent, batch = make_agent({"name": "cql", "critic_lr": 3e-3}), make_batch()
    first, *_, last = [agent.update(batch) for _ in range(60)]
    assert last["q_data"] - last["q_random"] > first["q_data"] - first["q_random"] + 0.5


def test_critic_starts_from_the_cloned_encoder() -> None:
    agent = make_agent({"name": "cql", "clone_steps": 2})
    assert isinstance(agent, CQL)
    for _ in range(2):
        agent.update(make_batch())
    for copy in (agent.critic_encoder, agent.target_encoder):
        for mine, other in zip(copy.parameters(), agent.encoder.parameters(), strict=True):
            assert torch.equal(mine, other)


def test_learning_rates_decay_after_the_warm_start_only() -> None:
    agent = make_agent(
        {"name": "cql", "shared_encoder": True, "clone_steps": 2, "decay_steps": 4}
    )
    rates = []
    for step in range(9):
        agent.update(make_batch(step))
        rates.append(
            [agent.optimizers[name].param_groups[0]["lr"] for name in ("critic", "actor")]
        )
    assert rates[:3] == [[3e-4, 1e-4]] * 3  # two of cloning, the first of CQL
    assert rates[4] == pytest.approx([1.65e-4, 0.55e-4])  # half way
    assert rates[6:] == [pytest.approx([3e-5, 1e-5])] * 3  # a tenth, and so it stays


def test_low_entropy_raises_the_temperature() -> None:
    agent = make_agent({"name": "cql", "temperature_lr": 0.1})
    with torch.no_grad():
        agent.policy.log_std.bias.fill_(-4.0)
    agent.update(make_batch())
    assert agent.log_temperature.item() > 0.0  # it began at log 1


def test_unknown_conservative_form_is_refused() -> None:
    with pytest.raises(TrainingError, match="'v4'; it must be v1, v2 or v3"):
        replace(CQLConfig(), min_q_version="v4")


def test_update_of_a_resnet34_needs_at_most_102_gflop_a_sample() -> None:
    problem = replace(PROBLEM, height=128, width=128)
    torch.manual_seed(0)
    agent = CQL(CQLConfig(), NetworkConfig(), problem, Augmentation(4, jitter=True))
    agent.start(torch.device("cpu"), 0)
    small = make_batch(size=2)
    images = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        agent.update(replace(small, images=images, next_images=images))
    assert (
        100.0 < counter.get_total_flops() / 2 / 1e9 <= 102.0
    )  # nine passes of 11.3; the official code needs 214.6


def test_encoders_of_their_own_give_each_head_its_latent() -> None:
    agent, batch = make_agent({"name": "cql", "independent_encoders": True}), make_batch()
    assert isinstance(agent, CQL)
    agent.update(batch)
    encoders = agent.critic_encoder.encoders
    gradients = [next(encoder.parameters()).grad for encoder in encoders]
    assert all(float(each.abs().sum()) > 0 for each in gradients)
    assert not torch.equal(*gradients)


def test_bootstrap_stops_at_the_last_step_only_if_asked() -> None:
    batch = replace(make_batch(), rewards=torch.ones(12), last=torch.zeros(12))
    for terminal, masked in (("rewarded", True), ("last", False)):
        agent = make_agent({"name": "cql", "terminal": terminal})
        with torch.no_grad():
            agent.target_critic.layers[-1].bias.fill_(100.0)
        target, _ = agent._target(
            batch, agent._augment(batch.next_images), agent._one_hot(batch.task)
        )
        assert (target == 10.0).all() == masked


def test_diverging_q_is_reported_with_the_possible_returns() -> None:
    agent = make_agent({"name": "cql"})
    assert agent.warning({"q_data": -30.0}) == agent.warning({"loss": 1.0}) == ""
    assert "is 61, possible returns are -25 to 10" in agent.warning({"q_data": 61.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"terminal": "end"}, r"agent.terminal is 'end'; it must be rewarded or last"),
        ({"shared_encoder": True, "independent_encoders": True}, "exclude each other"),
        ({"terminal": "last", "clamp_target": True}, r"only with agent.terminal=rewarded"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    change: dict, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        CQLConfig(**change)
