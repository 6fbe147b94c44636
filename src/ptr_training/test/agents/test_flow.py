"""Flow matching: its mathematics, chunks that end with the episode, and data with two modes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_agents import ACTIVE, DATA_SPEC, NETWORK, make_agent, make_batch
from torch import Tensor

from ptr_training.agents import Agent
from ptr_training.agents.flow import Flow, FlowConfig, FlowPolicy, between
from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch
from ptr_training.data.distributed import DistributedContext
from ptr_training.errors import TrainingError

VALUES = {"name": "flow", "lr": 3e-3, "chunk": 4, "execute": 4, "draws": 8}


def make_flow(**changes: Any) -> Flow:
    agent = make_agent({**VALUES, **changes}, augmentation=Augmentation(0, jitter=False))
    assert isinstance(agent, Flow)
    return agent


def test_velocity_that_follows_from_the_end_is_that_of_the_line() -> None:
    start, end = torch.randn(2, 3, 4, 7, dtype=torch.float64)
    time = 0.9 * torch.rand(3, 1, 1, dtype=torch.float64)
    point, later = between(start, end, time), between(start, end, time + 1e-3)
    torch.testing.assert_close((later - point) / 1e-3, end - start)
    torch.testing.assert_close((end - point) / (1 - time), end - start)
    torch.testing.assert_close(between(start, end, torch.zeros(3, 1, 1)), start)
    torch.testing.assert_close(between(start, end, torch.ones(3, 1, 1)), end)


def field(rate: float, constant: float, steps: int) -> FlowPolicy:
    """Return a policy of single actions whose network says that x ends at rate x + constant."""
    config = FlowConfig(chunk=1, execute=1, flow_steps=steps)
    policy = FlowPolicy(config, replace(NETWORK, hidden=(14,)), DATA_SPEC, latent=32)
    first, layer = policy.condition_size, policy.flow_layers[0]
    with torch.no_grad():  # relu(x) - relu(-x) = x
        layer.weight.zero_()
        layer.weight[:7, first : first + 7] = torch.eye(7)
        layer.weight[7:, first : first + 7] = -torch.eye(7)
        policy.end.weight.copy_(rate * torch.cat([torch.eye(7), -torch.eye(7)], 1))
        policy.end.bias.fill_(constant)
    return policy


def integrated(policy: FlowPolicy, x: Tensor) -> Tensor:
    """Return where the flow carries x, whatever the observation."""
    with torch.no_grad():
        return policy.integrate(torch.randn(len(x), policy.condition_size), x)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_euler_steps_follow_straight_lines_exactly(steps: int) -> None:
    policy, x = field(0.0, 0.3, steps), torch.randn(5, 1, 7) * torch.tensor(ACTIVE)
    expected = 0.3 * torch.tensor(ACTIVE).float().expand(5, 1, 7)
    torch.testing.assert_close(integrated(policy, x), expected)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_euler_steps_integrate_a_linear_field(steps: int) -> None:
    """Of dx/dt = (k - 1) x / (1 - t), step i of n makes x larger by 1 + (k - 1) / (n - i)."""
    policy, x = field(0.5, 0.0, steps), torch.randn(5, 1, 7) * torch.tensor(ACTIVE)
    factor = math.prod(1 + (0.5 - 1) / (steps - i) for i in range(steps))
    torch.testing.assert_close(integrated(policy, x), factor * x)


def test_entries_after_the_end_of_an_episode_have_no_gradient() -> None:
    agent = make_flow()
    end = torch.randn(3, 2, 4, 7, requires_grad=True)
    inside = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    error = agent._chunk_error(end, torch.randn(3, 1, 4, 7), inside)
    (gradient,) = torch.autograd.grad(error, end)
    learnt = inside[:, None, :, None] * torch.tensor(ACTIVE)
    assert torch.equal(gradient != 0, (learnt != 0).expand_as(gradient))


def test_every_transition_has_an_equal_share_of_the_error() -> None:
    agent = make_flow()
    target, inside = torch.zeros(2, 1, 4, 7), torch.ones(2, 4)
    inside[1, 1:] = 0
    for row in range(2):
        end = torch.zeros(2, 1, 4, 7)
        end[row] = 1.0
        assert float(agent._chunk_error(end, target, inside)) == pytest.approx(0.5)


def test_dimensions_that_are_not_learnt_stay_at_rest() -> None:
    agent, batch = make_flow(), make_batch()
    agent.update(make_batch(sampling=agent.config.sampling))
    actions, std = agent.deployed().act(batch.images, batch.proprio, batch.task)
    assert actions.shape == std.shape == (12, 4, 7)
    fixed = ~torch.tensor(ACTIVE)
    torch.testing.assert_close(actions[..., fixed], torch.full((12, 4, 2), 0.01))
    assert bool(std[..., ~fixed].isnan().all())


def test_encoder_learns_as_in_cloning() -> None:
    batch = make_batch(sampling=FlowConfig(chunk=4, execute=1).sampling)
    flow = make_flow()
    clone = make_agent(
        {"name": "bc", "lr": 3e-3}, augmentation=Augmentation(0, jitter=False)
    )
    for part in ("encoder", "policy"):
        weights = getattr(flow, part).state_dict()
        for name, value in getattr(clone, part).state_dict().items():
            if name in weights:
                value.copy_(weights[name])
    for _ in range(3):
        flow_error, bc_error = (
            flow.update(batch)["bc_error"],
            clone.update(batch)["bc_error"],
        )
        torch.testing.assert_close(flow_error, bc_error)
    for name, value in clone.encoder.state_dict().items():
        torch.testing.assert_close(flow.encoder.state_dict()[name], value)


def two_ways_around(size: int = 32) -> Batch:
    """One observation from which half of the demonstrations go left, half right, for 4 steps."""
    batch = make_batch(size=size, sampling=FlowConfig(chunk=4, execute=1).sampling)
    side = torch.where(torch.arange(size) % 2 == 0, 0.8, -0.8)
    actions = torch.zeros(size, 7)
    actions[:, 1] = side
    return replace(
        batch,
        images=batch.images[:1].expand(size, -1, -1, -1),
        proprio=torch.zeros(size, 7),
        task=torch.zeros(size, dtype=torch.int64),
        actions=actions,
        chunk=actions[:, None].expand(-1, 4, -1),
        inside=torch.ones(size, 4),
    )


def trained_on_two_ways(agent: Agent) -> Tensor:
    """Return the sideways actions (E,) of an agent that has learnt them, in [-1, 1]."""
    batch = two_ways_around()
    for _ in range(250):
        agent.update(batch)
    with torch.no_grad():
        actions, _ = agent.deployed().eval().act(batch.images, batch.proprio, batch.task)
    return actions[0].reshape(-1, 7)[:, 1] / 0.05


def test_of_two_ways_around_cloning_takes_the_middle_and_the_flow_takes_one() -> None:
    plain = Augmentation(0, jitter=False)
    cloned = trained_on_two_ways(make_agent({"name": "bc", "lr": 3e-3}, augmentation=plain))
    assert float(cloned.abs().max()) < 0.2
    agent = make_flow()
    way = trained_on_two_ways(agent)
    torch.testing.assert_close(way, 0.8 * way.sign(), atol=0.15, rtol=0)
    assert len(way.sign().unique()) == 1  # all of the chunk takes the same one


def test_other_noises_take_the_other_way_and_few_the_middle() -> None:
    agent, batch = make_flow(), two_ways_around()
    trained_on_two_ways(agent)
    task = agent._one_hot(batch.task)
    with torch.no_grad():
        latent = agent._encode(agent.encoder, agent._augment(batch.images), task)
        condition = agent.policy.condition(latent, batch.proprio, task)
        noise = torch.randn(400, 4, 7, generator=torch.Generator().manual_seed(1))
        start = noise * agent.active
        ends = agent.policy.integrate(condition[:1].expand(400, -1), start)[:, :, 1]
    assert abs(float(condition[0, -6])) < 0.2  # the clone that it learns beside
    left = ends.mean(1) < 0
    assert 0.3 < float(left.float().mean()) < 0.7
    assert float((ends.mean(1).abs() > 0.5).float().mean()) > 0.8


def test_noise_of_a_deployed_policy_does_not_depend_on_the_seed() -> None:
    one, other = (make_agent(VALUES, seed=seed).policy for seed in (0, 1))
    assert not torch.equal(one.mean.weight, other.mean.weight)
    assert torch.equal(one.noise, other.noise)
    assert one.noise.shape == (4, 7)


def test_processes_that_share_a_batch_have_the_loss_of_one() -> None:
    batch = make_batch(sampling=FlowConfig(chunk=4, execute=1).sampling)
    whole = loss_of(make_flow(), batch)
    shares = []
    for rank in range(2):
        agent, rows = make_flow(), slice(6 * rank, 6 * rank + 6)
        agent.rng.context = DistributedContext(rank, 2)
        shares.append(loss_of(agent, batch._apply(lambda tensor, rows=rows: tensor[rows])))
    torch.testing.assert_close(torch.stack(shares).mean(), whole)
    assert not torch.equal(*shares)


def loss_of(agent: Flow, batch: Batch) -> Tensor:
    """Return the loss of an agent on a batch."""
    images, task = agent._augment(batch.images), agent._one_hot(batch.task)
    return agent._loss(batch, images, task)[0].detach()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk": 0, "execute": 1}, "agent.chunk is 0; it must be at least 1"),
        ({"execute": 0}, "agent.execute is 0; it must be at least 1"),
        ({"execute": 5}, "agent.execute is 5; it must be at most agent.chunk, 4"),
    ],
)
def test_impossible_chunks_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        make_flow(**change)
