"""What every agent has: an encoder, a policy, its draws, its optimisers and the step counter."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptr_training.data.augment import Augmentation
from ptr_training.data.batch import Batch, Sampling
from ptr_training.data.distributed import BatchRng, DistributedContext
from ptr_training.data.normalization import DataSpec
from ptr_training.data.transitions import Transitions
from ptr_training.models.encoders import (
    FROZEN,
    EncoderEnsemble,
    ImageEncoder,
    NetworkConfig,
    make_encoder,
)
from ptr_training.models.networks import InferencePolicy, Policy

Metrics = dict[str, Tensor]
"""What to log, each a tensor of no dimensions (so that a GPU is not waited for at every step)."""


@dataclass(frozen=True)
class AgentConfig:
    """Base of the agents' hyper-parameters, the section `agent` of a training configuration."""

    @property
    def summary(self) -> str:
        """What is trained, in a line for reports."""
        raise NotImplementedError

    @property
    def sampling(self) -> Sampling:
        """How batches shall be drawn."""
        return Sampling()


class Agent(nn.Module, abc.ABC):
    """Learns from batches; everything needed to go on bit for bit is in `state()`.

    A subclass builds its networks in `__init__`, then `start` moves them to a device and
    makes the optimisers.
    """

    Config: type[AgentConfig]
    """Dataclass of the agent's hyper-parameters."""

    selection_rule = "error"
    """By which of `select.RULES` its checkpoints are chosen."""

    def __init__(
        self,
        config: Any,
        network: NetworkConfig,
        problem: DataSpec,
        augmentation: Augmentation,
        pretrained: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.problem = problem
        self.augmentation = augmentation
        self.steps = 0
        self.finetuning = False  # which of the two stages this is
        self.encoder = self._make_encoder(pretrained)
        self.policy = self._make_policy()
        self.active: Tensor  # (7,) 1 for the action dimensions that are learnt
        self.register_buffer("active", torch.tensor(problem.action_active).float())
        self.weight: Tensor  # (7,) of the dimensions in the squared error of cloning
        self.register_buffer(
            "weight", torch.tensor(problem.action_weight).float() * self.active
        )
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.draws = BatchRng()
        self.bf16 = False
        # with these a batch's outputs depend on the mode, and a forward pass to learn from
        # cannot also be sampled from
        self.mode_dependent = network.norm == "batch" or network.dropout > 0.0

    @abc.abstractmethod
    def update(self, batch: Batch) -> Metrics:
        """Take one gradient step and return what to log."""

    @abc.abstractmethod
    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]: ...

    def _make_encoder(self, pretrained: nn.Module | None) -> nn.Module:
        return make_encoder(self.network, self.problem, pretrained)

    def _make_policy(self) -> nn.Module:
        return Policy(self.network, self.problem, self.latent, squashed=False)

    @property
    def latent(self) -> int:
        """Size of what the encoder returns."""
        return int(self.encoder.latent)  # type: ignore[arg-type]

    def deployed(self) -> InferencePolicy:
        """Return the module a bundle holds; it shares this agent's weights."""
        return InferencePolicy(self.problem, self.encoder, self.policy)

    def prepare(self, data: Sequence[Transitions], *, finetuning: bool) -> None:
        """Take what is needed from the data of a stage, before its first update."""

    def warning(self, metrics: dict[str, float]) -> str:
        """Return what is going wrong, judged by the means of some steps; empty if nothing is."""
        return ""

    @property
    def critic_steps(self) -> int:
        """Updates that the critic has had; 0 without critic."""
        return 0

    def td_errors(self, batch: Batch) -> Tensor:
        """Return the squared TD errors of transitions without augmentation (B,); NaN without critic."""
        return torch.full((len(batch.task),), float("nan"))

    def start(
        self,
        device: torch.device,
        seed: int,
        *,
        bf16: bool = False,
        group: DistributedContext | None = None,
    ) -> None:
        """Move to a device, make the optimisers and seed the draws; `bf16` lowers the encoders' precision."""
        self.to(device)
        if device.type == "cuda":
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = self._make_optimizers()
        self.draws = BatchRng(
            torch.Generator(device).manual_seed(seed), group or DistributedContext()
        )
        self.bf16 = bf16

    def compile_encoders(self) -> None:
        """Have the encoders compiled when they are first used; weights and their names stay as they are."""
        for child in self.children():
            if isinstance(child, (ImageEncoder, EncoderEnsemble)):
                child.compile()

    def state(self) -> dict[str, Any]:
        """Return weights (less those of a frozen encoder), optimisers, generators and step counter."""
        weights = self.state_dict()
        return {
            "weights": {
                name: value for name, value in weights.items() if not self._is_frozen(name)
            },
            "optimizers": {
                name: each.state_dict() for name, each in self.optimizers.items()
            },
            "draws": self.draws.state(),
            "dropout": torch.get_rng_state(),  # PyTorch's dropout takes no generator
            "steps": self.steps,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; learning rates stay those of this agent's configuration."""
        frozen = {
            name: value
            for name, value in self.state_dict().items()
            if self._is_frozen(name)
        }
        self.load_state_dict({**state["weights"], **frozen})
        for name, optimizer in self.optimizers.items():
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        self.draws.set_state(state["draws"])
        torch.set_rng_state(state["dropout"].cpu())
        self.steps = state["steps"]

    def _is_frozen(self, name: str) -> bool:
        return self.network.encoder in FROZEN and "encoder.network." in name

    def _augment(self, images: Tensor) -> Tensor:
        """Return network input (B, 3, H, W); features of a frozen encoder (B, Z) stay as they are."""
        return images if images.dim() == 2 else self.augmentation(images, self.draws)

    def _one_hot(self, task: Tensor) -> Tensor:
        return F.one_hot(task, self.problem.n_tasks).float()

    def _encode(
        self, encoder: nn.Module, images: Tensor, task: Tensor, *, learn: bool = True
    ) -> Tensor:
        """Return latents; `learn` says whether batch norm uses, and takes over, the statistics of this batch."""
        if self.mode_dependent:
            encoder.train(learn)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            return cast(Tensor, encoder(images, task)).float()

    def _imitation_error(self, actions: Tensor, batch: Batch) -> Tensor:
        """Return the weighted squared error (see `DataSpec.action_weight`), mean over dimensions and batch."""
        return self._squared_error(actions, batch).mean()

    def _squared_error(self, actions: Tensor, batch: Batch) -> Tensor:
        """Return the weighted squared error of every row (B,), mean over dimensions."""
        return (((actions - batch.actions) ** 2) * self.weight).sum(1) / self.active.sum()

    def _decay(self, name: str, rate: float, steps: int, since: int = 0) -> None:
        """Set a learning rate: a cosine from `rate` to a tenth of it, `steps` long from `since` on, then constant."""
        progress = min(1.0, (self.steps - since) / steps)
        for group in self.optimizers[name].param_groups:
            group["lr"] = rate * (0.55 + 0.45 * math.cos(math.pi * progress))

    def _step(self, loss: Tensor, *names: str, clip: float = 0.0) -> None:
        """Step the named optimisers along the gradient of `loss`, of length `clip` at most."""
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        parameters = [each for name in names for each in _parameters(self.optimizers[name])]
        self.draws.group.average_gradients(parameters)
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        for name in names:
            self.optimizers[name].step()


def adam(parameters: Iterable[Tensor], lr: float) -> torch.optim.Adam:
    """Return Adam as every network here uses it: no decay, no schedule, no clipping."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [each for group in optimizer.param_groups for each in group["params"]]
