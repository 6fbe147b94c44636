"""Order of the steps of CQL's update, and which passes are learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from small_agents import NETWORK, make_batch, make_cql
from torch import Tensor

from ptr_training.agents import CQL
from ptr_training.data.augment import to_network


def record(agent: CQL) -> list[str]:
    """Return a list that fills with the steps of an update."""
    events: list[str] = []

    def spy(name: str, label: Callable[..., str]) -> None:
        original = getattr(agent, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            events.append(label(*arguments, **options))
            return original(*arguments, **options)

        setattr(agent, name, wrapped)

    def of_actor(batch: Any, mean: Tensor, log_std: Tensor, latent: Tensor, _: Any) -> str:
        assert not latent.requires_grad  # the actor's loss does not teach the critic to see
        return "actor loss"

    spy("_step", lambda _, *names: "step " + " and ".join(names))
    spy("_move_targets", lambda: "move targets")
    spy("_actor_loss", of_actor)
    spy("_act", lambda *_, learn=True: "learn from policy" if learn else "draw from policy")
    return events


def test_separate_encoders_update_in_the_official_order() -> None:
    agent = make_cql()
    events = record(agent)
    agent.update(make_batch())
    assert events == [
        "learn from policy",  # at s
        "draw from policy",  # at s'
        "step critic",
        "move targets",
        "actor loss",
        "step actor",
        "step temperature",
    ]


def test_a_shared_encoder_is_stepped_once_for_both_losses() -> None:
    agent = make_cql(shared_encoder=True)
    events = record(agent)
    agent.update(make_batch())
    assert events[2:] == [
        "actor loss",
        "step critic and actor",
        "move targets",
        "step temperature",
    ]


def test_dropout_needs_a_pass_of_its_own_to_draw_from() -> None:
    agent = make_cql(network=replace(NETWORK, dropout=0.5))
    events = record(agent)
    agent.update(make_batch())
    assert events[:3] == ["learn from policy", "draw from policy", "draw from policy"]
    batch = make_batch()
    arguments = (to_network(batch.images), batch.proprio, agent._one_hot(batch.task))
    once, again = agent._act(*arguments, learn=False), agent._act(*arguments, learn=False)
    assert torch.equal(once[1], again[1])
    assert not torch.equal(agent._act(*arguments)[1], agent._act(*arguments)[1])
    assert agent.policy.training
