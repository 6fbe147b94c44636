"""One harness for every agent."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_agents import NETWORK, make_agent, make_batch

from ptr_training.agents import AGENTS
from ptr_training.agents.actor_critic import ActorCritic
from ptr_training.data.augment import Augmentation

VARIANTS: dict[str, dict[str, Any]] = {
    "bc": {"name": "bc", "lr": 1e-3},
    "cql": {"name": "cql"},
    "cql-independent": {
        "name": "cql",
        "independent_encoders": True,
        "min_q_version": "v1",
        "terminal": "last",
    },
    "cql-demo": {
        "name": "cql",
        "shared_encoder": True,
        "clone_steps": 2,
        "bc_weight": 10.0,
        "clamp_target": True,
        "n_next_actions": 3,
        "n_batch_actions": 2,
    },
    "cql-hl-gauss": {
        "name": "cql",
        "shared_encoder": True,
        "value_loss": "hl_gauss",
        "value_bins": 21,
        "act": "best_of_n",
        "act_samples": 4,
    },
    "awbc": {"name": "awbc", "lr": 1e-3},
    "awbc-official": {"name": "awbc", "lr": 1e-3, "form": "official"},
    "autoregressive": {"name": "autoregressive", "lr": 1e-3, "bins": 11, "beam": 3},
    "bet": {
        "name": "bet",
        "lr": 1e-3,
        "window": 3,
        "bins": 5,
        "layers": 2,
        "heads": 2,
        "width": 16,
    },
    "bet-window-1": {
        "name": "bet",
        "lr": 1e-3,
        "window": 1,
        "bins": 5,
        "layers": 1,
        "heads": 2,
        "width": 16,
    },
    "flow": {"name": "flow", "lr": 1e-3, "chunk": 4, "execute": 1, "flow_steps": 3},
    "flow-chunk-1": {"name": "flow", "lr": 1e-3, "chunk": 1, "execute": 1, "draws": 2},
    "macaw": {
        "name": "macaw",
        "tasks": 3,
        "policy_lr": 1e-3,
        "value_lr": 1e-3,
        "transform": 4,
    },
    "macaw-std": {
        "name": "macaw",
        "tasks": 1,
        "inner_steps": 2,
        "std": 0.0,
        "max_gradient": 10.0,
        "transform": 0,
        "policy_lr": 1e-3,
    },
    "macaw-validation": {
        "name": "macaw",
        "tasks": 2,
        "validation_tasks": 1,
        "transform": 4,
        "policy_lr": 1e-3,
    },
    "cql-weighted": {
        "name": "cql_weighted",
        "mc_weight": 1.0,
        "clone_steps": 5,
        "judge_steps": 20,
        "shared_encoder": True,
    },
    "cql-weighted-td": {
        "name": "cql_weighted",
        "mc_weight": 0.5,
        "clone_steps": 0,
        "advantage": "exp",
        "act": "best_of_n",
        "act_samples": 4,
    },
    "cql-lagrange": {"name": "cql", "gap": "lagrange", "alpha": 1.0, "normalize_q": True},
    "cql-schedule": {"name": "cql", "gap": "schedule", "alpha_end": 1.0, "alpha_steps": 30},
    "calql": {"name": "calql", "critic_lr": 1e-3, "discount": 0.9},
    "iql": {"name": "iql", "actor_lr": 1e-3, "critic_lr": 1e-3, "discount": 0.9},
    "iql-shared": {
        "name": "iql",
        "shared_encoder": True,
        "gripper": "auto",
        "act": "best_of_n",
        "decay_steps": 20,
    },
    "mae": {
        "name": "mae",
        "patch": 4,
        "width": 24,
        "layers": 2,
        "decoder_width": 12,
        "decoder_layers": 1,
        "lr": 1e-3,
    },
}
ACTING = [name for name in VARIANTS if name != "mae"]
NETWORKS = {
    "small": NETWORK,
    "resnet18-batch-norm": replace(NETWORK, encoder="resnet18", norm="batch", film=False),
    "impala-softmax": replace(
        NETWORK, encoder="impala", aggregation="softmax", refeed="action", film=False
    ),
    "dropout": replace(NETWORK, dropout=0.3, refeed="nothing", standardize_proprio=True),
}


def test_every_agent_is_in_the_harness() -> None:
    assert {values["name"] for values in VARIANTS.values()} == set(AGENTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_updates_on_a_fixed_batch_lower_the_loss(name: str) -> None:
    agent = make_agent(VARIANTS[name])
    batch = make_batch(sampling=agent.config.sampling)
    history = [agent.update(batch) for _ in range(40)]
    assert all(math.isfinite(value) for metrics in history for value in metrics.values())
    assert agent.steps == 40
    assert history[-1]["loss"] < history[5]["loss"]


@pytest.mark.parametrize("name", VARIANTS)
def test_saved_agent_goes_on_bit_for_bit(name: str) -> None:
    agent = make_agent(VARIANTS[name])
    sampling = agent.config.sampling
    for seed in range(3):
        agent.update(make_batch(seed, sampling=sampling))
    file = io.BytesIO()
    torch.save(agent.state(), file)
    file.seek(0)
    copy = make_agent(VARIANTS[name], seed=9)
    copy.load_state(torch.load(file, weights_only=True))
    dropout = torch.get_rng_state()
    expected = [agent.update(make_batch(seed, sampling=sampling)) for seed in range(3, 5)]
    torch.set_rng_state(dropout)
    found = [copy.update(make_batch(seed, sampling=sampling)) for seed in range(3, 5)]
    assert [list(map(float, each.values())) for each in found] == [
        list(map(float, each.values())) for each in expected
    ]


def test_learning_rate_of_the_configuration_beats_that_of_the_checkpoint() -> None:
    slow, fast = (
        make_agent({"name": "bc", "lr": 1e-4}),
        make_agent({"name": "bc", "lr": 1e-2}),
    )
    slow.update(make_batch())
    fast.load_state(slow.state())
    assert fast.optimizers["actor"].param_groups[0]["lr"] == 1e-2


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["bc", "cql", "macaw"])
def test_agents_learn_with_every_kind_of_network(name: str, network: str) -> None:
    agent = make_agent(VARIANTS[name], network=NETWORKS[network])
    batch = make_batch(sampling=agent.config.sampling)
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    metrics = [agent.update(batch) for _ in range(2)][-1]
    assert all(math.isfinite(value) for value in metrics.values())
    after = agent.state_dict()
    assert any(
        not torch.equal(after[key], before[key])
        for key in after
        if key.startswith("encoder.trunk")
    )


@pytest.mark.parametrize(
    ("name", "network"),
    [*((name, "small") for name in ACTING), *(("cql", each) for each in NETWORKS)],
)
def test_scripted_module_equals_the_agent(name: str, network: str) -> None:
    agent = make_agent(VARIANTS[name], network=NETWORKS[network])
    batch = make_batch(sampling=agent.config.sampling)
    agent.update(batch)
    eager = agent.deployed().eval()
    scripted = torch.jit.script(eager)
    for size in (1, 5):
        inputs = (batch.images[:size], batch.proprio[:size], batch.task[:size])
        action, std = eager.act(*inputs)
        assert action.shape == std.shape == (size, 7)
        torch.testing.assert_close(
            scripted.act(*inputs), (action, std), atol=1e-5, rtol=0, equal_nan=True
        )
        q = eager.q(*inputs, action)
        torch.testing.assert_close(
            scripted.q(*inputs, action), q, atol=1e-5, rtol=1e-5, equal_nan=True
        )
        assert q.shape == (size, 2)
        assert bool(torch.isnan(q).any()) != isinstance(agent, ActorCritic)


@pytest.mark.parametrize("name", ["bc", "cql", "awbc", "macaw-std"])
def test_deployed_actions_are_in_robot_units(name: str) -> None:
    agent = make_agent(VARIANTS[name])
    with torch.no_grad():
        agent.policy.mean.bias.fill_(50.0)
    action, _ = agent.deployed().act(
        *(getattr(make_batch(), key) for key in ("images", "proprio", "task"))
    )
    torch.testing.assert_close(
        action, torch.tensor([0.05, 0.05, 0.05, 0.01, 0.01, 0.05, 0.05]).expand(12, 7)
    )


def test_deployed_q_is_that_of_the_scaled_action() -> None:
    agent, batch = (
        make_agent({"name": "cql"}, augmentation=Augmentation(0, jitter=False)),
        make_batch(),
    )
    task = F.one_hot(batch.task, 4).float()
    latent = agent.critic_encoder(agent._augment(batch.images), task)
    expected = agent.critic(latent, batch.proprio, task, batch.actions[:, None])[
        :, :, 0
    ].t()
    found = agent.deployed().q(
        batch.images, batch.proprio, batch.task, batch.actions * 0.05
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_compiled_encoders_change_neither_names_nor_losses() -> None:
    plain, compiled = make_agent(VARIANTS["cql"]), make_agent(VARIANTS["cql"])
    compiled.compile_encoders()
    with torch.compiler.set_stance(
        "force_eager"
    ):  # the compiler itself would take a minute
        losses = [
            [float(agent.update(make_batch(seed))["loss"]) for seed in range(2)]
            for agent in (plain, compiled)
        ]
    assert losses[0] == losses[1]
    assert list(plain.state()["weights"]) == list(compiled.state()["weights"])
