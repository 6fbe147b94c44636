"""Networks of earlier training that an agent starts from: frozen encoders, and AW-BC's teacher.

`network.weights` names R3M's file or a run of the agent `mae`; `agent.critic` names a
fine-tuned PTR.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptr_common.files import sha256
from ptr_training.agents import MAE
from ptr_training.agents.cql import CQLConfig
from ptr_training.data.augment import Augmentation
from ptr_training.data.normalization import DataSpec
from ptr_training.errors import TrainingError
from ptr_training.models.config import FROZEN, NetworkConfig
from ptr_training.models.frozen import R3MNetwork

from .checkpoint import chosen_step, find_checkpoint, load_checkpoint
from .config import Config

R3M_SOURCE = (
    "the ResNet-50 of https://github.com/facebookresearch/r3m "
    "(its loader saves it as ~/.r3m/r3m_50/model.pt)"
)


def open_network(config: NetworkConfig) -> nn.Module | None:
    """Return the network of a frozen encoder, or None where the encoder is trained.

    Raises:
        TrainingError: If the weights are missing or of another network.
    """
    if config.encoder not in FROZEN:
        return None
    path = Path(config.weights).expanduser()
    return open_r3m(path) if config.encoder == "r3m" else open_mae(path)


def open_r3m(path: Path) -> R3MNetwork:
    """Return R3M's network with the weights of a file.

    Args:
        path: R3M's `model.pt`, or a plain state dict of a ResNet-50.

    Raises:
        TrainingError: If the file is missing, damaged or of another network.
    """
    weights = _read_r3m(path)
    network = R3MNetwork()
    expected = network.state_dict()
    wrong = []
    for name, value in expected.items():
        if name not in weights or weights[name].shape != value.shape:
            wrong.append(name)
    if wrong:
        raise TrainingError(
            f"network.weights: {path} is no ResNet-50 as R3M's: {len(wrong)} of {len(expected)} "
            f"tensors are missing or of another shape, the first {wrong[0]}; get {R3M_SOURCE}"
        )
    network.load_state_dict({name: weights[name] for name in expected})
    return network


def _read_r3m(path: Path) -> dict[str, Tensor]:
    """Return the tensors of R3M's file, named as in torchvision."""
    if not path.is_file():
        raise TrainingError(f"network.weights: there is no file {path}; get {R3M_SOURCE}")
    weights = {}
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True)
        for name, value in saved.get("r3m", saved).items():
            if isinstance(value, Tensor):
                weights[name.split("convnet.")[-1]] = value
    except Exception as error:  # a damaged file makes PyTorch raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise TrainingError(
            f"network.weights: {path} cannot be read ({reason}); get {R3M_SOURCE}"
        ) from error
    return weights


def open_mae(path: Path) -> nn.Module:
    """Return the encoder of a masked autoencoder.

    Args:
        path: A run of the agent `mae`, or a checkpoint of one.

    Raises:
        TrainingError: If there is no checkpoint, or it is one of another agent.
    """
    saved = load_checkpoint(find_checkpoint(path))
    config = saved.config
    if config.agent_name != "mae":
        raise TrainingError(
            f"network.weights: {path} is a run of agent {config.agent_name}; expected mae "
            "(`ptr pretrain --config mae` makes one)"
        )
    assert isinstance(config.agent, MAE.Config)
    augmentation = Augmentation(config.augment.shift, config.augment.jitter)
    agent = MAE(config.agent, config.network, saved.data_spec, augmentation)
    agent.start(torch.device("cpu"), config.seed)
    agent.load_state(saved.agent)
    return agent.encoder


def weights_digest(weights: str) -> str:
    """Return the SHA-256 of the file that `network.weights` names."""
    path = Path(weights).expanduser()
    return sha256(path if path.is_file() else find_checkpoint(path))


def open_teacher(critic: str, config: Config, data_spec: DataSpec) -> dict[str, Tensor]:
    """Return the weights of AW-BC's teacher: PTR at the step of `ptr select`, or the newest.

    Args:
        critic: Run folder or checkpoint of a fine-tuned PTR.
        config: Of the agent that is to learn from it.
        data_spec: Of the data that both learn from.

    Raises:
        TrainingError: If it is not a PTR of the same networks and data.
    """
    run = Path(critic)
    saved = load_checkpoint(find_checkpoint(run, chosen_step(run)))
    _check_teacher("agent", saved.config.agent_name, "cql", run)
    _check_teacher("networks", saved.config.network, config.network, run)
    _check_teacher("data", saved.data_spec, data_spec, run)
    assert isinstance(saved.config.agent, CQLConfig)
    if saved.config.agent.value_loss != "squared":
        raise TrainingError(
            f"agent.critic: {run} has agent.value_loss={saved.config.agent.value_loss}; "
            "AW-BC takes a critic with agent.value_loss=squared"
        )
    if saved.config.agent.independent_encoders:
        raise TrainingError(
            f"agent.critic: {run} has an encoder for each head; expected one for both"
        )
    return dict(saved.agent["weights"])


def _check_teacher(what: str, value: object, expected: object, run: Path) -> None:
    if value != expected:
        raise TrainingError(f"agent.critic: {run} has {what} {value}; expected {expected}")
