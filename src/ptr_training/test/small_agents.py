"""Small agents on batches of noise, for several tests."""

from __future__ import annotations

from typing import Any

import torch

from ptr_training.agents import AGENTS, CQL, Agent
from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.normalization import DataSpec
from ptr_training.models.config import NetworkConfig

ACTIVE = (True, True, True, False, False, True, True)
DATA_SPEC = DataSpec(
    4, 16, 16, (-0.05,) * 7, (0.05,) * 7, ACTIVE, (0.01,) * 7, (0.1,) * 7, (2.0,) * 7
)
NETWORK = NetworkConfig(
    encoder="small", film=True, latent=32, hidden=(32, 32), spatial_features=2
)


def make_agent(
    values: dict[str, Any],
    seed: int = 0,
    augmentation: Augmentation | None = None,
    network: NetworkConfig = NETWORK,
    device: str = "cpu",
) -> Agent:
    """Return a small agent of the configuration section `values`, its weights drawn from `seed`."""
    values = dict(values)
    torch.manual_seed(seed)
    kind = AGENTS[values.pop("name")]
    agent = kind(
        kind.Config(**values),
        network,
        DATA_SPEC,
        augmentation or Augmentation(2, jitter=True),
    )
    agent.start(torch.device(device), seed)
    return agent


def make_cql(network: NetworkConfig = NETWORK, **values: Any) -> CQL:
    """Return a small CQL without augmentation."""
    plain = Augmentation(0, jitter=False)
    agent = make_agent({"name": "cql", **values}, augmentation=plain, network=network)
    assert isinstance(agent, CQL)
    return agent


def make_batch(seed: int = 0, size: int = 12, sampling: Sampling = Sampling()) -> Batch:  # noqa: B008
    """Return a batch of noise for these agents; its second half are target demonstrations."""
    rows = (size,) if sampling.history == 1 else (size, sampling.history)
    g = torch.Generator().manual_seed(seed)
    steps_to_reward = torch.randint(-3, 8, (size,), generator=g).clamp(min=0)
    chunk = sampling.chunk_shape(size)[:2]
    return Batch(
        images=torch.randint(0, 256, (*rows, 16, 16, 3), dtype=torch.uint8, generator=g),
        next_images=torch.randint(
            0, 256, (*rows, 16, 16, 3), dtype=torch.uint8, generator=g
        ),
        proprio=torch.randn(*rows, 7, generator=g),
        next_proprio=torch.randn(*rows, 7, generator=g),
        task=torch.randint(0, 4, (size,), generator=g),
        actions=torch.rand(*rows, 7, generator=g) * 1.9 - 0.95,
        rewards=(steps_to_reward == 0).float(),
        steps_to_reward=steps_to_reward.float(),
        last=(torch.arange(size) % 6 == 0).float(),
        target=(torch.arange(size) >= size // 2).float(),
        chunk=torch.rand(*chunk, 7, generator=g) * 1.9 - 0.95,
        inside=(torch.arange(chunk[1]) <= torch.arange(chunk[0])[:, None]).float(),
    )
