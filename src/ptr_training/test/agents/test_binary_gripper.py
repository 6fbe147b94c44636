"""A gripper that is open or closed: policy, samples, losses, and how data decide on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_agents import DATA_SPEC, NETWORK, make_batch

from ptr_training.agents import CQL
from ptr_training.agents.cql_config import CQLConfig
from ptr_training.agents.cql_sampling import draw_uniform
from ptr_training.agents.cql_terms import hybrid_actor_loss
from ptr_training.data.augment import Augmentation
from ptr_training.data.distributed import BatchRng
from ptr_training.data.episode import DatasetInfo, EpisodeWriter
from ptr_training.data.normalization import fit_spec
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.models.policy import (
    Policy,
    expected_actions,
    sample_actions,
    with_both_grippers,
)
from ptr_training.training.train import finetune

BINARY = replace(DATA_SPEC, binary_gripper=True)
ACTIVE = torch.tensor(BINARY.action_active).float()


def make_hybrid(**values: object) -> CQL:
    torch.manual_seed(0)
    config = CQLConfig(gripper="binary", **values)  # type: ignore[arg-type]
    agent = CQL(config, NETWORK, BINARY, Augmentation(0, jitter=False))
    agent.start(torch.device("cpu"), 0)
    return agent


def test_critic_chooses_only_gripper_values_that_the_policy_gives() -> None:
    """The critic always wants it closed; below the least share the policy forbids that."""
    agent = make_hybrid(act="best_of_n", act_samples=1)
    module, batch = agent.deployed().eval(), make_batch()
    module.critic.forward = lambda *inputs, **_: -inputs[3][None, :, :, 6].expand(2, -1, -1)  # type: ignore[union-attr, method-assign]
    likely, unlikely = math.log(0.94 / 0.06), math.log(0.96 / 0.04)
    for logit, closes in ((likely, True), (unlikely, False), (-unlikely, True)):
        mean = torch.zeros(len(batch.proprio), 7)
        mean[:, 6] = logit
        module.policy.forward = lambda *_, mean=mean: (mean, torch.zeros_like(mean))  # type: ignore[method-assign]
        with torch.no_grad():
            action, _ = module.act(batch.images, batch.proprio, batch.task)
        middle = (module.low[6] + module.high[6]) / 2
        assert (action[:, 6] < middle).all() == closes


def test_drawn_gripper_is_open_as_policy_and_critic_say_together() -> None:
    """Odds of open: the policy's times exp((Q of open - Q of closed) / T)."""
    temperature = 0.1
    agent = make_hybrid(
        act="best_of_n",
        act_samples=1,
        draw_gripper=True,
        gripper_temperature=temperature,
    )
    module, batch = agent.deployed().eval(), make_batch()
    mean = torch.zeros(len(batch.proprio), 7)
    mean[:, 6] = 0.4
    module.policy.forward = lambda *_: (mean, torch.zeros_like(mean))  # type: ignore[method-assign]
    # min Q is -0.06 for open and 0.06 for closed
    module.critic.forward = lambda *inputs, **_: (  # type: ignore[union-attr, method-assign]
        -inputs[3][None, :, :, 6].expand(2, -1, -1) * 0.06 / 0.99
    )
    with torch.no_grad():
        action, std = module.act(batch.images, batch.proprio, batch.task)
    p = torch.sigmoid(torch.tensor(0.4 - 0.12 / temperature))
    middle = (module.low[6] + module.high[6]) / 2
    assert (action[:, 6] < middle).all()  # closed is likelier
    expected = 2 * 0.99 * (p * (1 - p)).sqrt() * (module.high[6] - module.low[6]) / 2
    np.testing.assert_allclose(std[:, 6], expected.expand(len(std)), rtol=1e-4)


def test_gripper_is_drawn_only_from_values_that_the_policy_gives() -> None:
    agent = make_hybrid(act="best_of_n", act_samples=1, draw_gripper=True)
    module, batch = agent.deployed().eval(), make_batch()
    mean = torch.zeros(len(batch.proprio), 7)
    mean[:, 6] = math.log(0.96 / 0.04)
    module.policy.forward = lambda *_: (mean, torch.zeros_like(mean))  # type: ignore[method-assign]
    with torch.no_grad():
        action, std = module.act(batch.images, batch.proprio, batch.task)
    assert (action[:, 6] > (module.low[6] + module.high[6]) / 2).all()
    assert (std[:, 6] < 1e-6).all()


def test_gripper_is_judged_at_the_motion_of_the_mode() -> None:
    agent = make_hybrid()
    batch = make_batch()
    opened, closed, probability = agent.judge_gripper(batch)
    module = agent.deployed().eval()
    with torch.no_grad():
        mode, _ = module.act(batch.images, batch.proprio, batch.task)
        for value, judged in ((module.high[6], opened), (module.low[6], closed)):
            action = mode.clone()
            action[:, 6] = value
            q = module.q(batch.images, batch.proprio, batch.task, action).amin(1)
            np.testing.assert_allclose(judged, q, rtol=1e-4, atol=1e-6)
    middle = (module.low[6] + module.high[6]) / 2
    assert torch.equal(probability > 0.5, mode[:, 6] > middle)


