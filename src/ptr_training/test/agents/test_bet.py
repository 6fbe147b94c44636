"""Behavior Transformer: clusters, focal loss, causality, and bins that pre-training fixes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_agents import make_agent

from ptr_training.agents.bet import BeT, focal_loss, k_means
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError

VALUES = {"name": "bet", "window": 4, "bins": 5, "layers": 2, "heads": 2, "width": 16}


def make_bet(**changes: object) -> BeT:
    agent = make_agent({**VALUES, **changes})
    assert isinstance(agent, BeT)
    return agent


def test_clusters_far_apart_are_found() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    points = np.concatenate(
        [centre + 0.1 * rng.standard_normal((50, 2)) for centre in true]
    )
    found = k_means(points, 3, seed=1)
    nearest = ((found[:, None] - true) ** 2).sum(2).argmin(1)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    np.testing.assert_allclose(found, true[nearest], atol=0.1)
    np.testing.assert_array_equal(k_means(points, 3, seed=1), found)


def test_more_bins_than_distinct_actions_are_refused() -> None:
    with pytest.raises(
        TrainingError, match=r"agent.bins is 3, but the data hold only 2 distinct actions"
    ):
        k_means(np.array([[0.0], [1.0], [1.0]]), 3, seed=0)


def test_focal_loss_without_focus_is_the_cross_entropy() -> None:
    logits, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(
        focal_loss(logits, target, 0.0), F.cross_entropy(logits, target)
    )
    sure = 20.0 * F.one_hot(target, 4).float()
    assert float(focal_loss(sure, target, 2.0)) < 1e-12


def test_a_token_does_not_see_the_future() -> None:
    policy = make_bet().policy.eval()
    latent, proprio, task = (
        torch.randn(1, 4, 32),
        torch.randn(1, 4, 7),
        torch.eye(4)[:1, None].expand(-1, 4, -1),
    )
    logits, _ = policy(latent, proprio, task)
    later = latent.clone()
    later[:, 3] += 1.0
    changed, _ = policy(later, proprio, task)
    torch.testing.assert_close(changed[:, :3], logits[:, :3])
    assert not torch.allclose(changed[:, 3], logits[:, 3])


def test_acts_by_the_likeliest_bin_and_its_offset() -> None:
    policy = make_bet(window=1).policy.eval()
    with torch.no_grad():
        policy.logits.weight.zero_()
        policy.logits.bias.copy_(torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0]))
        policy.offsets.weight.zero_()
        policy.offsets.bias.copy_(torch.arange(35) * 0.01)
        policy.centres[2] = 0.1
    action, std = policy.mode(torch.zeros(1, 32), torch.zeros(1, 7), torch.eye(4)[:1])
    torch.testing.assert_close(action[0], 0.1 + torch.arange(14, 21) * 0.01)
    assert bool(std.isnan().all())


def test_bins_come_from_the_data_and_stay_when_fine_tuning(make_store) -> None:
    store = EpisodeStore.open(Path(make_store("s")))
    data = [Transitions(store, TaskIds.for_tasks(["a", "b"], 0))]
    agent = make_bet()
    agent.prepare(data, finetuning=False)
    centres = agent.policy.centres.clone()
    np.testing.assert_allclose(centres, k_means(data[0].actions, 5, seed=0))
    agent.steps = 1
    agent.prepare(data[:1] * 2, finetuning=True)
    assert torch.equal(agent.policy.centres, centres)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "agent.window is 0"),
        ({"width": 17}, "agent.width is 17; it must be a multiple of agent.heads, 2"),
    ],
)
def test_impossible_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        make_bet(**change)
