"""What every agent has: an actor, its draws, its optimisers and the step counter."""

from __future__ import annotations

import abc
import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.augment import Augmentation
from ptr_training.networks import Deployed, ImageEncoder, NetworkConfig, Policy
from ptr_training.replay import Batch, Problem

Metrics = dict[str, Tensor]
"""What to log, each a tensor of no dimensions (so that a GPU is not waited for at every step)."""


class Agent(nn.Module, abc.ABC):
    """Learns from batches; everything needed to go on bit for bit is in `state()`.

    A subclass builds its networks in `__init__`, then `start` moves them to a device and makes the optimisers.
    """

    Config: type
    """Dataclass of the agent's hyper-parameters: the section `agent` of a training configuration."""

    def __init__(self, config: Any, network: NetworkConfig, problem: Problem, augmentation: Augmentation) -> None:
        super().__init__()
        self.config = config
        self.problem = problem
        self.augmentation = augmentation
        self.steps = 0
        self.encoder = ImageEncoder(network, problem)
        self.policy = Policy(network, problem)
        self.active: Tensor  # (7,) 1 for the action dimensions that are learnt
        self.register_buffer("active", torch.tensor(problem.action_active).float())
        self.weight: Tensor  # (7,) of the dimensions in the squared error of cloning
        self.register_buffer("weight", torch.tensor(problem.action_weight).float() * self.active)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.generator = torch.Generator()
        self.bf16 = False

    @abc.abstractmethod
    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step and return what to log."""

    @abc.abstractmethod
    def deployed(self) -> Deployed:
        """Return the module a bundle holds; it shares this agent's weights."""

    @abc.abstractmethod
    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]: ...

    def start(self, device: torch.device, seed: int, *, bf16: bool = False) -> None:
        """Move to a device, make the optimisers and seed the draws; `bf16` lowers the encoders' precision."""
        self.to(device)
        self.optimizers = self._make_optimizers()
        self.generator = torch.Generator(device).manual_seed(seed)
        self.bf16 = bf16

    def state(self) -> dict[str, Any]:
        """Return weights, optimisers, generator and step counter."""
        return {
            "weights": self.state_dict(),
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.items()},
            "generator": self.generator.get_state(),
            "steps": self.steps,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; learning rates stay those of this agent's configuration."""
        self.load_state_dict(state["weights"])
        for name, optimizer in self.optimizers.items():
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        self.generator.set_state(state["generator"].cpu())
        self.steps = state["steps"]

    def _augment(self, images: Tensor) -> Tensor:
        return self.augmentation(images, self.generator)

    def _one_hot(self, task: Tensor) -> Tensor:
        return F.one_hot(task, self.problem.n_tasks).float()

    def _encode(self, encoder: ImageEncoder, images: Tensor, task: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            return cast(Tensor, encoder(images, task)).float()

    def _imitation_error(self, actions: Tensor, batch: Batch) -> Tensor:
        """Return the weighted squared error (see `Problem.action_weight`), mean over dimensions and batch."""
        return (((actions - batch.actions) ** 2) * self.weight).sum(1).mean() / self.active.sum()

    def _decay(self, name: str, rate: float, steps: int, since: int = 0) -> None:
        """Set a learning rate: a cosine from `rate` to a tenth of it, `steps` long from `since` on, then constant."""
        progress = min(1.0, (self.steps - since) / steps)
        for group in self.optimizers[name].param_groups:
            group["lr"] = rate * (0.55 + 0.45 * math.cos(math.pi * progress))

    def _step(self, loss: Tensor, *names: str) -> None:
        """Step the named optimisers along the gradient of `loss`."""
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            self.optimizers[name].step()


def adam(parameters: Any, lr: float) -> torch.optim.Adam:
    """Return Adam as every network here uses it: no decay, no schedule, no clipping."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)