def seeded(seed: int = 0) -> BatchRng:
    return BatchRng(torch.Generator().manual_seed(seed))


def test_mode_opens_or_closes_by_the_likelier_value() -> None:
    torch.manual_seed(0)
    policy = Policy(NETWORK, BINARY, 32, squashed=True)
    inputs = torch.randn(50, 32), torch.randn(50, 7), torch.eye(4)[torch.arange(50) % 4]
    mean, _ = policy(*inputs)
    mode, std = policy.mode(*inputs)
    np.testing.assert_allclose(mode[:, 6].abs().detach(), 0.99, rtol=1e-6)
    assert torch.equal(mode[:, 6] > 0, mean[:, 6] > 0)
    p = torch.sigmoid(mean[:, 6])
    deviation = 2 * 0.99 * (p * (1 - p)).sqrt()
    np.testing.assert_allclose(std[:, 6].detach(), deviation.detach(), rtol=1e-5)
    plain = Policy(NETWORK, DATA_SPEC, 32, squashed=True)
    plain.load_state_dict(policy.state_dict())
    np.testing.assert_array_equal(
        plain.mode(*inputs)[0][:, :6].detach(), mode[:, :6].detach()
    )


def test_gripper_is_drawn_as_often_as_its_probability_says() -> None:
    mean = torch.zeros(1, 7)
    mean[0, 6] = 1.0
    log_std = torch.full((1, 7), -1.0)
    drawn = sample_actions(mean, log_std, ACTIVE, 20_000, seeded(), binary_gripper=True)
    actions, log_densities = drawn
    is_open = actions[0, :, 6] > 0
    p = torch.sigmoid(torch.tensor(1.0))
    assert float(is_open.float().mean()) == pytest.approx(float(p), abs=0.01)
    without = ACTIVE.clone()
    without[6] = 0
    _, motion = sample_actions(
        mean, log_std, without, 20_000, seeded(), binary_gripper=True
    )
    added = log_densities - motion
    np.testing.assert_allclose(added[0, is_open], float(p.log()), rtol=1e-4)
    np.testing.assert_allclose(added[0, ~is_open], float((1 - p).log()), rtol=1e-4)


def test_motion_is_drawn_as_with_a_continuous_gripper() -> None:
    mean, log_std = torch.randn(5, 7), torch.randn(5, 7).clamp(-2, 0)
    plain, _ = sample_actions(mean, log_std, ACTIVE, 3, seeded())
    hybrid, _ = sample_actions(mean, log_std, ACTIVE, 3, seeded(), binary_gripper=True)
    assert torch.equal(plain[..., :6], hybrid[..., :6])


def test_uniform_actions_have_both_grippers_at_an_unchanged_density() -> None:
    sampled = draw_uniform(200, 4, 5, seeded(), binary_gripper=True)
    gripper = sampled.actions[..., 6]
    np.testing.assert_allclose(gripper.abs(), 0.99, rtol=1e-6)
    assert 0.4 < float((gripper > 0).float().mean()) < 0.6
    np.testing.assert_allclose(sampled.log_densities, -5 * np.log(2), rtol=1e-6)


def test_both_grippers_are_tried_for_every_motion() -> None:
    actions = torch.randn(2, 3, 7)
    both = with_both_grippers(actions)
    assert both.shape == (2, 6, 7)
    assert torch.equal(both[:, :3, :6], actions[..., :6])
    assert torch.equal(both[:, 3:, :6], actions[..., :6])
    assert (both[:, :3, 6] > 0).all()
    assert (both[:, 3:, 6] < 0).all()


def test_actors_loss_is_the_expectation_over_the_gripper() -> None:
    """Summed exactly, it is the mean of the sampled loss."""
    torch.manual_seed(1)
    log_pi, logit, q = torch.randn(6), torch.randn(6), torch.randn(6, 2)
    temperature = torch.tensor(0.7)
    loss, entropy = hybrid_actor_loss(log_pi, q, logit, temperature)
    p = torch.sigmoid(logit)
    expected = 0.0
    for share, log_p, value in ((p, p.log(), q[:, 0]), (1 - p, (1 - p).log(), q[:, 1])):
        expected = expected + share * (temperature * (log_pi + log_p) - value)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    bernoulli = torch.distributions.Bernoulli(p).entropy()
    np.testing.assert_allclose(entropy, bernoulli - log_pi, rtol=1e-4)


