"""Agents from a configuration or from a checkpoint, with the pre-trained networks they need."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ptr_training.agents import AGENTS, AWBC, Agent
from ptr_training.data.augment import Augmentation
from ptr_training.data.distributed import DistributedContext
from ptr_training.data.normalization import DataSpec
from ptr_training.data.transitions import Transitions

from .checkpoint import Checkpoint, CheckpointError
from .config import Config
from .pretrained import open_network, open_teacher


def build_agent(
    config: Config,
    data_spec: DataSpec,
    device: torch.device,
    context: DistributedContext | None = None,
) -> Agent:
    """Return a new agent on `device`; its weights depend on `config.seed` alone.

    Raises:
        TrainingError: If the weights of a frozen encoder cannot be read.
    """
    torch.manual_seed(config.seed)
    network = open_network(config.network)
    augmentation = Augmentation(config.augment.shift, config.augment.jitter)
    agent_class = AGENTS[config.agent_name]
    agent = agent_class(config.agent, config.network, data_spec, augmentation, network)
    agent.start(device, config.seed, bf16=config.bf16, group=context)
    return agent


def restore_agent(
    checkpoint: Checkpoint,
    device: torch.device,
    context: DistributedContext | None = None,
) -> Agent:
    """Return the agent of a checkpoint on `device`, in the state that was saved.

    Raises:
        CheckpointError: If the state is of other networks than the configuration describes.
    """
    config = checkpoint.config
    agent = build_agent(config, checkpoint.data_spec, device, context)
    try:
        agent.load_state(checkpoint.agent)
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint does not fit agent {config.agent_name} with {config.network}: "
            f"{_first_reason(error)}; keep the configuration it was trained with"
        ) from error
    return agent


def prepare_agent(
    agent: Agent, config: Config, parts: Sequence[Transitions], *, finetuning: bool
) -> None:
    """Give an agent what it needs before the first update of a stage.

    Args:
        agent: From `build_agent` or `restore_agent`.
        config: Its configuration.
        parts: The training data of the stage.
        finetuning: Whether the stage is the second one.

    Raises:
        TrainingError: If the data or a teacher does not fit.
    """
    if finetuning and isinstance(agent, AWBC) and agent.config.critic:
        agent.take_teacher(open_teacher(agent.config.critic, config, agent.data_spec))
    agent.prepare(parts, finetuning=finetuning)


def _first_reason(error: Exception) -> str:
    """Return the first line of an error that says something, of 300 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # PyTorch's first line only names the class
    reason = lines[1] if len(lines) > 1 else lines[0]
    return reason[:300]