def test_actor_learns_to_close_where_closing_is_better_across_the_valley() -> None:
    """Q is high at both values of the gripper, higher when closed, and low between them."""
    agent = make_hybrid(actor_lr=1e-2, alpha=0.0)
    batch = make_batch(size=16)

    def q(latent, proprio, task, action, frozen=False):  # type: ignore[no-untyped-def]
        gripper = action[..., 6]
        value = 10 * gripper**2 - gripper
        return torch.stack([value, value])

    agent.critic.forward = q  # type: ignore[method-assign]
    task = agent._one_hot(batch.task)
    images = agent._augment(batch.images)
    with torch.no_grad():  # all grippers open at first
        agent.policy.mean.bias[6] = 4.0
    for _ in range(150):
        latent, mean, log_std = agent._act(images, batch.proprio, task)
        loss, _, _ = agent._actor_loss(batch, mean, log_std, latent.detach(), task)
        agent._step(loss, "actor")
    _, mean, _ = agent._act(images, batch.proprio, task)
    assert (mean[:, 6] < 0).all()


def test_target_entropy_does_not_count_the_gripper() -> None:
    assert make_hybrid().target_entropy == -4.0


def test_cloning_compares_the_expected_gripper() -> None:
    mean = torch.zeros(2, 7)
    mean[:, 6] = torch.tensor([0.0, 50.0])
    expected = expected_actions(mean, binary_gripper=True)
    np.testing.assert_allclose(expected[:, 6], [0.0, 0.99], atol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_update_is_finite_and_bundled_as_it_acts(shared: bool) -> None:
    agent = make_hybrid(shared_encoder=shared, n_next_actions=2, n_batch_actions=2)
    for seed in range(3):
        metrics = agent.update(make_batch(seed))
    assert all(torch.isfinite(value) for value in metrics.values())
    batch = make_batch()
    module = agent.deployed().eval()
    inputs = batch.images, batch.proprio, batch.task
    action, _ = module.act(*inputs)
    scripted = torch.jit.script(module)
    np.testing.assert_allclose(scripted.act(*inputs)[0].detach(), action.detach())
    half = (BINARY.action_high[6] - BINARY.action_low[6]) / 2
    np.testing.assert_allclose(action[:, 6].detach().abs(), 0.99 * half, rtol=1e-5)


def store_with_gripper(folder: Path, commands: np.ndarray) -> EpisodeStore:
    """Return a store of one episode with these gripper commands, 0 to 1."""
    from ptr_training.data.episode import Episode

    rng = np.random.default_rng(0)
    length = len(commands)
    actions = rng.normal(0, 0.02, (length, 7)).astype(np.float32)
    actions[:, 6] = commands
    info = DatasetInfo("toy", "front", 16, 16, image_height=16, image_width=16)
    with EpisodeWriter(folder, info) as writer:
        writer.add(
            Episode(
                id="e",
                task="t",
                frames=np.zeros((length + 1, 16, 16, 3), np.uint8),
                stamps_ns=np.arange(length + 1) * 200_000_000,
                proprio=np.zeros((length + 1, 7), np.float32),
                requested=actions,
                executed=actions,
                outcome="success",
            )
        )
    return EpisodeStore.open(folder)


Commands = Callable[[np.random.Generator], np.ndarray]


@pytest.mark.parametrize(
    ("draw", "gripper", "binary"),
    [
        (lambda rng: rng.integers(0, 2, 200), "auto", True),
        (lambda rng: rng.random(200), "auto", False),
        (lambda rng: rng.random(200), "binary", True),
        (lambda rng: rng.integers(0, 2, 200), "continuous", False),
        (lambda rng: np.ones(200), "auto", False),  # it does not move: not learnt
    ],
)
def test_data_decide_or_the_user(
    tmp_path: Path, draw: Commands, gripper: str, binary: bool
) -> None:
    store = store_with_gripper(tmp_path / "s", draw(np.random.default_rng(0)))
    assert fit_spec([store], 2, 0.05, gripper=gripper).binary_gripper is binary


def test_gripper_that_is_neither_is_refused_with_its_share(tmp_path: Path) -> None:
    commands = np.array([0.0, 1.0] * 90 + [0.5] * 20)
    store = store_with_gripper(tmp_path / "s", commands)
    with pytest.raises(
        TrainingError, match=r"90% of the gripper commands .*--set agent\.gripper=binary"
    ):
        fit_spec([store], 2, 0.05, gripper="auto")


def test_fine_tuning_cannot_change_what_the_gripper_is(
    tmp_path: Path, pretrained: Path, make_store: Callable[..., Path]
) -> None:
    target = make_store("target", tasks=("new",), per_task=4)
    where = ["--from", str(pretrained), "--target", str(target)]
    where += ["--prior", str(tmp_path / "prior"), "--out", str(tmp_path / "fine")]
    with pytest.raises(
        TrainingError, match=r"agent.gripper is binary, but .* with a continuous gripper"
    ):
        finetune([*where, "--set", "agent.gripper=binary"])
    assert not (tmp_path / "fine").exists()
    finetune([*where, "--set", "agent.gripper=auto"])  # stays what it was
